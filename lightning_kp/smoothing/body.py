"""What tracks say of the body without labels: which keypoints share one, how long it is, where it walks, its order.

Letters: N frames, I animals, K keypoints; points in pixels, NaN = absent.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from lightning_kp.metrics.animals import body_length
from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Index = NDArray[np.int64]

SAMPLED_FRAMES = 1024
NEAR_SHARE = 0.75
"""Two keypoints share a body if their distance, mostly, is below this share of how far they travel (ours)."""
MIN_KEYPOINTS = 3
"""Keypoints of a body that can be judged: of two nobody can say which one jumps (ours)."""
WALK_SECONDS, WALK_LENGTHS = 0.4, 0.2
"""An animal walks where its centre covers this many body lengths within this time (ours)."""
MIN_AHEAD = 0.25
"""Body lengths; keypoints nearer to each other along the walk have no order to keep (as in metrics.body_order)."""
LONGEST_STEP = 2.5
"""Usual steps between two frames; a longer one is a gap (ours: one dropped frame is none)."""
DEFAULT_FPS = 25.0
"""Frames per second where they are unknown."""


class Body(NamedTuple):
    """Keypoints of one body, on one or several animals.

    Attributes:
        keypoints: (k,), their positions among the K keypoints of the tracks.
        points_px: (N, I, k, 2), NaN = absent.
        length_px: Body length: the usual distance between the two keypoints that are farthest apart.
        continues: (N,), whether a frame follows the one before it without a gap in time.
        walk_frames: Half the time, in frames, over which walking is measured.
    """

    keypoints: Index
    points_px: Floats
    length_px: float
    continues: Bools
    walk_frames: int


def find_bodies(tracks: Tracks) -> list[Body]:
    """Keypoints of each body that has at least :data:`MIN_KEYPOINTS`.

    Where animals have rows of their own, all K keypoints form one body.  A single row may hold the keypoints of several
    animals: they are told apart by their distances, which stay short within a body.  An animal that never travels
    farther than its own length is left out.
    """
    points = tracks.points_px.astype(np.float64)
    points[~(np.isfinite(points).all(-1) & (tracks.confidence > 0))] = np.nan
    continues, usual_s = continuing(tracks.times_s)
    fps = 1 / usual_s if tracks.fps > 0 else DEFAULT_FPS  # times of unknown scale are numbers of frames
    walk_frames = max(1, round(WALK_SECONDS * fps / 2))
    groups = [np.arange(points.shape[2])] if points.shape[1] > 1 else keypoints_together(points[:, 0])
    bodies = []
    for group in groups:
        own = points[:, :, group]
        length = body_length(own)
        if len(group) >= MIN_KEYPOINTS and np.isfinite(length):
            bodies.append(Body(group, own, length, continues, walk_frames))
    return bodies


def continuing(times_s: Floats) -> tuple[Bools, float]:
    """Whether each frame (N,) follows the one before it without a gap in time, and the usual step in seconds.

    Example:
        >>> continuing(np.array([0.0, 0.5, 1.5, 5.0, 5.5]))
        (array([False,  True,  True, False,  True]), 0.75)
    """
    steps = np.diff(times_s, prepend=np.nan)
    forward = steps[steps > 0]
    usual = float(np.median(forward)) if forward.size else 1.0
    return (steps > 0) & (steps <= LONGEST_STEP * usual), usual


def keypoints_together(points_px: Floats) -> list[Index]:
    """Groups of keypoints that share a body, from points (N, K, 2) of one or several animals."""
    points = points_px[:: max(1, len(points_px) // SAMPLED_FRAMES)]
    at_other_times = np.roll(points, len(points) // 2, axis=0)
    near = _usual(np.linalg.norm(points[:, :, None] - points[:, None], axis=-1), 80)
    far = _usual(np.linalg.norm(points[:, :, None] - at_other_times[:, None], axis=-1), 50)
    number, group_of = connected_components(near < NEAR_SHARE * far, directed=False)
    return [np.flatnonzero(group_of == each) for each in range(number)]


def centres(points_px: Floats) -> Floats:
    """Mean of all keypoints (N, I, 2); NaN where one is absent, since the mean would jump.

    It does not change when keypoints are exchanged.
    """
    return np.asarray(points_px.mean(axis=2))


def walking_direction(body: Body, points_px: Floats) -> tuple[Floats, Floats]:
    """Unit vectors (N, I, 2) of the walk, NaN where an animal rests, and the body lengths walked in a frame (N, I)."""
    centre = centres(points_px)
    half = body.walk_frames
    moved = np.full_like(centre, np.nan)
    unbroken = np.cumsum(~body.continues)
    if len(centre) > 2 * half:
        same_part = unbroken[2 * half :] == unbroken[: -2 * half]
        step = np.where(same_part[:, None, None], centre[2 * half :] - centre[: -2 * half], np.nan)
        moved[half:-half] = step
    distance = np.linalg.norm(moved, axis=-1)
    walks = distance > WALK_LENGTHS * body.length_px
    direction = np.where(walks[..., None], moved / np.where(walks, distance, 1.0)[..., None], np.nan)
    return direction, np.where(walks, distance / (2 * half) / body.length_px, 0.0)


def along_walk(body: Body, points_px: Floats) -> Floats:
    """Position of every keypoint ahead of the centre (N, I, k) in walking direction, in body lengths; NaN at rest."""
    direction, _ = walking_direction(body, points_px)
    offset = points_px - centres(points_px)[:, :, None]
    return np.asarray((offset * direction[:, :, None]).sum(-1) / body.length_px)


def order_along_walk(ahead: Floats) -> float:
    """Share in [0, 1] of the walking frames in which pairs of keypoints keep their usual order; NaN without any.

    ``ahead`` (N, I, k) is from :func:`along_walk`.  Pairs count whose usual distance in walking direction is at least
    :data:`MIN_AHEAD` body lengths.
    """
    frames = ahead.reshape(-1, ahead.shape[-1])
    frames = frames[np.isfinite(frames).all(-1)]
    if not len(frames):
        return float("nan")
    usual = np.median(frames, axis=0)
    first, second = np.nonzero(usual[:, None] - usual > MIN_AHEAD)
    if not len(first):
        return float("nan")
    return float((frames[:, first] > frames[:, second]).mean())


def _usual(values: Floats, percentile: float) -> Floats:
    """Percentile over the frames, infinite where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanpercentile(values, percentile, axis=0), nan=np.inf)
