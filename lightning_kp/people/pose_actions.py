"""Sequences of 3-D poses with actions, seen by cameras whose place one chooses, and windows of 2-D poses from them.

003, 4.6.4.4: windows of 32 poses, 0.4 s apart, from a random start in training and from fixed starts in tests.  The
positions are in millimetres with z up.  A camera looks at a point above the origin; its intrinsics are those of a
camera of Human3.6M (1000 px wide, focal length 1145 px), without lens distortion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import LabelledWindows
from lightning_kp.errors import ConfigurationError, DataError

FOCAL_PX, SIDE_PX = 1145.0, 1000.0
NEAREST_MM = 100.0
"""Least depth of a joint in front of a camera."""
MEAN_OVER_SIGMA = float(np.sqrt(np.pi / 2))
"""Mean length of a two-dimensional normal vector, in standard deviations of a coordinate."""
Floats = NDArray[np.float32]


class PoseSequence(NamedTuple):
    """One recording: ``positions_mm`` (N, K, 3), z up, of ``subject`` during ``action``."""

    name: str
    subject: str
    action: str
    positions_mm: NDArray[np.floating]
    fps: float


@dataclass(frozen=True)
class View:
    """A camera ``degrees`` around the vertical axis through the origin, that looks ``target_mm`` above the origin."""

    degrees: float
    distance_mm: float = 5000.0
    height_mm: float = 1500.0
    target_mm: float = 900.0

    def project(self, positions_mm: NDArray[np.floating]) -> Floats:
        """Positions (N, K, 3), z up -> points (N, K, 2), normalised (x, y) of the camera's image, y down.

        Raises DataError for a joint that is not in front of the camera.
        """
        angle = np.deg2rad(self.degrees)
        place = np.array([np.cos(angle), np.sin(angle), 0]) * self.distance_mm + (0, 0, self.height_mm)
        forward = np.array([0, 0, self.target_mm]) - place
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0, 0, 1))
        right = right / np.linalg.norm(right)
        x, y, depth = (
            (positions_mm - place) @ np.stack((right, np.cross(forward, right), forward), axis=1)
        ).T
        if depth.min() < NEAREST_MM:
            raise DataError(
                f"A joint is {depth.min():.0f} mm in front of the camera at {self.degrees:g} degrees.",
                remedy="Choose a greater --data.distance_mm.",
            )
        points = np.stack((x, y), axis=-1) / depth[..., None] * FOCAL_PX / (SIDE_PX / 2)
        return np.asarray(points.transpose(1, 0, 2), dtype=np.float32)


def read_pose_sequences(path: Path) -> list[PoseSequence]:
    """Read an .npz with ``positions`` (N, K, 3), ``sequence_id`` (N,), ``sequence_names``, ``subject`` and ``fps``.

    A sequence is named SUBJECT/ACTION_NUMBER.  Raises DataError for a file that lacks any of these.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}.", remedy="Set --data.root and --data.poses.")
    with np.load(path, allow_pickle=False) as file:
        needed = ("positions", "sequence_id", "sequence_names", "subject", "fps")
        if missing := [name for name in needed if name not in file.files]:
            raise DataError(
                f"{path} lacks {', '.join(missing)}.", remedy="Give a file of 3-D pose sequences."
            )
        arrays = {name: file[name] for name in needed}
    found = []
    for number, name in enumerate(arrays["sequence_names"].tolist()):
        positions = arrays["positions"][arrays["sequence_id"] == number]
        action = name.rpartition("/")[2].rpartition("_")[0]
        found.append(
            PoseSequence(name, str(arrays["subject"][number]), action, positions, float(arrays["fps"]))
        )
    return found


def with_error(points: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Points (N, K, 2), moved at random; their mean distance from the true ones is ``share`` of the image side."""
    sigma = 2 * share / MEAN_OVER_SIGMA
    return (points + rng.normal(scale=sigma, size=points.shape)).astype(np.float32) if share else points


class PoseWindows(Dataset[LabelledWindows]):
    """Windows (T, 2 K) of 2-D poses, one per track and epoch from a random start, or several from fixed starts.

    Args:
        tracks: Points (N, K, 2) of each track.
        action: Number of the action of each track.
        length: Poses T in a window.
        step: Frames from one pose to the next.
        starts: Windows of each track at fixed starts, spread evenly; 0: one at a random start, which a row number
            above the number of tracks, of a later epoch, draws anew.
        seed: Seed of the random starts.

    Raises:
        ConfigurationError: A track is shorter than a window.
    """

    def __init__(
        self,
        tracks: Sequence[Floats],
        action: Sequence[int],
        length: int,
        step: int,
        starts: int,
        seed: int = 0,
    ) -> None:
        self.span = (length - 1) * step + 1
        shortest = min(map(len, tracks))
        if shortest < self.span:
            raise ConfigurationError(
                f"A window of {length} poses, {step} frames apart, spans {self.span} frames; the shortest track has "
                f"{shortest}.",
                remedy="Give a smaller --data.length or --data.step_s.",
            )
        self.tracks = [torch.from_numpy(np.ascontiguousarray(track)).flatten(1) for track in tracks]
        self.action = list(action)
        self.step, self.starts, self.seed = step, starts, seed

    def __len__(self) -> int:
        return len(self.tracks) * max(1, self.starts)

    def __getitem__(self, item: int) -> LabelledWindows:
        """One window (T, 2 K) without the batch axis; ``video`` is the number of the track."""
        epoch, row = divmod(item, len(self))
        number, which = (row, 0) if self.starts == 0 else divmod(row, self.starts)
        last = len(self.tracks[number]) - self.span
        if self.starts == 0:
            start = int(np.random.default_rng((self.seed, epoch, row)).integers(last + 1))
        else:
            start = round(last * which / max(1, self.starts - 1))
        window = self.tracks[number][start : start + self.span : self.step]
        return LabelledWindows(window, *map(torch.tensor, (self.action[number], number, start)))


def all_windows(dataset: PoseWindows) -> tuple[Tensor, Tensor, Tensor]:
    """The windows (M, T, 2 K) of one epoch, their actions (M,) and their tracks (M,)."""
    items = [dataset[number] for number in range(len(dataset))]
    window, action, track = (torch.stack([item[part] for item in items]) for part in range(3))
    return window, action, track
