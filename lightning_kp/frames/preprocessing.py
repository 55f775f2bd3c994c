"""Preprocessing of frames between resizing and the network: shadow removal and registration (report 002; 000, 5.8).

A checkpoint stores the settings, so that `kp track`, `kp score` and `kp discover` see frames as training did.
Everything works on the content of the network's square (without its padding) and compares it with the scene: a still
image of the empty arena, which is learnt from the video itself.
"""

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, NoReturn, get_args

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
"""Number of frames, evenly spread, whose median is the scene."""
MAX_SCANNED_FRAMES = 6000
"""Those frames are chosen from this many at the start of a video: a second pass over hours would not pay off."""
MIN_SCENE_FRAMES = 4
"""The median of fewer frames would show the animal."""
_VERSION = 1
"""Part of the fingerprint, to be raised whenever the same settings would give other pixels."""


@dataclass(frozen=True)
class Preprocessing:
    """Settings of shadow removal and registration; both are off by default.

    Attributes:
        shadow: ``hsv`` keeps pixels that differ from the empty scene in more than brightness (mask and bitwise AND),
            ``ssim`` keeps pixels that differ in structure, ``filter`` compensates for the missing light with spatial
            and temporal filters, without a mask.
        registration: Undo the camera's motion: ``translation``, or ``similarity`` (also rotation and scale).  Kornia's
            ImageRegistrator aligns each frame to the scene.
        fill: What replaces the pixels that a mask removes: the empty ``scene``, or ``black`` as in the report.
        darkest: A shadow leaves at least this share of the light; darker pixels belong to animals.
        ssim_threshold: Difference in structure (0 to 2) above which ``ssim`` keeps a pixel.
        keep_hsv: With ``hsv``: keep only this range of colours, without comparison to the scene:
            ``[hue, hue, saturation, saturation, value, value]``, the lowest and the highest of each, hue in degrees,
            the others in [0, 1].
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
                    f"Choose one of: {', '.join(get_args(known))}.",
                )
        if not 0 < self.darkest < 1 or not 0 < self.ssim_threshold < 2:
            _refuse(
                f"preprocessing.darkest is {self.darkest} and preprocessing.ssim_threshold {self.ssim_threshold}",
                "darkest must lie between 0 and 1, ssim_threshold between 0 and 2.",
            )
        if self.keep_hsv is not None and len(self.keep_hsv) != 6:
            _refuse(
                f"preprocessing.keep_hsv has {len(self.keep_hsv)} numbers instead of 6",
                "Give the lowest and highest hue (degrees), saturation and value, for example [200,260,0.3,1,0.2,1].",
            )

    @classmethod
    def from_settings(cls, settings: "Preprocessing | Mapping[str, Any] | None") -> "Preprocessing":
        """Make it from the plain values in a checkpoint or YAML file.  Raises ConfigurationError for unknown names."""
        if isinstance(settings, Preprocessing):
            return settings
        values = dict(settings or {})
        known = [each.name for each in fields(cls)]
        if unknown := sorted(values.keys() - set(known)):
            _refuse(f"preprocessing has no setting '{unknown[0]}'", f"Its settings are: {', '.join(known)}.")
        return cls(**values)

    @property
    def is_on(self) -> bool:
        """Whether shadows are removed or frames are registered."""
        return self.shadow != "none" or self.registration != "none"

    @property
    def fingerprint(self) -> str:
        """Digest that is equal for settings that give equal pixels; part of the key of a cache."""
        settings = sorted(asdict(self).items()) if self.is_on else None
        contents = repr((_VERSION, SCENE_FRAMES, MAX_SCANNED_FRAMES, settings))
        return hashlib.sha256(contents.encode()).hexdigest()[:16]


NO_PREPROCESSING = Preprocessing()


class Prepared(NamedTuple):
    """Preprocessed squares (B, S, S, 3), uint8, with the transforms that map their points back.

    ``transforms`` (B, 3, 3), float64, map normalised points of a preprocessed square to normalised points of the square
    as it was cropped from the frame; the identity without registration.
    """

    squares: Image
    transforms: Tensor


@dataclass(frozen=True)
class Preprocessor:
    """Preprocesses the squares of one video: ``settings`` with the scene of this video.

    ``scene`` (3, h, w), in [0, 1], is the median of its frames in one ``placement``, without padding.
    """

    settings: Preprocessing
    placement: Placement
    scene: Tensor = field(repr=False)

    @classmethod
    def learn(
        cls, settings: Preprocessing, placement: Placement, squares: Image, video_name: str
    ) -> "Preprocessor":
        """Learn the scene from squares (N, S, S, 3), uint8, that are spread over the video.

        ``video_name`` is for the message.  Raises DataError for fewer than MIN_SCENE_FRAMES squares.
        """
        if len(squares) < MIN_SCENE_FRAMES:
            raise DataError(
                f"Preprocessing needs at least {MIN_SCENE_FRAMES} frames of {video_name} to learn the scene, "
                f"but there are only {len(squares)}.",
                remedy="Give longer videos, label more frames, or switch preprocessing off.",
            )
        frames = _floats(_content(squares, placement))
        if settings.registration != "none":
            still = frames[len(frames) // 2]
            transforms = align(frames, still, settings.registration)
            frames = warp(frames, transforms, still)
        return cls(settings, placement, frames.median(dim=0).values)

    @torch.no_grad()
    def __call__(self, squares: Image) -> Prepared:
        """Preprocess squares (B, S, S, 3), uint8, that were cropped with this placement."""
        settings = self.settings
        frames = _floats(_content(squares, self.placement))
        transforms = align(frames, self.scene, settings.registration)
        if settings.registration != "none":
            frames = warp(frames, transforms, self.scene)
        done = np.array(squares)
        _content(done, self.placement)[...] = _bytes(self._without_shadows(frames))
        return Prepared(done, _in_square(transforms.double(), self.placement))

    def _without_shadows(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, h, w) in [0, 1] with their shadows removed as ``settings.shadow`` says."""
        settings, scene = self.settings, self.scene
        if settings.shadow == "none":
            return frames
        if settings.shadow == "filter":
            return shadows.equalise_light(frames, scene, settings.darkest)
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


def learn_preprocessor(
    reader: VideoReader, placements: Placements, settings: Preprocessing
) -> Preprocessor | None:
    """Return the preprocessor of a video, which decodes its beginning once; None if preprocessing is off.

    Raises ConfigurationError if boxes differ from frame to frame, since there is then no single image of the scene.
    """
    if not settings.is_on:
        return None
    if not placements.is_fixed:
        _refuse(
            f"preprocessing needs one fixed box, but the boxes of {reader.info.name} differ from frame to frame",
            "Use one box for all frames, or switch preprocessing off.",
        )
    placement = placements(0)
    expected = reader.info.n_frames or round((reader.info.duration_s or 0) * reader.info.fps)
    step = max(1, min(expected or MAX_SCANNED_FRAMES, MAX_SCANNED_FRAMES) // SCENE_FRAMES)
    squares = []
    with closing(_generator(reader)) as frames:
        for frame in frames:
            if frame.index >= MAX_SCANNED_FRAMES:
                break
            if frame.index % step == 0:
                squares.append(frame.prepared(placement))
    return Preprocessor.learn(settings, placement, np.stack(squares), str(reader.info.path))


def points_in_frame(points: Tensor, transforms: Tensor) -> Tensor:
    """Map normalised points (B, ..., 2) of registered squares to the squares as they were cropped.

    ``transforms`` (B, 3, 3) as in :class:`Prepared`.
    """
    linear, shift = _linear_and_shift(points, transforms)
    return (linear @ points.unsqueeze(-1)).squeeze(-1) + shift


def points_in_registered(points: Tensor, transforms: Tensor) -> Tensor:
    """Map normalised points (B, ..., 2) of squares as they were cropped to registered squares; NaN stays NaN.

    The inverse of :func:`points_in_frame`.
    """
    return points_in_frame(points, torch.linalg.inv(transforms))


def covariance_in_frame(covariance: Tensor, transforms: Tensor) -> Tensor:
    """Map covariances (B, ..., 3) of points in registered squares to the squares as they were cropped.

    The last axis holds the variance of x, the variance of y and their covariance, in squared normalised units;
    ``transforms`` (B, 3, 3) as in :class:`Prepared`.
    """
    x, y, xy = covariance.unbind(-1)
    matrix = torch.stack((torch.stack((x, xy), -1), torch.stack((xy, y), -1)), dim=-2)
    linear, _ = _linear_and_shift(covariance, transforms)
    mapped = linear @ matrix @ linear.transpose(-1, -2)
    return torch.stack((mapped[..., 0, 0], mapped[..., 1, 1], mapped[..., 0, 1]), dim=-1)


def _linear_and_shift(like: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Split transforms (B, 3, 3) into (B, 1, ..., 2, 2) and (B, 1, ..., 2), which broadcast to ``like`` (B, ..., C)."""
    between = (1,) * (like.ndim - 2)
    transforms = transforms.to(like)
    number = len(transforms)
    linear = transforms[:, :2, :2].reshape(number, *between, 2, 2)
    return linear, transforms[:, :2, 2].reshape(number, *between, 2)


def _in_square(transforms: Tensor, placement: Placement) -> Tensor:
    """Convert transforms (B, 3, 3) between normalised points of the content to those of the whole square."""
    (height, width), (top, left) = placement.content, placement.offset
    scale = (width / placement.size, height / placement.size)
    middle = ((2 * left + width) / placement.size - 1, (2 * top + height) / placement.size - 1)
    to_square = torch.tensor(
        [[scale[0], 0, middle[0]], [0, scale[1], middle[1]], [0, 0, 1]], dtype=torch.float64
    )
    converted: Tensor = to_square @ transforms @ torch.linalg.inv(to_square)
    return converted


def _content(squares: Image, placement: Placement) -> Image:
    """View the content of squares (B, S, S, 3), without the padding: (B, h, w, 3)."""
    (row, column), (height, width) = placement.offset, placement.content
    return squares[:, row : row + height, column : column + width]


def _floats(images: Image) -> Tensor:
    """Convert images (B, H, W, 3), uint8, to (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    """Convert images (B, 3, H, W) in [0, 1] to (B, H, W, 3), uint8."""
    return np.asarray((images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy(), dtype=np.uint8)


def _generator(reader: VideoReader) -> Any:
    """Wrap ``reader.decode()`` in a generator, which can be closed."""
    yield from reader.decode()


def _refuse(problem: str, remedy: str) -> NoReturn:
    raise ConfigurationError(f"{problem}.", remedy=remedy)
