"""How well several look-alike animals are found and kept apart, against tracked truth.

Animals are compared by their centroids (the mean of an animal's present points), since discovered
keypoints have no names.  In every frame, found and true animals are paired by the assignment of least
distance; a pair farther apart than ``reach_px`` is none.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_kp.errors import DataError

Floats = NDArray[np.float64]
Pairs = NDArray[np.int64]
ABSENT = -1
REACH = 0.5  # body lengths within which a centroid counts as found (ours)


@dataclass(frozen=True)
class AnimalFigures:
    """``detection`` in [0, 1], the share of true animals found; ``centroid_px`` the median distance of pairs,
    ``centroid_mean_px`` their mean; ``switches`` per 1,000 frames; ``reach_px`` and ``frames`` as used.
    """  # noqa: D205

    detection: float
    centroid_px: float
    centroid_mean_px: float
    switches: float
    reach_px: float
    frames: int


def centroids(points_px: Floats) -> Floats:
    """Mean of the present points of each animal: (N, I, K, 2), NaN = absent -> (N, I, 2), NaN = no point."""
    present = np.asarray(np.isfinite(points_px).all(axis=-1))
    total = np.where(present[..., None], points_px, 0).sum(axis=2, dtype=np.float64)
    number = present.sum(axis=2)[..., None]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def body_length(points_px: Floats) -> float:
    """Median over frames and animals of the largest distance between two points (N, I, K, 2), in pixels."""
    thinned = points_px[:: max(1, len(points_px) // 512)].astype(np.float64)
    apart = np.linalg.norm(thinned[:, :, :, None] - thinned[:, :, None], axis=-1)
    longest = np.nan_to_num(apart).max(axis=(-1, -2))
    return float(np.median(longest[longest > 0])) if (longest > 0).any() else float("nan")


def paired(found: Floats, true: Floats, reach_px: float) -> Pairs:
    """For every true animal the found one that stands for it: (N, I, 2) and (N, J, 2) -> (N, J), -1 = none."""
    if len(found) != len(true):
        raise DataError(
            f"{len(found)} tracked frames cannot be compared with {len(true)} true ones.",
            remedy="Track the video that the labels belong to.",
        )
    distance = np.linalg.norm(true[:, :, None] - found[:, None], axis=-1)
    # Those out of reach, and those that are not there, cost the same, so that they do not take a partner from others.
    near = distance <= reach_px
    cost = np.where(near, distance, 1e3 * (1 + distance[near].max(initial=0)))
    pairs = np.full(true.shape[:2], ABSENT)
    for frame, each in enumerate(cost):
        rows, columns = linear_sum_assignment(each)
        reached = near[frame, rows, columns]
        pairs[frame, rows[reached]] = columns[reached]
    return pairs


def switches(pairs: Pairs) -> list[int]:
    """Frames at which a true animal is found under another number than when it was last found.

    As in CLEAR MOT (Bernardin and Stiefelhagen 2008): frames in which it is not found do not count, and
    an exchange of two animals is one switch of each.  Pairs (N, J) of :func:`paired`.
    """
    frames: list[int] = []
    for column in pairs.T:
        seen = np.flatnonzero(column != ABSENT)
        changed = np.flatnonzero(np.diff(column[seen]))
        frames += seen[changed + 1].tolist()
    return sorted(frames)


def score_animals(found_px: Floats, true_px: Floats, reach_px: float | None = None) -> AnimalFigures:
    """Found points (N, I, K, 2) against true ones (N, J, L, 2), both with identity along their second axis.

    Frames without any true animal do not count.  ``reach_px`` is by default :data:`REACH` body lengths of the truth.
    """
    reach = REACH * body_length(true_px) if reach_px is None else reach_px
    found, true = centroids(found_px), centroids(true_px)
    present = np.asarray(np.isfinite(true).all(axis=-1))
    if not present.any():
        raise DataError("The labels hold no animal.", remedy="Give a file with labelled points.")
    pairs = paired(found, true, reach)
    frame, animal = np.nonzero(pairs != ABSENT)
    distance = np.linalg.norm(found[frame, pairs[frame, animal]] - true[frame, animal], axis=-1)
    counted = int(present.any(axis=1).sum())
    return AnimalFigures(
        detection=len(frame) / int(present.sum()),
        centroid_px=float(np.median(distance)) if len(distance) else float("nan"),
        centroid_mean_px=float(distance.mean()) if len(distance) else float("nan"),
        switches=1000 * len(switches(pairs)) / counted,
        reach_px=reach,
        frames=counted,
    )


def split_points(points_px: Floats, animals: int) -> Floats:
    """Points of one set (N, K, 2) that covers several animals -> (N, animals, K, 2), NaN elsewhere.

    k-means in every frame, from the two points farthest apart on: what a single-instance model can say of
    several animals.  Keypoints have no fixed animal, so that identities are those of the order by height.
    """
    points = points_px.astype(np.float64)
    centres = _farthest(points, animals)
    for _ in range(10):
        nearest = np.linalg.norm(points[:, :, None] - centres[:, None], axis=-1).argmin(axis=-1)
        member = nearest[:, None] == np.arange(animals)[:, None]  # (N, animals, K)
        number = member.sum(axis=-1)[..., None]
        mean = np.einsum("nak,nkd->nad", member.astype(np.float64), points) / np.maximum(number, 1)
        centres = np.where(number > 0, mean, centres)
    split: Floats = np.where(member[..., None], points[:, None], np.nan)
    return split


def _farthest(points: Floats, number: int) -> Floats:
    """``number`` of the points (N, K, 2), each as far as possible from those before: (N, number, 2)."""
    frames = np.arange(len(points))
    middle = points.mean(axis=1, keepdims=True)
    chosen = [points[frames, np.linalg.norm(points - middle, axis=-1).argmax(axis=1)]]
    while len(chosen) < number:
        apart = np.stack([np.linalg.norm(points - each[:, None], axis=-1) for each in chosen])
        chosen.append(points[frames, apart.min(axis=0).argmax(axis=1)])
    return np.stack(chosen, axis=1)
