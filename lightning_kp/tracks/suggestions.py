"""Which frames of tracked videos are worth labelling next (ours).

A frame is worth more the less the network is sure of it (wide heatmaps, low peaks), the more it looks wrong
(a point leaves its neighbours in time and comes back), and the farther its pose is from every labelled
one.  Frames are chosen one by one, each far from those chosen before.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
SAME = 1e-6
"""Poses no farther apart than this (normalised units) are the same."""
APART_S = 1.0
"""Seconds within which two frames of a video look alike."""
GRID = 6
"""Places along each side of the frame at which :func:`spread_of` says how much of every keypoint is near."""
PIECE = 4096
"""Frames of which it does so at a time."""
FLOOR = 0.1
"""Worth of a frame about which there is no doubt, against 1 of the most doubtful one."""


@dataclass(frozen=True)
class Suggestion:
    """``frame`` of ``video`` (numbers), its ``worth``, and what made it, each in [0, 1].

    ``uncertain`` and ``doubtful`` are ranks among all frames; ``far`` is the distance to the nearest
    labelled or chosen pose over the greatest such distance.
    """

    video: int
    frame: int
    worth: float
    uncertain: float
    doubtful: float
    far: float

    @property
    def reason(self) -> str:
        """The strongest of the three, in a word."""
        shares = {"uncertain": self.uncertain, "doubtful": self.doubtful, "new pose": self.far}
        return max(shares, key=lambda name: shares[name])


class Candidates(NamedTuple):
    """All frames of all videos: ``pose`` (N, F), all else (N); ``uncertain`` and ``doubtful`` are ranks in [0, 1]."""

    video: NDArray[np.int64]
    frame: NDArray[np.int64]
    time_s: Floats
    pose: NDArray[np.floating[Any]]
    uncertain: Floats
    doubtful: Floats


def candidates(tracks: Sequence[Tracks], poses: Sequence[NDArray[np.floating[Any]]]) -> Candidates:
    """Doubt as ranks over all videos; ``poses`` (N, F) of each in normalised units, NaN = absent."""
    if not any(len(each) for each in tracks):
        raise DataError("The tracked videos hold no frame.", remedy="Track them with `kp track` first.")
    pose = np.concatenate(poses)
    middle = _middle(pose)
    return Candidates(
        np.concatenate([np.full(len(each), number) for number, each in enumerate(tracks)]),
        np.concatenate([np.arange(len(each)) for each in tracks]),
        np.concatenate([each.times_s for each in tracks]),
        np.where(np.isnan(pose), middle, pose) / np.sqrt(pose.shape[1] / 2),
        _ranks(np.concatenate([uncertainty(each) for each in tracks])),
        _ranks(np.concatenate([jump(each) for each in tracks])),
    )


def spread_of(points: Floats) -> NDArray[np.float32]:
    """Poses of animals in no order (N, I, K, 2), normalised, NaN = absent -> (N, K GRID^2), the same in any order.

    Of every keypoint the sum over the animals of a Gaussian as wide as a step of the grid, at the points of the grid.
    """
    places = (2 * np.arange(GRID) + 1) / GRID - 1

    def near(axis: Floats) -> Floats:
        found: Floats = np.exp(-0.5 * np.square((axis[..., None] - places) / (2 / GRID)))
        return np.nan_to_num(found)

    pieces = [
        np.einsum("nikx,niky->nkxy", near(part[..., 0]), near(part[..., 1])).astype(np.float32)
        for part in np.split(points, range(PIECE, len(points), PIECE))
    ]
    return np.concatenate(pieces).reshape(len(points), -1)


def uncertainty(tracks: Tracks) -> Floats:
    """(N,): mean spread of the heatmaps over its median, and the share of confidence that is missing.

    Keypoints differ in how sharp their heatmaps are: each is held against itself.  One that is absent counts as much
    as it is seen in other frames: of many animals some come and go.
    """
    spread = np.sqrt(np.clip(tracks.covariance_px[..., :2].astype(np.float64).sum(axis=-1), 0, None))
    confidence = tracks.confidence.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = spread / _middle(spread)
        low = 1 - confidence / np.median(confidence, axis=0)
    parts = np.nan_to_num(wide, nan=1.0, posinf=1.0) + np.nan_to_num(low, nan=0.0, neginf=0.0)
    absent = np.isnan(tracks.points_px).any(axis=-1)
    usual = 1 - absent.mean(axis=0)
    flat: Floats = (parts + 2.0 * absent * usual).reshape(len(tracks), -1).mean(axis=1)
    return flat


def jump(tracks: Tracks) -> Floats:
    """(N,): the greatest distance of a point from the middle between its neighbours in time, in px.

    Steady motion, however fast, has none; a point that leaps away for a frame or two has.
    """
    points = tracks.points_px.astype(np.float64)
    found = np.zeros(len(points))
    for step in (1, 2):
        if len(points) > 2 * step:
            middle = (points[2 * step :] + points[: -2 * step]) / 2
            away = np.linalg.norm(points[step:-step] - middle, axis=-1)
            worst = np.nan_to_num(away).reshape(len(away), -1).max(axis=1)
            found[step:-step] = np.maximum(found[step:-step], worst)
    return found


def choose(frames: Candidates, labelled: NDArray[np.floating[Any]] | None, count: int) -> list[Suggestion]:
    """The ``count`` frames of most worth, best first; ``labelled`` (M, F): poses that need no more labels.

    Worth is doubt times distance.  Frames less than APART_S from a chosen one come last: an unsure network
    scatters its points, and neighbours in time look alike for all that.  Fewer are returned where no other pose is
    left.
    """
    scale = 1 / np.sqrt(frames.pose.shape[1] / 2)
    doubt = FLOOR + (1 - FLOOR) * (frames.uncertain + frames.doubtful) / 2
    distance = np.full(len(frames.frame), np.inf)
    for pose in np.nan_to_num(labelled) * scale if labelled is not None else ():
        distance = np.minimum(distance, np.linalg.norm(frames.pose - pose, axis=1))
    if not np.isfinite(distance).all():  # nothing is labelled: all are as far as the farthest from the middle
        from_middle = np.linalg.norm(frames.pose - np.median(frames.pose, axis=0), axis=1)
        distance = np.full(len(doubt), from_middle.max() + SAME)
    found: list[Suggestion] = []
    far = max(float(distance.max()), SAME)
    seen = np.zeros(len(doubt), dtype=bool)
    for _ in range(min(count, len(doubt))):
        worth = doubt * distance / far
        best = int(np.where(distance < SAME, -2.0, worth - seen).argmax())  # worth is at most 1
        if distance[best] < SAME:
            break
        found.append(
            Suggestion(
                int(frames.video[best]),
                int(frames.frame[best]),
                float(worth[best]),
                float(frames.uncertain[best]),
                float(frames.doubtful[best]),
                float(distance[best] / far),
            )
        )
        distance = np.minimum(distance, np.linalg.norm(frames.pose - frames.pose[best], axis=1))
        near = np.abs(frames.time_s - frames.time_s[best]) < APART_S
        seen |= near & (frames.video == frames.video[best])
    return found


def _middle(values: NDArray[np.floating[Any]]) -> Floats:
    """Median over frames (N, ...), NaN left out; 0 where there is nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        found: Floats = np.nan_to_num(np.nanmedian(values, axis=0))
    return found


def _ranks(values: Floats) -> Floats:
    """Ranks over all frames in [0, 1]; equal values share one."""
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values))
    ranks: Floats = (rankdata(values) - 1) / (len(values) - 1)
    return ranks
