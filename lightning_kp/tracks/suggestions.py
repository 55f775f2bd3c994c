"""Chooses the frames of tracked videos that are most worth labelling next (ours).

A frame is worth more, the less certain the network is (wide heatmaps, low peaks), the more its tracks look wrong (a
point leaves its neighbours in time and comes back), and the farther its pose is from every labelled pose.  Frames are
chosen one by one, each far from those chosen before.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lightning_kp.errors import DataError
from lightning_kp.geometry import pixel_centres
from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
SAME_POSE = 1e-6
"""Normalised units: poses no farther apart than this are the same."""
MIN_SEPARATION_S = 1.0
"""Seconds: frames of one video closer in time than this look alike."""
GRID_SIDE = 6
"""Grid points along each side of the frame at which :func:`pose_density` is evaluated."""
FRAMES_AT_A_TIME = 4096
"""Frames for which the density is evaluated at a time."""
MIN_DOUBT = 0.1
"""Doubt of a frame that is certain in every respect, relative to 1 for the most doubtful one."""


@dataclass(frozen=True)
class Suggestion:
    """A frame that is worth labelling; all values are in [0, 1].

    Attributes:
        video: Number of the video.
        frame: Number of the frame.
        worth: Product of doubt and distance, by which frames are chosen.
        uncertain: Rank of :func:`uncertainty` among all frames.
        doubtful: Rank of :func:`jump` among all frames.
        far: Distance to the nearest labelled or chosen pose, relative to the greatest such distance.
    """

    video: int
    frame: int
    worth: float
    uncertain: float
    doubtful: float
    far: float

    @property
    def reason(self) -> str:
        """The strongest of the three reasons: "uncertain", "doubtful" or "new pose"."""
        shares = {"uncertain": self.uncertain, "doubtful": self.doubtful, "new pose": self.far}
        return max(shares, key=lambda name: shares[name])


class Candidates(NamedTuple):
    """All N frames of all videos.

    Attributes:
        video: (N,), number of the video.
        frame: (N,), number of the frame.
        time_s: (N,), time in seconds.
        pose: (N, F), pose in normalised units, scaled so that F does not matter.
        uncertain: (N,), rank of :func:`uncertainty` in [0, 1].
        doubtful: (N,), rank of :func:`jump` in [0, 1].
    """

    video: NDArray[np.int64]
    frame: NDArray[np.int64]
    time_s: Floats
    pose: NDArray[np.floating[Any]]
    uncertain: Floats
    doubtful: Floats


def candidates(tracks: Sequence[Tracks], poses: Sequence[NDArray[np.floating[Any]]]) -> Candidates:
    """Collect all frames with their doubt, as ranks over all videos.

    ``poses`` holds (N, F) of each video in normalised units, NaN = absent.  Raises DataError if there is no frame.
    """
    if not any(len(each) for each in tracks):
        raise DataError("The tracked videos contain no frame.", remedy="Track them with `kp track` first.")
    pose = np.concatenate(poses)
    median = _median(pose)
    return Candidates(
        np.concatenate([np.full(len(each), number) for number, each in enumerate(tracks)]),
        np.concatenate([np.arange(len(each)) for each in tracks]),
        np.concatenate([each.times_s for each in tracks]),
        np.where(np.isnan(pose), median, pose) / np.sqrt(pose.shape[1] / 2),
        _ranks(np.concatenate([uncertainty(each) for each in tracks])),
        _ranks(np.concatenate([jump(each) for each in tracks])),
    )


def pose_density(points: Floats) -> NDArray[np.float32]:
    """Describe the poses of several animals independently of their order: (N, I, K, 2) -> (N, K * GRID_SIDE^2).

    Points are normalised, NaN = absent.  For every keypoint, Gaussians around the animals' points are summed and
    evaluated at the points of a grid; the standard deviation is one step of the grid.
    """
    places = pixel_centres(GRID_SIDE)

    def near(axis: Floats) -> Floats:
        found: Floats = np.exp(-0.5 * np.square((axis[..., None] - places) / (2 / GRID_SIDE)))
        return np.nan_to_num(found)

    pieces = [
        np.einsum("nikx,niky->nkxy", near(part[..., 0]), near(part[..., 1])).astype(np.float32)
        for part in np.split(points, range(FRAMES_AT_A_TIME, len(points), FRAMES_AT_A_TIME))
    ]
    return np.concatenate(pieces).reshape(len(points), -1)


def uncertainty(tracks: Tracks) -> Floats:
    """Uncertainty of every frame (N,): wide heatmaps, low confidence, absent keypoints; averaged over keypoints.

    Width and confidence of each keypoint are relative to their medians over the video, because heatmaps of different
    keypoints differ in sharpness.  An absent keypoint counts in proportion to how often it is seen in other frames,
    because some of many animals come and go.
    """
    spread = np.sqrt(np.clip(tracks.covariance_px[..., :2].astype(np.float64).sum(axis=-1), 0, None))
    confidence = tracks.confidence.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        width = spread / _median(spread)
        deficit = 1 - confidence / np.median(confidence, axis=0)
    parts = np.nan_to_num(width, nan=1.0, posinf=1.0) + np.nan_to_num(deficit, nan=0.0, neginf=0.0)
    absent = np.isnan(tracks.points_px).any(axis=-1)
    usual = 1 - absent.mean(axis=0)
    mean: Floats = (parts + 2.0 * absent * usual).reshape(len(tracks), -1).mean(axis=1)
    return mean


def jump(tracks: Tracks) -> Floats:
    """Greatest distance in pixels of a point from the midpoint of its neighbours in time, for every frame (N,).

    It is 0 for steady motion, however fast, and large for a point that jumps away for one or two frames.
    """
    points = tracks.points_px.astype(np.float64)
    found = np.zeros(len(points))
    for step in (1, 2):
        if len(points) > 2 * step:
            midpoint = (points[2 * step :] + points[: -2 * step]) / 2
            distance = np.linalg.norm(points[step:-step] - midpoint, axis=-1)
            worst = np.nan_to_num(distance).reshape(len(distance), -1).max(axis=1)
            found[step:-step] = np.maximum(found[step:-step], worst)
    return found


def choose(frames: Candidates, labelled: NDArray[np.floating[Any]] | None, count: int) -> list[Suggestion]:
    """Choose the ``count`` frames with the highest worth, best first.

    Worth is doubt times distance.  Frames less than ``MIN_SEPARATION_S`` from a chosen one come last: an uncertain
    network scatters its points, but neighbours in time still look alike.

    Args:
        frames: All frames.
        labelled: Poses (M, F) that are labelled already, in normalised units, or None.
        count: Number of frames; fewer are returned if no other pose is left.
    """
    scale = 1 / np.sqrt(frames.pose.shape[1] / 2)
    doubt = MIN_DOUBT + (1 - MIN_DOUBT) * (frames.uncertain + frames.doubtful) / 2
    distance = np.full(len(frames.frame), np.inf)
    for pose in np.nan_to_num(labelled) * scale if labelled is not None else ():
        distance = np.minimum(distance, np.linalg.norm(frames.pose - pose, axis=1))
    if not np.isfinite(
        distance
    ).all():  # nothing is labelled: all are as far as the frame farthest from the median
        from_median = np.linalg.norm(frames.pose - np.median(frames.pose, axis=0), axis=1)
        distance = np.full(len(doubt), from_median.max() + SAME_POSE)
    chosen: list[Suggestion] = []
    farthest = max(float(distance.max()), SAME_POSE)
    is_near_chosen = np.zeros(len(doubt), dtype=bool)
    for _ in range(min(count, len(doubt))):
        worth = doubt * distance / farthest
        best = int(
            np.where(distance < SAME_POSE, -2.0, worth - is_near_chosen).argmax()
        )  # worth is at most 1
        if distance[best] < SAME_POSE:
            break
        chosen.append(
            Suggestion(
                int(frames.video[best]),
                int(frames.frame[best]),
                float(worth[best]),
                float(frames.uncertain[best]),
                float(frames.doubtful[best]),
                float(distance[best] / farthest),
            )
        )
        distance = np.minimum(distance, np.linalg.norm(frames.pose - frames.pose[best], axis=1))
        is_near = np.abs(frames.time_s - frames.time_s[best]) < MIN_SEPARATION_S
        is_near_chosen |= is_near & (frames.video == frames.video[best])
    return chosen


def _median(values: NDArray[np.floating[Any]]) -> Floats:
    """Median over frames (N, ...), ignoring NaN; 0 where all values are NaN."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        found: Floats = np.nan_to_num(np.nanmedian(values, axis=0))
    return found


def _ranks(values: Floats) -> Floats:
    """Ranks (N,) in [0, 1]; equal values share a rank."""
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values))
    ranks: Floats = (rankdata(values) - 1) / (len(values) - 1)
    return ranks
