"""Keypoints over time, in pixels of the original video.

Axis letters: N frames, I instances (animals), K keypoints.  Coordinates refer to pixel centres: the centre of the
top left pixel of the original video is (0, 0).
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError

Floats = NDArray[np.float32]
MAX_KEYPOINTS = 2**29  # of a table in memory, which then takes 13 GB; a file may name any frame number (ours)
KEYPOINTS_PER_PIECE = 16_384  # held in memory while a table is written or read (ours: about 10 MB as text)


def default_names(number: int) -> tuple[str, ...]:
    """Names of discovered keypoints: kp01, kp02, ..."""
    return tuple(f"kp{k:02d}" for k in range(1, number + 1))


def animal_names(number: int) -> tuple[str, ...]:
    """Names of the instances in every file: animal1, animal2, ..."""
    return tuple(f"animal{i}" for i in range(1, number + 1))


@dataclass(frozen=True)
class TrackInfo:
    """Description of the tracks of one video, the same for all frames.

    Attributes:
        video: Path of the video.
        frame_size: (height, width) in pixels; (0, 0) if unknown.
        fps: Frames per second; 0 if unknown.
        keypoint_names: Names of the K keypoints.
        animals: Number of instances I.
        origin: Text that identifies checkpoint and settings.  A store is continued, and a finished video skipped, only
            if it is the same.
    """

    video: str
    frame_size: tuple[int, int]
    fps: float
    keypoint_names: tuple[str, ...]
    animals: int = 1
    origin: str = ""

    def to_json(self) -> str:
        """One line of JSON, which :meth:`from_json` reads."""
        return json.dumps({"format": "lightning-kp tracks 1", **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote; unknown keys are ignored.  Raises KeyError or ValueError."""
        given = json.loads(text)
        known = {field.name: given[field.name] for field in dataclasses.fields(cls)}
        known["frame_size"] = (int(given["frame_size"][0]), int(given["frame_size"][1]))
        known["keypoint_names"] = tuple(given["keypoint_names"])
        return cls(**known)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Keypoints of one video, one row per displayed frame.

    Attributes:
        video: Path of the video.
        frame_size: (height, width) in pixels; (0, 0) if unknown.
        fps: Frames per second; 0 if unknown.
        times_s: (N,), float64, presentation time of each frame in seconds.
        points_px: (N, I, K, 2), float32, (x, y) in pixels of the video; NaN if absent.
        confidence: (N, I, K), float32, in [0, 1].
        covariance_px: (N, I, K, 3), float32, (var x, var y, cov xy) in px^2; NaN if unknown.
        keypoint_names: Names of the K keypoints.
        peak: (N, I, K), float32, heights of the heatmaps' peaks in [0, 1], where the confidence is a probability made
            from them (:mod:`lightning_kp.confidence`); None where the confidence is the peak itself.

    Raises:
        DataError: if the shapes contradict each other, or two keypoints have one name.
    """

    video: str
    frame_size: tuple[int, int]
    fps: float
    times_s: NDArray[np.float64]
    points_px: Floats
    confidence: Floats
    covariance_px: Floats
    keypoint_names: tuple[str, ...]
    peak: Floats | None = None

    def __post_init__(self) -> None:
        frames, animals, keypoints = self.points_px.shape[:3]
        needed = {
            "times_s": (frames,),
            "points_px": (frames, animals, keypoints, 2),
            "confidence": (frames, animals, keypoints),
            "covariance_px": (frames, animals, keypoints, 3),
            **({} if self.peak is None else {"peak": (frames, animals, keypoints)}),
        }
        for name, shape in needed.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"Tracks need {name} of shape {shape}, got {getattr(self, name).shape}.")
        if len(self.keypoint_names) != keypoints:
            raise DataError(
                f"Tracks of {keypoints} keypoints need as many names, got {len(self.keypoint_names)}."
            )
        if len(set(self.keypoint_names)) < keypoints:
            repeated = [name for name, count in Counter(self.keypoint_names).items() if count > 1]
            raise DataError(
                f"The tracks of {self.video or 'a video'} have several keypoints called {', '.join(repeated)}.",
                remedy="Give each keypoint a name of its own.",
            )

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def info(self) -> TrackInfo:
        """Video, frame size, frame rate and names; without an origin."""
        return TrackInfo(self.video, self.frame_size, self.fps, self.keypoint_names, self.points_px.shape[1])

    def __getitem__(self, rows: slice) -> "Tracks":
        """Tracks of the frames in a slice of N, numbered from 0 again."""
        arrays = {name: getattr(self, name)[rows] for name in ARRAYS}
        return dataclasses.replace(self, **arrays, peak=None if self.peak is None else self.peak[rows])

    def pieces(self) -> Iterator["Tracks"]:
        """Consecutive parts of limited size."""
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
    """Number of frames handled at a time, so that memory does not grow with the video."""
    return max(1, KEYPOINTS_PER_PIECE // max(1, info.animals * len(info.keypoint_names)))


def fits_in_memory(frames: int, animals: int, keypoints: int) -> bool:
    """Whether a table of this size can be read as a whole."""
    return frames * animals * keypoints <= MAX_KEYPOINTS


def check_size(frames: int, animals: int, keypoints: int) -> None:
    """Raise ValueError for a table that cannot be read as a whole, such as one with a wrong frame number."""
    if not fits_in_memory(frames, animals, keypoints):
        raise ValueError(
            f"its last frame has the number {frames - 1:,}, which {animals} x {keypoints} keypoints are too many for"
        )


def make_tracks(info: TrackInfo, arrays: dict[str, Any]) -> Tracks:
    """Tracks from their description and the four arrays of :data:`ARRAYS` by name (shapes as in :class:`Tracks`)."""
    return Tracks(info.video, info.frame_size, info.fps, keypoint_names=info.keypoint_names, **arrays)


def concatenate(info: TrackInfo, pieces: Iterable[Tracks]) -> Tracks:
    """Join consecutive pieces (N, I, K, ...) into one table; without pieces it has no rows."""
    parts = list(pieces)
    peaks = [part.peak for part in parts if part.peak is not None]
    shape = (0, info.animals, len(info.keypoint_names))
    empty = {"times_s": (0,), "points_px": (*shape, 2), "confidence": shape, "covariance_px": (*shape, 3)}
    return make_tracks(
        info,
        {
            name: np.concatenate([getattr(part, name) for part in parts])
            if parts
            else np.zeros(empty[name], np.float64 if name == "times_s" else np.float32)
            for name in ARRAYS
        }
        | ({"peak": np.concatenate(peaks)} if peaks and len(peaks) == len(parts) else {}),
    )
