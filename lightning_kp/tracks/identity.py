"""Who is who over time: look-alike animals keep their numbers by assignment from frame to frame (ours).

000, section 5.8 numbers two flies by the y of their centroids in every frame, which exchanges them whenever
they pass each other in height.  Here each animal is expected where its last positions and its motion
place it; the animals of the next frame are given to these expectations by the assignment of least cost
(Kuhn 1955) on the distance of corresponding keypoints; one that is far from all that were seen takes a
number that nobody had, while there is one.  Where animals are close, the keypoints themselves may have been
grouped wrongly (by a method that finds peaks, not animals): each is then given anew among those that are close,
by its distance from where it is expected and by how well its distances to the other keypoints fit those that
are usual within one body.

All is in pixels and body sizes; one body size is the usual distance of the two keypoints of one animal
that lie farthest apart.
"""

import dataclasses
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
Order = NDArray[np.int64]
F = TypeVar("F", bound=np.floating[Any])

APART = 1.5  # body sizes between centroids: farther off, no keypoint is mistaken for another animal's
CLOSE_CALL = 0.15  # body sizes per keypoint by which an exchange would fit worse: less is suspect
JUMP = 1.0  # body sizes from the expected place: hardly any animal moves so between two frames
DAMPING = 0.8  # share of the last step that is expected again
LEAST_SPREAD = 0.05  # body sizes: no distance within a body is surer than this
PLACE_SPREAD = 0.3  # body sizes: how far a keypoint usually is from where it is expected
FAR = 5.0  # body sizes from the expected place: rather another animal, if a number is left for one
UNSEEN = 100.0  # body sizes: what an animal costs that is not seen, or was not so far
LARGEST = 9.0  # squared deviations (three standard deviations) beyond which more is no worse
FIT_FRAMES = 20  # frames with animals apart, for a statement about bodies
FIT_SAMPLES = 256  # frames of each piece that the statement is made from
SWEEPS = 2  # times that every keypoint is given anew
ONE_EVENT = 10  # suspect frames of one pair no farther apart than this are one meeting


class Body(NamedTuple):
    """What bodies look like: pairwise distances (K, K) in pixels, mean and deviation, and ``size_px``."""

    mean: Floats
    deviation: Floats
    size_px: float


class Suspect(NamedTuple):
    """A frame at which two animals (numbers from 0) may have been exchanged.

    ``margin`` in body sizes: how much worse the exchange would have fitted.  ``reason``: ``close``, the
    margin is small; ``jump``, an animal is far from where it was expected.
    """

    frame: int
    animals: tuple[int, int]
    margin: float
    reason: str


def body_of(pieces: Iterable[Tracks]) -> Body:
    """Usual distances within a body, over all animals of frames spread over the pieces.

    Medians, since some groupings are wrong; frames in which animals are near each other do not count
    where enough others do.
    """
    samples = [_spread(np.asarray(part.points_px, np.float64)) for part in pieces]
    points = np.concatenate(samples) if samples else np.zeros((0, 1, 1, 2))
    distances = np.linalg.norm(points[:, :, :, None] - points[:, :, None], axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nanmedian, where nothing is known
        size = _size(distances)
        clear = _gaps(points) > APART * size
        if clear.sum() >= FIT_FRAMES:
            distances = distances[clear]
        mean = np.nanmedian(distances, axis=(0, 1))
        deviation = 1.4826 * np.nanmedian(np.abs(distances - mean), axis=(0, 1))
        size = _size(distances)
    size = size if np.isfinite(size) and size > 0 else 1.0
    deviation = np.where(np.isfinite(deviation), deviation, size)
    return Body(np.nan_to_num(mean), np.maximum(deviation, LEAST_SPREAD * size), size)


def _spread(points: Floats) -> Floats:
    return points[:: max(1, len(points) // FIT_SAMPLES)]


def _size(distances: Floats) -> float:
    """Median of the largest of the distances (N, I, K, K) of each animal."""
    return float(np.nanmedian(np.nanmax(distances, axis=(-1, -2)))) if distances.size else np.nan


def _gaps(points: Floats) -> Floats:
    """Least distance between the centroids of two animals (N,), NaN for less than two."""
    if points.shape[1] < 2 or not len(points):
        return np.full(len(points), np.nan)
    centres = np.nanmean(points, axis=2)
    first, second = np.triu_indices(points.shape[1], 1)
    apart = np.linalg.norm(centres[:, first] - centres[:, second], axis=-1)
    return np.asarray(np.nanmin(apart, axis=1))


class IdentityTracker:
    """Follows animals through consecutive pieces of tracks; ``suspects`` collects what is doubtful.

    The numbers of the first frame are kept as they are.  An animal that is not seen stays where it was
    expected, and what appears when another is missing is given to the nearest expectation.

    Args:
        body: What bodies look like.
        regroup: Give keypoints of animals that are close anew; not for methods that find animals as wholes.
    """

    def __init__(self, body: Body, *, regroup: bool = True) -> None:
        self.body = body
        self.regroup = regroup
        self._suspects: list[Suspect] = []
        self._expected: Floats | None = None  # (I, K, 2), NaN where never seen
        self._last: Floats | None = None
        self._frame = 0

    def follow(self, part: Tracks) -> Tracks:
        """The next frames with animals (and keypoints of animals that touch) in their own rows."""
        points = np.asarray(part.points_px, np.float64)
        order = np.stack([self._next(frame) for frame in points]) if len(points) else _as_given(points)
        return dataclasses.replace(
            part,
            points_px=_taken(part.points_px, order),
            confidence=_taken(part.confidence, order),
            covariance_px=_taken(part.covariance_px, order),
        )

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        """One for each meeting or jump: the frame of least margin."""
        events: list[list[Suspect]] = []
        for suspect in sorted(self._suspects, key=lambda each: (each.animals, each.frame)):
            last = events[-1][-1] if events else None
            together = last is not None and last.animals == suspect.animals
            if last is not None and together and suspect.frame - last.frame <= ONE_EVENT:
                events[-1].append(suspect)
            else:
                events.append([suspect])
        return tuple(sorted(min(event, key=lambda each: each.margin) for event in events))

    def _next(self, points: Floats) -> Order:
        """Which row each animal's keypoints come from, (I, K), for points (I, K, 2) of the next frame."""
        animals, keypoints = points.shape[:2]
        order = np.tile(np.arange(animals)[:, None], keypoints)
        if self._expected is not None and animals > 1:
            size = self.body.size_px
            cost = _distance(self._expected, points, size)
            far = (cost > FAR * size) & (cost < UNSEEN * size)
            rows = linear_sum_assignment(np.where(far, UNSEEN * size + cost, cost))[1]
            self._note(cost, rows)
            order[:] = rows[:, None]
            for meeting in _meetings(points[rows], size) if self.regroup else ():
                order[meeting] = self._regrouped(points, order[meeting], self._expected[meeting])
        self._remember(_taken(points[None], order[None])[0])
        self._frame += 1
        return order

    def _note(self, cost: Floats, rows: NDArray[np.int64]) -> None:
        """Keep what is doubtful about giving row ``rows[i]`` to animal i."""
        size, given = self.body.size_px, cost[:, rows]  # (animal, animal whose row it might have had)
        chosen = given.diagonal()
        worst = np.maximum(chosen[:, None], chosen)
        margin = (given + given.T - chosen[:, None] - chosen) / 2 / size
        jumped = worst > JUMP * size
        doubtful = (worst < UNSEEN * size) & (jumped | (margin < CLOSE_CALL))
        for a, b in np.argwhere(np.triu(doubtful, 1)).tolist():
            reason = "jump" if jumped[a, b] else "close"
            self._suspects.append(Suspect(self._frame, (a, b), round(float(margin[a, b]), 4), reason))

    def _regrouped(self, points: Floats, order: Order, expected: Floats) -> Order:
        """Give every keypoint of some animals anew, the others as they are: by place and by distances within a body.

        Points (J, K, 2) of all rows; ``order`` and ``expected`` (I, K, ...) of the animals in question, which keep
        the rows that they have among them.
        """
        order, seen = order.copy(), _taken(points[None], order[None])[0]
        expected = np.where(np.isnan(expected), seen, expected)  # who was never seen is expected where it is
        for _ in range(SWEEPS):
            for k in range(points.shape[1]):
                rows = order[:, k]
                bodies = _taken(points[None], order[None])[0]
                place = np.linalg.norm(points[None, rows, k] - expected[:, None, k], axis=-1)  # (I, I)
                between = np.linalg.norm(points[None, rows, k, None] - bodies[:, None], axis=-1)  # (I, I, K)
                odd = _deviation((between - self.body.mean[k]) / self.body.deviation[k])
                odd[..., k] = 0
                cost = _deviation(place / (PLACE_SPREAD * self.body.size_px))
                cost += odd.sum(axis=-1) / max(1, points.shape[1] - 1)
                order[:, k] = rows[linear_sum_assignment(cost)[1]]
        return order

    def _remember(self, points: Floats) -> None:
        """Expect each animal one damped step farther; an unseen keypoint moves with its animal."""
        if self._last is None:
            self._last = self._expected = points
            return
        assert self._expected is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an animal without a keypoint in both frames
            step = np.nan_to_num(np.nanmedian(points - self._last, axis=1))[:, None]
        unseen = np.isnan(points)
        self._last = np.where(unseen, self._last + step, points)
        self._expected = np.where(unseen & np.isnan(self._last), self._expected, self._last + DAMPING * step)


def _as_given(points: Floats) -> Order:
    return np.zeros(points.shape[:3], np.int64)


def _taken(values: NDArray[F], order: Order) -> NDArray[F]:
    """Values (N, I, K) or (N, I, K, D) with the rows of each keypoint rearranged by order (N, I, K)."""
    index = order if values.ndim == 3 else order[..., None]
    return np.asarray(np.take_along_axis(values, index, axis=1))


def _deviation(values: Floats) -> Floats:
    """Squared, at most ``LARGEST``; what is unknown is neither usual nor odd."""
    return np.nan_to_num(np.minimum(values**2, LARGEST), nan=1.0)


def _distance(expected: Floats, points: Floats, size: float) -> Floats:
    """Mean distance of corresponding keypoints for every pair (I, J); far where none correspond."""
    apart = np.linalg.norm(points[None] - expected[:, None], axis=-1)
    known = np.isfinite(apart)
    number = known.sum(axis=-1)
    total = np.where(known, apart, 0).sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), UNSEEN * size)


def _meetings(points: Floats, size: float) -> list[NDArray[np.intp]]:
    """Animals (I, K, 2) that are so close that a keypoint of one may be the other's: their numbers, meeting by meeting.

    Who is not seen meets nobody: a row without points would take keypoints that cost more where they belong.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        centres = np.nanmean(points, axis=1)
    here = np.flatnonzero(np.isfinite(centres).all(axis=-1))
    apart = np.linalg.norm(centres[here, None] - centres[None, here], axis=-1)
    number, meeting = connected_components(apart <= APART * size, directed=False)
    groups = [here[meeting == each] for each in range(number)]
    return [group for group in groups if len(group) > 1]


def identified(pieces: Iterable[Tracks], tracker: IdentityTracker) -> Iterator[Tracks]:
    """Consecutive pieces with identities, see :class:`IdentityTracker`."""
    return (tracker.follow(part) for part in pieces)


def ordered_by_height(points_px: Floats) -> Order:
    """The paper's rule for points (N, I, K, 2): (N, I), the animal with the smallest centroid y first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        height = np.nanmean(points_px[..., 1], axis=-1)
    return np.argsort(np.where(np.isnan(height), np.inf, height), axis=1, kind="stable")
