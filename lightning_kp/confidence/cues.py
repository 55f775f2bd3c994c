"""Cues that tell a right point from a wrong one, from tracks alone: height and width of the peak, and jumps.

Axis letters: T frames, I animals, K keypoints.  Width and jump are relative to what is usual for a keypoint in its
video, so that the size of the animal, the frame rate and the scale of the coordinates do not matter.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CUES = ("peak", "spread", "jump")
"""Names of the cues, in their order."""
SIGNS = (1, -1, -1)
"""Whether a point with a greater cue can only be more (1) or less (-1) likely to be right."""
SMALLEST = 1e-4
"""Peaks count as at least this, and at most 1 minus this: beyond, rounding decides."""
USUAL_JUMP = 0.9
"""Quantile of the jumps of a keypoint that counts as usual (ours): animals rest, and half of the jumps may be none."""
TINY = 1e-6
"""Added to lengths before their logarithm."""


class Usual(NamedTuple):
    """What is usual for each keypoint of a video: logarithms (K,) of the width of its peak and of its jumps."""

    spread: Array
    jump: Array


def raw_cues(points: Array, peak: Array, covariance: Array, follows: NDArray[np.bool_]) -> Array:
    """Cues (T, I, K, 3) before :func:`relative_cues`: log-odds of the peak, logarithms of width and jump.

    An unknown cue is NaN.  A jump is the least distance from the last point, from the next one, and from the middle
    between them: of an outlier all three are long, of a fast animal's point the last one is short.

    Args:
        points: (T, I, K, 2), in any unit; NaN if absent.
        peak: Heights of the heatmaps' peaks, (T, I, K), in [0, 1].
        covariance: (T, I, K, 3) as (var x, var y, cov xy), in the square of that unit.
        follows: (T,), whether the frame before each one comes right before it in the same video; False for the first.

    >>> still, out = [[[0.0, 0.0]]], [[[3.0, 4.0]]]
    >>> path = np.array([still, out, still])
    >>> found = raw_cues(path, np.full((3, 1, 1), 0.5), np.ones((3, 1, 1, 3)), np.array([False, True, True]))
    >>> np.exp(found[1, 0, 0]).round(2).tolist()  # odds of the peak, width, jump
    [1.0, 1.0, 5.0]
    """
    clipped = np.clip(peak, SMALLEST, 1 - SMALLEST)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = 0.5 * np.log(covariance[..., :2].mean(axis=-1) + TINY**2)
    return np.stack((np.log(clipped / (1 - clipped)), spread, _jumps(points, follows)), axis=-1)


def _jumps(points: Array, follows: NDArray[np.bool_]) -> Array:
    """Logarithms (T, I, K) of the jumps; NaN without both neighbours."""
    jumps = np.full(points.shape[:-1], np.nan)
    if len(points) < 3:
        return jumps
    last, here, following = points[:-2], points[1:-1], points[2:]
    lengths = [np.linalg.norm(here - other, axis=-1) for other in (last, following, (last + following) / 2)]
    is_known = (follows[1:-1] & follows[2:])[:, None, None]
    jumps[1:-1] = np.where(is_known, np.log(np.minimum.reduce(lengths) + TINY), np.nan)
    return jumps


def usual_cues(raw: Array) -> Usual:
    """What is usual for each keypoint, from raw cues (T, I, K, 3); NaN for a keypoint that is never seen.

    >>> usual_cues(np.array([[[[0.0, 1.0, 2.0]]], [[[0.0, 3.0, 2.0]]]])).spread.tolist()
    [2.0]
    """
    columns = raw.transpose(0, 1, 3, 2).reshape(-1, raw.shape[3], raw.shape[2])
    return Usual(_quantile(columns[:, 1], 0.5), _quantile(columns[:, 2], USUAL_JUMP))


def _quantile(values: Array, share: float) -> Array:
    """Quantile (K,) over the known values of each column (N, K)."""
    found = np.full(values.shape[1], np.nan)
    for k, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        if len(known):
            found[k] = np.quantile(known, share)
    return found


def relative_cues(raw: Array, usual: Usual) -> Array:
    """Raw cues (T, I, K, 3) with width and jump relative to what is ``usual``; NaN if unknown."""
    return raw - np.stack((np.zeros_like(usual.spread), usual.spread, usual.jump), axis=-1)
