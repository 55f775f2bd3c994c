"""Keypoints over time, in pixels of the original video.

Letters as everywhere: N frames, I instances (animals), K keypoints.  Pixels count pixel centres:
the centre of the top left pixel of the original video is (0, 0).
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.geometry import Region

if TYPE_CHECKING:
    from lightning_kp.method import Prediction

Floats = NDArray[np.float32]
Regions = Region | Sequence[Region]
PIECE = 16_384  # keypoints held at a time while a table is written or read (ours: about 10 MB as text)


def default_names(number: int) -> tuple[str, ...]:
    """Names of discovered keypoints: kp01, kp02, ..."""
    return tuple(f"kp{k:02d}" for k in range(1, number + 1))


def animal_names(number: int) -> tuple[str, ...]:
    """Names of the instances in every file: animal1, animal2, ..."""
    return tuple(f"animal{i}" for i in range(1, number + 1))


@dataclass(frozen=True)
class TrackInfo:
    """What holds for all frames of one tracked video.

    ``video`` is its path, ``frame_size`` (height, width) in pixels, (0, 0) = unknown, ``fps`` frames
    per second.  ``origin`` is any text that names checkpoint and settings: a store is continued, and
    a finished video skipped, only where it is the same.
    """

    video: str
    frame_size: tuple[int, int]
    fps: float
    keypoint_names: tuple[str, ...]
    animals: int = 1
    origin: str = ""

    def to_json(self) -> str:
        """One line of text; :meth:`from_json` reads it."""
        return json.dumps({"format": "lightning-kp tracks 1", **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of :meth:`to_json`; keys it does not know are ignored.  Raises KeyError, ValueError."""
        given = json.loads(text)
        known = {field.name: given[field.name] for field in dataclasses.fields(cls)}
        known["frame_size"] = (int(given["frame_size"][0]), int(given["frame_size"][1]))
        known["keypoint_names"] = tuple(given["keypoint_names"])
        return cls(**known)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Keypoints of one video, one row per displayed frame.

    ``times_s`` (N,) float64; ``points_px`` (N, I, K, 2) float32, NaN = absent; ``confidence``
    (N, I, K) in [0, 1]; ``covariance_px`` (N, I, K, 3) = (var x, var y, cov xy) in px^2, NaN = unknown.
    """

    video: str
    frame_size: tuple[int, int]
    fps: float
    times_s: NDArray[np.float64]
    points_px: Floats
    confidence: Floats
    covariance_px: Floats
    keypoint_names: tuple[str, ...]

    def __post_init__(self) -> None:
        frames, animals, keypoints = self.points_px.shape[:3]
        needed = {
            "times_s": (frames,),
            "points_px": (frames, animals, keypoints, 2),
            "confidence": (frames, animals, keypoints),
            "covariance_px": (frames, animals, keypoints, 3),
        }
        for name, shape in needed.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"Tracks need {name} of shape {shape}, got {getattr(self, name).shape}.")
        if len(self.keypoint_names) != keypoints:
            raise DataError(f"Tracks of {keypoints} keypoints were given {len(self.keypoint_names)} names.")

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def info(self) -> TrackInfo:
        """What holds for all frames."""
        return TrackInfo(self.video, self.frame_size, self.fps, self.keypoint_names, self.points_px.shape[1])

    def __getitem__(self, rows: slice) -> "Tracks":
        """The frames of a slice (numbered from 0 again)."""
        arrays = {name: getattr(self, name)[rows] for name in ARRAYS}
        return dataclasses.replace(self, **arrays)

    def pieces(self) -> Iterator["Tracks"]:
        """Consecutive parts of bounded size."""
        rows = rows_per_piece(self.info)
        return (self[start : start + rows] for start in range(0, len(self), rows))


ARRAYS = ("times_s", "points_px", "confidence", "covariance_px")


class TrackSource(Protocol):
    """Tracks that can be read piece by piece: :class:`Tracks`, :class:`TrackStore`, or a saved file."""

    @property
    def info(self) -> TrackInfo: ...

    def __len__(self) -> int: ...

    def pieces(self) -> Iterator[Tracks]: ...


def rows_per_piece(info: TrackInfo) -> int:
    """How many frames are handled at a time, so that memory does not grow with the video."""
    return max(1, PIECE // max(1, info.animals * len(info.keypoint_names)))


def make_tracks(info: TrackInfo, arrays: dict[str, Any]) -> Tracks:
    """Tracks from their common part and the four arrays by name."""
    return Tracks(info.video, info.frame_size, info.fps, keypoint_names=info.keypoint_names, **arrays)


def concatenate(info: TrackInfo, pieces: Iterable[Tracks]) -> Tracks:
    """One table from consecutive pieces (none: a table without rows)."""
    parts = list(pieces)
    shape = (0, info.animals, len(info.keypoint_names))
    empty = {"times_s": (0,), "points_px": (*shape, 2), "confidence": shape, "covariance_px": (*shape, 3)}
    return make_tracks(
        info,
        {
            name: np.concatenate([getattr(part, name) for part in parts])
            if parts
            else np.zeros(empty[name], np.float64 if name == "times_s" else np.float32)
            for name in ARRAYS
        },
    )


def original_pixels(prediction: "Prediction", regions: Regions) -> tuple[Floats, Floats, Floats]:
    """Points (B, I, K, 2), confidence (B, I, K), covariance (B, I, K, 3) of a prediction in original pixels.

    ``regions``: the part of the original frame that the network saw, for all frames or one for each.
    A keypoint with confidence 0 is absent: its point and covariance are NaN.
    """
    import torch

    # float64: a region's edge of some thousand pixels would cost float32 the last digits
    points = prediction.keypoints.points.detach().double().cpu()
    confidence = prediction.keypoints.confidence.detach().float().cpu()
    frames = len(points)
    each = [regions] * frames if isinstance(regions, Region) else list(regions)
    if len(each) != frames:
        raise DataError(f"{frames} predicted frames were given {len(each)} regions.")
    if not frames:
        return points.float().numpy(), confidence.numpy(), prediction.covariance.float().cpu().numpy()
    if isinstance(regions, Region):
        points_px = regions.to_original_px(points)
    else:
        points_px = torch.stack([region.to_original_px(p) for region, p in zip(each, points, strict=True)])
    # [-1, 1] spans the region: a normalised unit is half its extent, a variance scales with the square
    half = torch.tensor([(r.right - r.left, r.bottom - r.top) for r in each], dtype=torch.float64) / 2
    scale = torch.stack((half[:, 0] ** 2, half[:, 1] ** 2, half[:, 0] * half[:, 1]), dim=-1)
    covariance_px = prediction.covariance.detach().double().cpu() * scale[:, None, None]
    absent = ~(confidence > 0).unsqueeze(-1)
    nan = float("nan")
    return (
        points_px.masked_fill(absent, nan).float().numpy(),
        confidence.numpy(),
        covariance_px.masked_fill(absent, nan).float().numpy(),
    )


def tracks_from_predictions(
    predictions: Iterable["Prediction"], regions: Regions, info: TrackInfo, times_s: NDArray[np.float64]
) -> Tracks:
    """Predictions of one whole video, in frame order -> tracks; ``regions`` for all or for each frame."""
    pieces, start = [], 0
    for prediction in predictions:
        stop = start + len(prediction.index)
        part = regions if isinstance(regions, Region) else regions[start:stop]
        check_order(prediction, start, info.video)
        arrays = (times_s[start:stop], *original_pixels(prediction, part))
        pieces.append(make_tracks(info, dict(zip(ARRAYS, arrays, strict=True))))
        start = stop
    return concatenate(info, pieces)


def check_order(prediction: "Prediction", start: int, video: str) -> None:
    """Refuse a prediction that does not begin at frame ``start`` or skips one.  Raises DataError."""
    index = prediction.index.tolist()
    if index != list(range(start, start + len(index))):
        raise DataError(
            f"{video}: frame {start} was due, but frames {index[:3]}... arrived.",
            remedy="Predict every frame once, in order, continuing at `store.rows`.",
        )
