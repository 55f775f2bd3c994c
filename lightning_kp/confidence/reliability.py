"""Whether confidences are probabilities: reliability diagram, expected calibration error, and what a cut keeps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 10
"""Bins of equal width over [0, 1], as usual (Guo et al. 2017)."""
USUAL_CUT = 0.6
"""Where users of DeepLabCut cut its likelihood."""


class Bins(NamedTuple):
    """Points by confidence: their ``number`` in each of B bins, mean ``confidence`` and share ``right`` (NaN: none)."""

    number: NDArray[np.int64]
    confidence: Array
    right: Array


class Cut(NamedTuple):
    """Shares in [0, 1] at a cut: of the right points that stay, of the wrong ones that go; NaN if there are none."""

    right_stay: float
    wrong_go: float


def reliability(confidence: Array, right: Bools, bins: int = BINS) -> Bins:
    """Bins of a reliability diagram, from confidences in [0, 1] and whether the points are right, (N,) each.

    >>> found = reliability(np.array([0.05, 0.95, 0.93]), np.array([False, True, False]))
    >>> found.number[[0, 9]].tolist(), found.right[[0, 9]].tolist()
    ([1, 2], [0.0, 0.5])
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    number = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [
            np.bincount(place, weights=each, minlength=bins) / number
            for each in (confidence, right.astype(np.float64))
        ]
    return Bins(number, *means)


def calibration_error(confidence: Array, right: Bools, bins: int = BINS) -> float:
    """Expected calibration error: how far the confidence of a bin is from the share right in it, mean over the points.

    Confidences in [0, 1] and whether the points are right, (N,) each.

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    found = reliability(confidence, right, bins)
    gap = np.abs(np.nan_to_num(found.confidence - found.right))
    return float((gap * found.number).sum() / max(1, found.number.sum()))


def cut_at(confidence: Array, right: Bools, least: float = USUAL_CUT) -> Cut:
    """What a cut does that keeps points (N,) with at least this confidence.

    >>> cut_at(np.array([0.9, 0.5, 0.7, 0.1]), np.array([True, True, False, False]))
    Cut(right_stay=0.5, wrong_go=0.5)
    """
    stays = confidence >= least
    right_stay = float(stays[right].mean()) if right.any() else float("nan")
    wrong_go = float((~stays[~right]).mean()) if (~right).any() else float("nan")
    return Cut(right_stay, wrong_go)
