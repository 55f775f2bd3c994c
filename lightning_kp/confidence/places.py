"""Where discovered keypoints belong by labels: at a fixed place among the labelled points of an animal."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Plane = NDArray[np.complex128]

ROUNDS = 10
"""Rounds of reweighting of a robust fit."""
FAR = 1.5
"""Median residuals from which a point counts little in a robust fit."""
USUAL = 0.9
"""Share of the frames in which a point is labelled, relative to the one labelled most often, from which it is used."""


def places(points: Array, labelled: Array) -> Array:
    """Where the points of tracks belong by the labelled points of several animals: (T, I, K, 2), NaN if unknown.

    Of several instances each belongs to the animal that is nearest in the frame.  The keypoints of a single instance
    may lie on different animals, and each belongs to the one that it follows best.

    Args:
        points: Discovered points, (T, I, K, 2); NaN if absent.
        labelled: Labelled points of J animals, (T, J, L, 2), in the same unit; NaN if missing.
    """
    found = np.full(points.shape, np.nan)
    for i in range(points.shape[1]):
        if points.shape[1] > 1:
            apart = np.linalg.norm(_middle(labelled) - _middle(points[:, i])[:, None], axis=-1)
            nearest = np.nan_to_num(apart, nan=np.inf).argmin(axis=1)
            found[:, i] = belonging(points[:, i], labelled[np.arange(len(labelled)), nearest])
            continue
        each = np.stack([belonging(points[:, i], labelled[:, j]) for j in range(labelled.shape[1])])
        away = np.linalg.norm(each - points[:, i], axis=-1)
        best = np.ma.median(np.ma.masked_invalid(away), axis=1).filled(np.inf).argmin(axis=0)
        found[:, i] = np.moveaxis(each[best, :, np.arange(points.shape[2])], 0, 1)
    return found


def _middle(points: Array) -> Array:
    """Mean over the known points of an animal: (..., L, 2) -> (..., 2), NaN without any."""
    known = np.isfinite(points).all(axis=-1, keepdims=True)
    count = known.sum(axis=-2)
    total = np.where(known, points, 0).sum(axis=-2)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def belonging(points: Array, labelled: Array) -> Array:
    """Where each keypoint belongs by labelled points: (N, K, 2), NaN in frames with a missing label.

    A keypoint has a fixed place among the labelled points of its animal: it moves, turns and grows with them.  This
    place is found by a robust least-squares fit over the frames, so that wrong points do not shift it.  Points that are
    labelled much more rarely than others are left out.

    Args:
        points: Discovered points, (N, K, 2); NaN if absent.
        labelled: Labelled points of the animal, (N, L, 2), in the same unit; NaN if missing.
    """
    found = np.full(points.shape, np.nan)
    is_labelled: NDArray[np.bool_] = np.asarray(np.isfinite(labelled).all(axis=-1))
    share = is_labelled.mean(axis=0)
    usual = share >= USUAL * share.max(initial=0)
    known = is_labelled[:, usual].all(axis=1)
    label = _plane(labelled[known][:, usual])
    middle = label.mean(axis=1)
    around = label - middle[:, None]
    for k in range(points.shape[1]):
        point = _plane(points[known, k])
        is_there = np.isfinite(point)
        if is_there.sum() > label.shape[1]:
            factors = _robust_factors(point[is_there] - middle[is_there], around[is_there])
            place = middle + around @ factors
            found[known, k] = np.stack((place.real, place.imag), axis=-1)
    return found


def _plane(points: Array) -> Plane:
    """Points (..., 2) as complex numbers x + iy (...)."""
    return np.asarray(points[..., 0] + 1j * points[..., 1])


def _robust_factors(found: Plane, label: Plane) -> Plane:
    """Factors (L,) with which labelled points (N, L) add up to the points found (N,); both are about the same middle.

    A complex factor turns and scales, so the sum turns and grows with the animal.
    """
    weight = np.ones(len(found))
    ridge = 1e-6 * np.eye(label.shape[1])
    factors: Plane = np.zeros(label.shape[1], np.complex128)
    for _ in range(ROUNDS):
        weighted = label.conj() * weight[:, None]
        gram = weighted.T @ label
        solved = np.linalg.solve(gram + ridge * gram.trace().real, weighted.T @ found)
        factors = np.asarray(solved, np.complex128)
        residual = np.abs(found - label @ factors)
        weight = 1 / (1 + (residual / (FAR * np.median(residual) + 1e-12)) ** 2)
    return factors
