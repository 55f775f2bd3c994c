"""HOTA of tracked animals: one figure for finding them and for keeping their identities.

Luiten et al. 2021, "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", equations 6 to 19, with the
similarity of two animals taken from the distance of their centroids: 1 where they agree, 0 at the reach.  It is written
here because py-motmetrics 1.4 lacks it, and the package trackeval brings OpenCV, with which sleap-io decodes videos as
soon as it is installed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_kp.metrics.animals import Floats

THRESHOLDS = np.arange(0.05, 0.99, 0.05)  # of the similarity, as in the paper


def hota(found: Floats, true: Floats, reach_px: float) -> float:
    """Mean over the thresholds of sqrt(detection accuracy x association accuracy).

    Args:
        found: Centroids (N, I, 2) of the found animals, one number per index of the second axis; NaN = absent.
        true: Centroids (N, J, 2) of the true animals, likewise.
        reach_px: Distance at which the similarity is 0, in the unit of the centroids.

    Returns:
        HOTA in [0, 1]; NaN without any animal.

    Example:
        >>> track = np.zeros((4, 1, 2))
        >>> hota(track, track, 5.0)
        1.0
    """
    here = np.asarray(np.isfinite(true).all(axis=-1))
    seen = np.asarray(np.isfinite(found).all(axis=-1))
    if not here.any() and not seen.any():
        return float("nan")
    apart = np.linalg.norm(true[:, :, None] - found[:, None], axis=-1)
    similarity = np.nan_to_num(np.clip(1 - apart / reach_px, 0, 1))
    pairs = _matched(similarity, here, seen)
    return float(np.mean([_at_threshold(pairs, similarity, each, here, seen) for each in THRESHOLDS]))


def _matched(similarity: Floats, here: NDArray[np.bool_], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pairs (N, J, I) of the assignment that prefers pairs of tracks that agree over the whole video."""
    either = similarity.sum(axis=1, keepdims=True) + similarity.sum(axis=2, keepdims=True) - similarity
    shared = np.divide(similarity, either, out=np.zeros_like(similarity), where=either > 0).sum(axis=0)
    aligned = shared / np.maximum(here.sum(axis=0)[:, None] + seen.sum(axis=0)[None] - shared, 1e-12)
    pairs = np.zeros(similarity.shape, bool)
    for frame, each in enumerate(aligned * similarity):
        rows, columns = linear_sum_assignment(each, maximize=True)
        pairs[frame, rows, columns] = True
    return pairs & here[:, :, None] & seen[:, None]


def _at_threshold(
    pairs: NDArray[np.bool_],
    similarity: Floats,
    threshold: float,
    here: NDArray[np.bool_],
    seen: NDArray[np.bool_],
) -> float:
    """HOTA at one threshold: matches (TP) of similarity at least ``threshold``, the rest is missed or false."""
    together = (pairs & (similarity >= threshold - 1e-9)).sum(axis=0)  # TPA of each pair of tracks
    matches = together.sum()
    detection = matches / (here.sum() + seen.sum() - matches)
    association = together / np.maximum(here.sum(axis=0)[:, None] + seen.sum(axis=0)[None] - together, 1)
    if not matches:
        return 0.0
    return float(np.sqrt(detection * (together * association).sum() / matches))
