"""Identities over time: look-alike animals keep their numbers by Hungarian matching from frame to frame (ours).

000, section 5.8 numbers two flies by the y of their centroids in every frame, which exchanges them whenever they pass
each other in height.  Here the position of each animal is predicted from its last positions and its motion.  The
animals of the next frame are matched to these predictions by the Hungarian algorithm (Kuhn 1955), with the mean
distance of corresponding keypoints as cost.  An animal far from all predictions takes an unused number, if there is
one.

Where animals are close, a method that finds peaks instead of animals may have grouped the keypoints wrongly.  Each
keypoint is then reassigned among the close animals, by its distance from its predicted position and by how well its
distances to the other keypoints fit those that are usual within one body.

Lengths are in pixels or in body lengths.  One body length is the median distance between the two keypoints of an animal
that are farthest apart.  All limits are ours.
"""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
Order = NDArray[np.int64]
F = TypeVar("F", bound=np.floating[Any])

CLEAR_DISTANCE = (
    1.5  # body lengths between centroids: beyond it no keypoint is confused with another animal's
)
MIN_MARGIN = 0.15  # body lengths per keypoint: if an exchange fits worse by less than this, it is suspected
JUMP_DISTANCE = (
    1.0  # body lengths from the predicted position: hardly any animal moves this far between two frames
)
DAMPING = 0.8  # share of the last step that is predicted for the next
MIN_DEVIATION = 0.05  # body lengths: lower limit of the deviation of a distance within a body
POSITION_DEVIATION = 0.3  # body lengths: usual distance of a keypoint from its predicted position
FAR_DISTANCE = (
    5.0  # body lengths from the predicted position: beyond it probably another animal, if a number is unused
)
UNSEEN_COST = 100.0  # body lengths: cost of a match with an animal that is absent or has not been seen yet
MAX_SQUARE = 9.0  # squared standard deviations at which the cost of a deviation is capped
MIN_CLEAR_FRAMES = 20  # frames with animals apart that are needed to estimate bodies from such frames alone
SAMPLED_FRAMES = 256  # frames of each piece that bodies are estimated from
REGROUPING_SWEEPS = 2  # times that every keypoint is reassigned
MEETING_FRAMES = 10  # frames: suspected frames of one pair no farther apart than this belong to one meeting


class Body(NamedTuple):
    """Distances between the keypoints of one body.

    Attributes:
        mean: (K, K), median distance of each pair of keypoints in pixels.
        deviation: (K, K), its standard deviation in pixels.
        size_px: Body length in pixels.
    """

    mean: Floats
    deviation: Floats
    size_px: float


class Suspect(NamedTuple):
    """A frame at which two animals may have been exchanged.

    Attributes:
        frame: Number of the frame.
        animals: Numbers of the two animals, counted from 0.
        margin: How much worse an exchange would have fitted, in body lengths.
        reason: ``close`` if the margin is small, ``jump`` if an animal is far from its predicted position.
    """

    frame: int
    animals: tuple[int, int]
    margin: float
    reason: str


def estimate_body(pieces: Iterable[Tracks]) -> Body:
    """Estimate the usual distances (K, K) within a body from all animals, in frames spread over the pieces.

    Uses medians, because some groupings are wrong, and only frames in which the animals are apart if there are enough.
    """
    samples = [_thinned(np.asarray(part.points_px, np.float64)) for part in pieces]
    points = np.concatenate(samples) if samples else np.zeros((0, 1, 1, 2))
    distances = np.linalg.norm(points[:, :, :, None] - points[:, :, None], axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmedian of keypoints that are never seen
        size = _body_length(distances)
        is_clear = _closest_distances(points) > CLEAR_DISTANCE * size
        if is_clear.sum() >= MIN_CLEAR_FRAMES:
            distances = distances[is_clear]
        mean = np.nanmedian(distances, axis=(0, 1))
        deviation = 1.4826 * np.nanmedian(np.abs(distances - mean), axis=(0, 1))
        size = _body_length(distances)
    size = size if np.isfinite(size) and size > 0 else 1.0
    deviation = np.where(np.isfinite(deviation), deviation, size)
    return Body(np.nan_to_num(mean), np.maximum(deviation, MIN_DEVIATION * size), size)


def _thinned(points: Floats) -> Floats:
    return points[:: max(1, len(points) // SAMPLED_FRAMES)]


def _body_length(distances: Floats) -> float:
    """Median over all animals of the largest distance within a body, from distances (N, I, K, K)."""
    return float(np.nanmedian(np.nanmax(distances, axis=(-1, -2)))) if distances.size else np.nan


def _closest_distances(points: Floats) -> Floats:
    """Smallest distance between the centroids of two animals (N,), from points (N, I, K, 2); NaN for fewer than two."""
    if points.shape[1] < 2 or not len(points):
        return np.full(len(points), np.nan)
    centres = np.nanmean(points, axis=2)
    first, second = np.triu_indices(points.shape[1], 1)
    distances = np.linalg.norm(centres[:, first] - centres[:, second], axis=-1)
    return np.asarray(np.nanmin(distances, axis=1))


def hungarian_match(cost: Floats) -> NDArray[np.int64]:
    """Row of the next frame for each animal (I,), at the smallest total cost, from the cost (I, I) of every pair.

    This is the Hungarian algorithm (Kuhn 1955), as implemented by SciPy.

    >>> hungarian_match(np.array([[4.0, 1.0], [2.0, 0.0]])).tolist()
    [1, 0]
    """
    return np.asarray(linear_sum_assignment(cost)[1], np.int64)


class IdentityTracker:
    """Keeps the identities of animals through consecutive pieces of tracks, by Hungarian matching.

    The numbers of the first frame are kept.  An animal that is not seen stays at its predicted position, and an animal
    that appears while another is missing is matched with the nearest prediction.  ``suspects`` lists the frames in
    which animals may have been exchanged.

    Args:
        body: Usual distances within a body, from :func:`estimate_body`.
        regroup: Whether to reassign the keypoints of animals that are close.  Use False for methods that find whole
            animals.
    """

    def __init__(self, body: Body, *, regroup: bool = True) -> None:
        self.body = body
        self.regroup = regroup
        self._suspects: list[Suspect] = []
        self._expected: Floats | None = None  # (I, K, 2) predicted for the next frame, NaN if never seen
        self._last: Floats | None = None
        self._frame = 0

    def follow(self, part: Tracks) -> Tracks:
        """The next N frames with every animal in its own row I of ``points_px`` (N, I, K, 2) and the other arrays."""
        points = np.asarray(part.points_px, np.float64)
        orders = [self._match_animals(frame) for frame in points]
        order = np.stack(orders) if orders else np.zeros(points.shape[:3], np.int64)
        return dataclasses.replace(
            part,
            points_px=_rearranged(part.points_px, order),
            confidence=_rearranged(part.confidence, order),
            covariance_px=_rearranged(part.covariance_px, order),
            peak=None if part.peak is None else _rearranged(part.peak, order),
        )

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """One entry for each meeting or jump: the frame with the smallest margin."""
        events: list[list[Suspect]] = []
        for suspect in sorted(self._suspects, key=lambda each: (each.animals, each.frame)):
            last = events[-1][-1] if events else None
            is_same_pair = last is not None and last.animals == suspect.animals
            if last is not None and is_same_pair and suspect.frame - last.frame <= MEETING_FRAMES:
                events[-1].append(suspect)
            else:
                events.append([suspect])
        return tuple(sorted(min(event, key=lambda each: each.margin) for event in events))

    def _match_animals(self, points: Floats) -> Order:
        """Row that each animal's keypoints come from (I, K), for the points (I, K, 2) of the next frame."""
        animals, keypoints = points.shape[:2]
        order = np.tile(np.arange(animals)[:, None], keypoints)
        if self._expected is not None and animals > 1:
            size = self.body.size_px
            cost = _mean_distances(self._expected, points, size)
            is_far = (cost > FAR_DISTANCE * size) & (cost < UNSEEN_COST * size)
            rows = hungarian_match(np.where(is_far, UNSEEN_COST * size + cost, cost))
            self._note_suspects(cost, rows)
            order[:] = rows[:, None]
            for group in _close_groups(points[rows], size) if self.regroup else ():
                order[group] = self._regroup_keypoints(points, order[group], self._expected[group])
        self._predict_next(_rearranged(points[None], order[None])[0])
        self._frame += 1
        return order

    def _note_suspects(self, cost: Floats, rows: NDArray[np.int64]) -> None:
        """Record the pairs of animals that may have been exchanged when animal i was matched with row ``rows[i]``."""
        size, matched = self.body.size_px, cost[:, rows]  # (animal, animal whose row it might have had)
        chosen = matched.diagonal()
        worst = np.maximum(chosen[:, None], chosen)
        margin = (matched + matched.T - chosen[:, None] - chosen) / 2 / size
        has_jumped = worst > JUMP_DISTANCE * size
        is_suspect = (worst < UNSEEN_COST * size) & (has_jumped | (margin < MIN_MARGIN))
        for a, b in np.argwhere(np.triu(is_suspect, 1)).tolist():
            reason = "jump" if has_jumped[a, b] else "close"
            self._suspects.append(Suspect(self._frame, (a, b), round(float(margin[a, b]), 4), reason))

    def _regroup_keypoints(self, points: Floats, order: Order, expected: Floats) -> Order:
        """Reassign the keypoints of animals that are close: by predicted position and by distances within a body.

        Args:
            points: (J, K, 2), all rows of the frame.
            order: (I, K), rows of the close animals' keypoints; they are only exchanged among these animals.
            expected: (I, K, 2), predicted positions of these animals.
        """
        order, seen = order.copy(), _rearranged(points[None], order[None])[0]
        expected = np.where(
            np.isnan(expected), seen, expected
        )  # what was never seen is expected where it is now
        for _ in range(REGROUPING_SWEEPS):
            for k in range(points.shape[1]):
                rows = order[:, k]
                bodies = _rearranged(points[None], order[None])[0]
                offset = np.linalg.norm(points[None, rows, k] - expected[:, None, k], axis=-1)  # (I, I)
                distance = np.linalg.norm(points[None, rows, k, None] - bodies[:, None], axis=-1)  # (I, I, K)
                misfit = _capped_square((distance - self.body.mean[k]) / self.body.deviation[k])
                misfit[..., k] = 0
                cost = _capped_square(offset / (POSITION_DEVIATION * self.body.size_px))
                cost += misfit.sum(axis=-1) / max(1, points.shape[1] - 1)
                order[:, k] = rows[hungarian_match(cost)]
        return order

    def _predict_next(self, points: Floats) -> None:
        """Predict each animal (I, K, 2) one damped step farther; an unseen keypoint moves with its animal."""
        if self._last is None:
            self._last = self._expected = points
            return
        assert self._expected is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # animals without a keypoint seen in both frames
            step = np.nan_to_num(np.nanmedian(points - self._last, axis=1))[:, None]
        unseen = np.isnan(points)
        self._last = np.where(unseen, self._last + step, points)
        self._expected = np.where(unseen & np.isnan(self._last), self._expected, self._last + DAMPING * step)


def _rearranged(values: NDArray[F], order: Order) -> NDArray[F]:
    """Values (N, I, K) or (N, I, K, D) with the rows of each keypoint rearranged by ``order`` (N, I, K)."""
    index = order if values.ndim == 3 else order[..., None]
    return np.asarray(np.take_along_axis(values, index, axis=1))


def _capped_square(values: Floats) -> Floats:
    """Squares of ``values``, at most ``MAX_SQUARE``; 1 for NaN, so that unknown values are neutral."""
    return np.nan_to_num(np.minimum(values**2, MAX_SQUARE), nan=1.0)


def _mean_distances(expected: Floats, points: Floats, size: float) -> Floats:
    """Mean distance of corresponding keypoints for every pair of animals (I, J), in pixels.

    ``UNSEEN_COST`` body lengths where no keypoint is known in both.
    """
    distances = np.linalg.norm(points[None] - expected[:, None], axis=-1)
    is_known = np.isfinite(distances)
    number = is_known.sum(axis=-1)
    total = np.where(is_known, distances, 0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), UNSEEN_COST * size)


def _close_groups(points: Floats, size: float) -> list[NDArray[np.intp]]:
    """Groups of animals so close that their keypoints may be confused, as row numbers of points (I, K, 2).

    Animals that are not seen belong to no group: a row without points would attract keypoints that cost more in
    their own row.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        centres = np.nanmean(points, axis=1)
    seen = np.flatnonzero(np.isfinite(centres).all(axis=-1))
    distances = np.linalg.norm(centres[seen, None] - centres[None, seen], axis=-1)
    number, group_of = connected_components(distances <= CLEAR_DISTANCE * size, directed=False)
    groups = [seen[group_of == each] for each in range(number)]
    return [group for group in groups if len(group) > 1]


def order_by_height(points_px: Floats) -> Order:
    """Order of the animals by the paper's rule (N, I), smallest centroid y first, for points (N, I, K, 2) in pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        height = np.nanmean(points_px[..., 1], axis=-1)
    return np.argsort(np.where(np.isnan(height), np.inf, height), axis=1, kind="stable")
