"""Detection rate, centroid error and identity switches of several look-alike animals with known identities.

Animals are compared by their centroids (the mean of an animal's present points), because discovered keypoints
have no names.  In each frame, found and true animals are matched one to one at the smallest total distance; two
animals farther apart than ``reach_px`` are never matched.

Letters as elsewhere: N frames, I found animals, J true animals, K keypoints.  Points are in pixels, NaN = absent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_kp.errors import DataError

Floats = NDArray[np.float64]
Matches = NDArray[np.int64]
UNMATCHED = -1
REACH_BODY_LENGTHS = 0.5  # largest distance of two matched centroids, in body lengths (ours)


@dataclass(frozen=True)
class AnimalMetrics:
    """Metrics of all frames that have a true animal.

    Attributes:
        detection: Share of the true animals that were found, in [0, 1].
        centroid_px: Median distance of matched centroids, in pixels.
        centroid_mean_px: Mean distance of matched centroids, in pixels.
        switches: Identity switches per 1,000 frames.
        reach_px: Largest distance of two matched centroids, in pixels.
        frames: Number of frames with a true animal.
    """

    detection: float
    centroid_px: float
    centroid_mean_px: float
    switches: float
    reach_px: float
    frames: int


def centroids(points_px: Floats) -> Floats:
    """Mean of each animal's present points.

    Args:
        points_px: Points (N, I, K, 2) in pixels; NaN = absent.

    Returns:
        Centroids (N, I, 2) in pixels; NaN for an animal without a present point.

    Example:
        >>> centroids(np.array([[[[0.0, 0.0], [4.0, 2.0], [np.nan, np.nan]]]]))
        array([[[2., 1.]]])
    """
    present = np.asarray(np.isfinite(points_px).all(axis=-1))
    total = np.where(present[..., None], points_px, 0).sum(axis=2, dtype=np.float64)
    number = present.sum(axis=2)[..., None]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def body_length(points_px: Floats) -> float:
    """Median, over frames and animals, of the largest distance between two points of one animal.

    Args:
        points_px: Points (N, I, K, 2) in pixels; NaN = absent.

    Returns:
        The length in pixels; NaN if no animal has two points apart from each other.

    Example:
        >>> body_length(np.array([[[[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]]]]))
        5.0
    """
    thinned = points_px[:: max(1, len(points_px) // 512)].astype(np.float64)
    apart = np.linalg.norm(thinned[:, :, :, None] - thinned[:, :, None], axis=-1)
    longest = np.nan_to_num(apart).max(axis=(-1, -2))
    return float(np.median(longest[longest > 0])) if (longest > 0).any() else float("nan")


def match_centroids(found: Floats, true: Floats, reach_px: float) -> Matches:
    """Match found and true animals of each frame at the smallest total distance of their centroids.

    Args:
        found: Centroids (N, I, 2) of the found animals; NaN = absent.
        true: Centroids (N, J, 2) of the true animals, in the same unit; NaN = absent.
        reach_px: Largest distance of two matched animals, in the unit of the centroids.

    Returns:
        For each true animal the index of its found animal (N, J); UNMATCHED (-1) = not found.

    Raises:
        DataError: The two have different numbers of frames.

    Example:
        >>> match_centroids(np.array([[[6.0, 0.0], [30.0, 0.0]]]), np.array([[[0.0, 0.0], [10.0, 0.0]]]), 7)
        array([[-1,  0]])
    """
    if len(found) != len(true):
        raise DataError(
            f"{len(found)} tracked frames cannot be compared with {len(true)} true ones.",
            remedy="Track the video that the labels belong to.",
        )
    distance = np.linalg.norm(true[:, :, None] - found[:, None], axis=-1)
    # Pairs out of reach and absent animals all cost the same, so that they cannot take a partner from another pair.
    near = distance <= reach_px
    cost = np.where(near, distance, 1e3 * (1 + distance[near].max(initial=0)))
    matches = np.full(true.shape[:2], UNMATCHED)
    for frame, each in enumerate(cost):
        rows, columns = linear_sum_assignment(each)
        reached = near[frame, rows, columns]
        matches[frame, rows[reached]] = columns[reached]
    return matches


def identity_switches(matches: Matches) -> list[int]:
    """Frames at which a true animal is matched with another found animal than when it was last matched.

    As in CLEAR MOT (Bernardin and Stiefelhagen 2008): frames without a match are skipped, and two animals that
    are exchanged count as one switch each.

    Args:
        matches: Indices (N, J) from :func:`match_centroids`.

    Returns:
        Frame numbers in ascending order, one entry per switch.

    Example:
        >>> identity_switches(np.array([[0, 1], [0, 1], [1, 0], [-1, 0]]))
        [2, 2]
    """
    frames: list[int] = []
    for column in matches.T:
        seen = np.flatnonzero(column != UNMATCHED)
        changed = np.flatnonzero(np.diff(column[seen]))
        frames += seen[changed + 1].tolist()
    return sorted(frames)


def score_animals(found_px: Floats, true_px: Floats, reach_px: float | None = None) -> AnimalMetrics:
    """Compare tracked animals with true ones.

    Args:
        found_px: Found points (N, I, K, 2) in pixels, one animal per index of the second axis; NaN = absent.
        true_px: True points (N, J, L, 2) in pixels, likewise.  Frames without any true animal are ignored.
        reach_px: Largest distance of two matched centroids, in pixels; by default
            :data:`REACH_BODY_LENGTHS` of the true animals.

    Raises:
        DataError: The labels hold no animal, or belong to another number of frames.

    Example:
        >>> true = np.array([[[[0.0, 0.0], [4.0, 0.0]]], [[[1.0, 0.0], [5.0, 0.0]]]])  # 2 frames, 1 animal, 2 points
        >>> score_animals(true + [0.0, 1.0], true).centroid_px
        1.0
    """
    reach = REACH_BODY_LENGTHS * body_length(true_px) if reach_px is None else reach_px
    found, true = centroids(found_px), centroids(true_px)
    present = np.asarray(np.isfinite(true).all(axis=-1))
    if not present.any():
        raise DataError("The labels hold no animal.", remedy="Give a file with labelled points.")
    matches = match_centroids(found, true, reach)
    frame, animal = np.nonzero(matches != UNMATCHED)
    distance = np.linalg.norm(found[frame, matches[frame, animal]] - true[frame, animal], axis=-1)
    counted = int(present.any(axis=1).sum())
    return AnimalMetrics(
        detection=len(frame) / int(present.sum()),
        centroid_px=float(np.median(distance)) if len(distance) else float("nan"),
        centroid_mean_px=float(distance.mean()) if len(distance) else float("nan"),
        switches=1000 * len(identity_switches(matches)) / counted,
        reach_px=reach,
        frames=counted,
    )


def split_points(points_px: Floats, animals: int) -> Floats:
    """Divide one set of points that covers several animals among these animals.

    k-means in each frame, which starts from points that lie as far apart as possible: the most that a
    single-instance model can say about several animals.  A keypoint belongs to no fixed animal, so that identities
    are those of the order by height.

    Args:
        points_px: Points (N, K, 2) in pixels, all finite.
        animals: Number of animals I.

    Returns:
        Points (N, I, K, 2) in pixels; NaN where a point belongs to another animal.

    Example:
        >>> split = split_points(np.array([[[0.0, 0.0], [1.0, 0.0], [50.0, 0.0], [51.0, 0.0]]]), 2)
        >>> np.sort(centroids(split)[0, :, 0])
        array([ 0.5, 50.5])
    """
    points = points_px.astype(np.float64)
    centres = _farthest(points, animals)
    for _ in range(10):
        nearest = np.linalg.norm(points[:, :, None] - centres[:, None], axis=-1).argmin(axis=-1)
        member = nearest[:, None] == np.arange(animals)[:, None]  # (N, I, K)
        number = member.sum(axis=-1)[..., None]
        mean = np.einsum("nak,nkd->nad", member.astype(np.float64), points) / np.maximum(number, 1)
        centres = np.where(number > 0, mean, centres)
    split: Floats = np.where(member[..., None], points[:, None], np.nan)
    return split


def _farthest(points: Floats, number: int) -> Floats:
    """Choose ``number`` of the points (N, K, 2), each as far as possible from those before: (N, number, 2)."""
    frames = np.arange(len(points))
    middle = points.mean(axis=1, keepdims=True)
    chosen = [points[frames, np.linalg.norm(points - middle, axis=-1).argmax(axis=1)]]
    while len(chosen) < number:
        apart = np.stack([np.linalg.norm(points - each[:, None], axis=-1) for each in chosen])
        chosen.append(points[frames, apart.min(axis=0).argmax(axis=1)])
    return np.stack(chosen, axis=1)
