"""What is done to frames between resizing and the network, in training and ever after (report 002; 000, 5.8).

The settings travel with a checkpoint, so that `kp track`, `kp score` and `kp discover` see frames as
training did.  Everything works on the network's square (without its bars), against a still picture
of the scene that is learnt from the video itself.
"""

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames import shadows
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.registration import Motion, align, warp
from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image
from lightning_kp.video.reader import VideoReader

Shadow = Literal["none", "hsv", "ssim", "filter"]
Fill = Literal["scene", "black"]
SCENE_FRAMES = 48
"""Frames, evenly spread, whose median is the scene."""
SCANNED = 6000
"""Frames at the head of a video among which those are chosen: a second pass over hours would not pay."""
FEWEST = 4
"""A median of fewer pictures shows the animal."""
_EDITION = 1
"""Raised whenever the same settings give other pixels."""


@dataclass(frozen=True)
class Preprocessing:
    """Shadow removal and registration; both off by default.

    Attributes:
        shadow: ``hsv`` keeps what differs from the empty scene by more than less light of the same
            colour (mask and bitwise AND), ``ssim`` what differs in structure, ``filter`` divides the
            missing light out with spatial and temporal filters, without a mask.
        registration: Undo the camera's motion: ``translation``, or ``similarity`` (also turned and
            scaled).  Kornia's ImageRegistrator aligns each frame to the scene.
        fill: What stands where a mask removed something: the empty ``scene``, or ``black`` as in the
            report.
        darkest: A shadow keeps at least this share of the light; darker things are animals.
        ssim_threshold: Difference of structure (0 to 2) from which a pixel is kept by ``ssim``.
        keep_hsv: With ``hsv``: keep this range of colours only, and ask no scene:
            ``[hue, hue, saturation, saturation, value, value]``, lowest and highest of each, hue in
            degrees, the others in [0, 1].
    """

    shadow: Shadow = "none"
    registration: Motion = "none"
    fill: Fill = "scene"
    darkest: float = shadows.DARKEST
    ssim_threshold: float = 0.5
    keep_hsv: list[float] | None = None

    def __post_init__(self) -> None:
        for name, known in (("shadow", Shadow), ("registration", Motion), ("fill", Fill)):
            if getattr(self, name) not in get_args(known):
                _refuse(
                    f"preprocessing.{name} is '{getattr(self, name)}'",
                    f"Choose of {', '.join(get_args(known))}.",
                )
        if not 0 < self.darkest < 1 or not 0 < self.ssim_threshold < 2:
            _refuse(
                f"preprocessing.darkest is {self.darkest}, ssim_threshold {self.ssim_threshold}",
                "They must lie between 0 and 1, and between 0 and 2.",
            )
        if self.keep_hsv is not None and len(self.keep_hsv) != 6:
            _refuse(
                f"preprocessing.keep_hsv has {len(self.keep_hsv)} numbers",
                "Give lowest and highest hue (degrees), saturation and value, say [200,260,0.3,1,0.2,1].",
            )

    @classmethod
    def of(cls, given: "Preprocessing | Mapping[str, Any] | None") -> "Preprocessing":
        """From what a checkpoint or a YAML file holds.  Raises ConfigurationError for unknown names."""
        if isinstance(given, Preprocessing):
            return given
        values = dict(given or {})
        known = [each.name for each in fields(cls)]
        if unknown := sorted(values.keys() - set(known)):
            _refuse(f"preprocessing has no setting '{unknown[0]}'", f"It has: {', '.join(known)}.")
        return cls(**values)

    @property
    def is_on(self) -> bool:
        """Whether anything is done at all."""
        return self.shadow != "none" or self.registration != "none"

    @property
    def fingerprint(self) -> str:
        """Equal for equal pixels."""
        told = repr((_EDITION, SCENE_FRAMES, SCANNED, sorted(asdict(self).items()) if self.is_on else None))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


NOTHING = Preprocessing()


class Prepared(NamedTuple):
    """Squares (B, S, S, 3) uint8, and where their points lie in the unregistered squares.

    ``transforms`` (B, 3, 3) float64 maps normalised points of a square as it is now to those of the
    square as it was cut from the frame; the identity without registration.
    """

    squares: Image
    transforms: Tensor


@dataclass(frozen=True)
class Preprocessor:
    """Settings with the scene (3, h, w) of one video, learnt at one ``placement``."""

    settings: Preprocessing
    placement: Placement
    scene: Tensor = field(repr=False)

    @classmethod
    def learn(
        cls, settings: Preprocessing, placement: Placement, squares: Image, what: str
    ) -> "Preprocessor":
        """From squares (N, S, S, 3) spread over the video; ``what`` names it.  Raises DataError below 4."""
        if len(squares) < FEWEST:
            raise DataError(
                f"Preprocessing needs {FEWEST} frames of {what} to know the scene, got {len(squares)}.",
                remedy="Name longer videos, label more frames, or switch preprocessing off.",
            )
        pictures = _floats(_content(squares, placement))
        if settings.registration != "none":
            still = pictures[len(pictures) // 2]
            moved = align(pictures, still, settings.registration)
            pictures = warp(pictures, moved, still)
        return cls(settings, placement, pictures.median(dim=0).values)

    @torch.no_grad()
    def __call__(self, squares: Image) -> Prepared:
        """Preprocess squares (B, S, S, 3) uint8 that were cut with this placement."""
        settings = self.settings
        frames = _floats(_content(squares, self.placement))
        transforms = align(frames, self.scene, settings.registration)
        if settings.registration != "none":
            frames = warp(frames, transforms, self.scene)
        done = np.array(squares)
        _content(done, self.placement)[...] = _bytes(self._without_shadows(frames))
        return Prepared(done, _in_square(transforms.double(), self.placement))

    def _without_shadows(self, frames: Tensor) -> Tensor:
        settings, scene = self.settings, self.scene
        if settings.shadow == "none":
            return frames
        if settings.shadow == "filter":
            return shadows.lit_evenly(frames, scene, settings.darkest)
        if settings.shadow == "ssim":
            mask = shadows.is_object_by_ssim(frames, scene, settings.ssim_threshold)
        elif settings.keep_hsv is not None:
            bounds = frames.new_tensor(settings.keep_hsv).view(3, 2)
            mask = shadows.is_in_hsv_range(frames, bounds[:, 0], bounds[:, 1])
        else:
            mask = shadows.is_object_by_hsv(frames, scene, settings.darkest)
        return shadows.bitwise_and(
            frames, mask, scene if settings.fill == "scene" else torch.zeros_like(scene)
        )


def preprocessor_of(
    reader: VideoReader, placements: Placements, settings: Preprocessing
) -> Preprocessor | None:
    """The preprocessor of a video, None where nothing is to be done; decodes its head once.

    Raises ConfigurationError where boxes differ from frame to frame, since the scene then has no one
    picture.
    """
    if not settings.is_on:
        return None
    if not placements.is_fixed:
        _refuse(
            f"preprocessing is on and boxes differ from frame to frame ({reader.info.name})",
            "Use one box, or switch preprocessing off.",
        )
    placement = placements(0)
    expected = reader.info.n_frames or round((reader.info.duration_s or 0) * reader.info.fps) or SCANNED
    step = max(1, min(expected, SCANNED) // SCENE_FRAMES)
    squares = []
    with closing(_generator(reader)) as frames:
        for frame in frames:
            if frame.index >= SCANNED:
                break
            if frame.index % step == 0:
                squares.append(frame.prepared(placement))
    return Preprocessor.learn(settings, placement, np.stack(squares), str(reader.info.path))


def points_in_frame(points: Tensor, transforms: Tensor) -> Tensor:
    """Normalised points (B, ..., 2) of registered squares -> of the squares as they were cut."""
    turn, shift = _parts(points, transforms, dimensions=2)
    return (turn @ points.unsqueeze(-1)).squeeze(-1) + shift


def points_in_registered(points: Tensor, transforms: Tensor) -> Tensor:
    """The other way round; NaN stays NaN."""
    return points_in_frame(points, torch.linalg.inv(transforms))


def covariance_in_frame(covariance: Tensor, transforms: Tensor) -> Tensor:
    """Covariances (B, ..., 3) as (var x, var y, cov xy) of registered squares -> of those as they were cut."""
    x, y, xy = covariance.unbind(-1)
    matrix = torch.stack((torch.stack((x, xy), -1), torch.stack((xy, y), -1)), dim=-2)
    turn, _ = _parts(covariance, transforms, dimensions=2)
    turned = turn @ matrix @ turn.transpose(-1, -2)
    return torch.stack((turned[..., 0, 0], turned[..., 1, 1], turned[..., 0, 1]), dim=-1)


def _parts(like: Tensor, transforms: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    between = (1,) * (like.ndim - dimensions)
    transforms = transforms.to(like)
    number = len(transforms)
    return transforms[:, :2, :2].reshape(number, *between, 2, 2), transforms[:, :2, 2].reshape(
        number, *between, 2
    )


def _in_square(transforms: Tensor, placement: Placement) -> Tensor:
    """Transforms (B, 3, 3) of the content's normalised points -> of the whole square's."""
    (height, width), (top, left) = placement.content, placement.offset
    scale = (width / placement.size, height / placement.size)
    middle = ((2 * left + width) / placement.size - 1, (2 * top + height) / placement.size - 1)
    to_square = torch.tensor(
        [[scale[0], 0, middle[0]], [0, scale[1], middle[1]], [0, 0, 1]], dtype=torch.float64
    )
    moved: Tensor = to_square @ transforms @ torch.linalg.inv(to_square)
    return moved


def _content(squares: Image, placement: Placement) -> Image:
    """What of squares (B, S, S, 3) is picture and no bar; a view."""
    (row, column), (height, width) = placement.offset, placement.content
    return squares[:, row : row + height, column : column + width]


def _floats(images: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    return np.asarray((images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy(), dtype=np.uint8)


def _generator(reader: VideoReader) -> Any:
    """``reader.decode()`` as something that can be closed."""
    yield from reader.decode()


def _refuse(problem: str, remedy: str) -> None:
    raise ConfigurationError(f"{problem}.", remedy=remedy)
