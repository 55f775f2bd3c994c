"""Smooths tracks over time with a Kalman smoother, never across a gap.

What ends a smoothed part: a frame in which the keypoint is absent (NaN, or confidence 0: no animal seen), a pause
between two frames that is long for this video, and a jump that is no outlier.  Frames count by their times, so that
a variable frame rate is right.  A point that leaves its path for at most
:data:`~lightning_kp.smoothing.kalman.LONGEST_REJECTED` frames and returns to it is an outlier: the path replaces it,
and its confidence is halved.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.metrics.animals import body_length
from lightning_kp.smoothing.body import continuing
from lightning_kp.smoothing.kalman import (
    GATE,
    LONGEST_REJECTED,
    Bools,
    Filtered,
    Floats,
    Series,
    kalman_filter,
    rts_smoother,
)
from lightning_kp.smoothing.noise import estimate_noise, start_speed
from lightning_kp.tracks.table import Tracks

VARIANCE_RANGE = (0.25, 16.0)
"""Smallest and largest noise variance of one observation, as a multiple of the keypoint's usual one (ours)."""
DOUBTED = 0.5
"""Factor of a doubted point's confidence: the result is below 0.6, where users cut, and above 0, which means absent."""
SLAB_FRAMES, OVERLAP_FRAMES = 1024, 256
"""Frames smoothed together, and frames beyond either end that count for them (ours): with the longest memory of
:mod:`~lightning_kp.smoothing.noise`, a frame 256 frames away has a weight of exp(-15)."""
COLUMNS_AT_ONCE = 1024
"""Columns of one pass, which bounds its memory to about 150 MB (ours)."""


class Smoothing(NamedTuple):
    """Smoothed tracks.

    Attributes:
        tracks: The tracks with smoothed ``points_px``, and the ``confidence`` of outliers halved.
        variance_px: (N, I, K, 2), variance of the smoothed x and y in px^2; NaN where a point was not smoothed.
        outliers: (N, I, K), points that were replaced.
        noise_px: (I, K), standard deviation of the noise of a usual observation; NaN for too few observations.
    """

    tracks: Tracks
    variance_px: Floats
    outliers: NDArray[np.bool_]
    noise_px: Floats


def smooth_tracks(tracks: Tracks) -> Smoothing:
    """Smooth every keypoint of tracks (N, I, K, 2).

    The noise of an observation is the track's ``covariance_px``, scaled so that the track is most likely; the freedom
    of the motion is estimated in the same way, see :mod:`lightning_kp.smoothing.noise`.  Absent points stay absent.
    ``covariance_px`` stays that of the heatmaps.
    """
    shape = tracks.confidence.shape
    series = observations(tracks)
    factor, density = estimate_noise(series, _length_px(tracks))
    known = np.isfinite(factor)
    usable = series._replace(
        variance=series.variance * np.where(known, factor, 1.0)[:, None],
        present=series.present & known,
        starts=series.starts | ~known,
    )
    path, variance, outliers = smooth_series(usable, np.where(known, density, 1.0), start_speed(series))
    present = usable.present[..., None]
    points = np.where(present, path, tracks.points_px.reshape(path.shape)).astype(np.float32)
    outliers = outliers.reshape(shape)
    confidence = np.where(outliers, np.float32(DOUBTED) * tracks.confidence, tracks.confidence)
    return Smoothing(
        dataclasses.replace(tracks, points_px=points.reshape(*shape, 2), confidence=confidence),
        np.where(present, variance, np.nan).reshape(*shape, 2),
        outliers,
        np.sqrt(factor).reshape(shape[1:]),
    )


def observations(tracks: Tracks) -> Series:
    """The I * K keypoints of tracks as columns, with the gaps between their parts.

    The variance of an observation counts relatively: it is the track's ``covariance_px`` divided by the keypoint's
    median, within :data:`VARIANCE_RANGE`; 1 where it is unknown.
    """
    frames = len(tracks)
    points = tracks.points_px.reshape(frames, -1, 2).astype(np.float64)
    present = np.isfinite(points).all(-1) & (tracks.confidence.reshape(frames, -1) > 0)
    variance = tracks.covariance_px.reshape(frames, -1, 3)[..., :2].astype(np.float64)
    variance = np.where(present[..., None] & (variance > 0), variance, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # keypoints without any covariance
        variance = variance / np.nanmedian(variance, axis=(0, 2), keepdims=True)
    continues, _ = continuing(tracks.times_s)
    starts = ~(continues[:, None] & present & np.roll(present, 1, axis=0))
    return Series(
        np.where(present[..., None], points, 0.0),
        np.nan_to_num(np.clip(variance, *VARIANCE_RANGE), nan=1.0),
        present,
        starts,
        np.where(starts, 0.0, np.diff(tracks.times_s, prepend=0.0)[:, None]),
    )


def smooth_series(series: Series, density: Floats, speed: Floats) -> tuple[Floats, Floats, Bools]:
    """Smooth columns without their outliers, in slabs.

    Parameters as for :func:`~lightning_kp.smoothing.kalman.kalman_filter`.

    Returns:
        Positions (T, C, D), their variances (T, C, D), and which observations were outliers (T, C).
    """
    frames, count = series.present.shape
    slabs = range(-(-frames // SLAB_FRAMES))
    at_once = max(1, COLUMNS_AT_ONCE // max(1, count))
    done = []
    for first in slabs[::at_once]:
        numbers = np.array(slabs[first : first + at_once])
        part = _slabs(series, numbers)
        results = _smooth_columns(part, np.tile(density, len(numbers)), np.tile(speed, len(numbers)))
        done.append([_inner(each, len(numbers)) for each in results])
    path, variance, outliers = (np.concatenate(each)[:frames] for each in zip(*done, strict=True))
    return path, variance, outliers.astype(bool)


def _slabs(series: Series, numbers: NDArray[np.int64]) -> Series:
    """The slabs of these numbers side by side: (SLAB_FRAMES + 2 OVERLAP_FRAMES, slab * C, ...)."""
    frames = len(series.points)
    rows = np.arange(-OVERLAP_FRAMES, SLAB_FRAMES + OVERLAP_FRAMES)[:, None] + SLAB_FRAMES * numbers
    outside = ((rows < 0) | (rows >= frames))[..., None]
    part = series.each(lambda values: values[np.clip(rows, 0, frames - 1)])
    part = part._replace(present=part.present & ~outside, starts=part.starts | outside)
    part.starts[0] = True
    return part.each(lambda values: values.reshape(len(rows), -1, *values.shape[3:]))


def _inner(values: NDArray[Any], slabs: int) -> NDArray[Any]:
    """Slabs side by side (SLAB_FRAMES + 2 OVERLAP_FRAMES, slab * C, ...) one after the other, without overlaps."""
    inner = values[OVERLAP_FRAMES : OVERLAP_FRAMES + SLAB_FRAMES]
    inner = inner.reshape(len(inner), slabs, -1, *values.shape[2:]).swapaxes(0, 1)
    return inner.reshape(-1, *inner.shape[2:])


def _smooth_columns(series: Series, density: Floats, speed: Floats) -> tuple[Floats, Floats, Bools]:
    """:func:`smooth_series` of one slab: a first pass finds outliers and jumps, a second one smooths without them."""
    outliers, starts = outliers_and_jumps(kalman_filter(series, density, speed, gate=GATE), series)
    kept = series._replace(present=series.present & ~outliers, starts=starts)
    return (*rts_smoother(kalman_filter(kept, density, speed), kept, density), outliers)


def outliers_and_jumps(filtered: Filtered, series: Series) -> tuple[Bools, Bools]:
    """Tell the rejected points that return to the path from those that do not.

    Returns:
        Outliers (T, C); and starts (T, C), which now include the first frame of every run of rejected points that ends
        away from the path or before a gap.
    """
    rejected, starts = filtered.rejected, series.starts
    # The filter gave up after LONGEST_REJECTED frames: the point has really gone where they say.
    gave_up = series.present & ~starts & np.isnan(filtered.distance)
    last = np.ones((1, starts.shape[1]), bool)
    stays_away = rejected & np.concatenate(((gave_up | starts)[1:], last))
    for _ in range(LONGEST_REJECTED - 1):
        stays_away[:-1] |= rejected[:-1] & stays_away[1:]
    begins = stays_away & ~np.concatenate((~last, rejected[:-1]))
    return rejected & ~stays_away, starts | begins


def _length_px(tracks: Tracks) -> float:
    """Body length in pixels; of a single keypoint, a tenth of the way it covers."""
    length = body_length(tracks.points_px.astype(np.float64))
    if np.isfinite(length):
        return length
    points = tracks.points_px.reshape(-1, 2)
    points = points[np.isfinite(points).all(-1)]
    return max(1.0, float(np.ptp(points, axis=0).max()) / 10) if len(points) else 1.0
