"""How noisy each keypoint is and how freely it moves, by maximum likelihood from its own track.

The likelihood of a track under the Kalman filter is the product of the densities of its innovations.  A wrong detection
far from the prediction would spoil it, so each innovation comes from a mixture: Gaussian, or anywhere within a body
with the small probability :data:`WRONG`.  The mixture is evaluated on a grid of two numbers for each keypoint: the
variance r of an observation, and the memory of the smoother

    tau = (r / q)^(1/4) / dt^(3/4)   frames,

which weights a frame t frames away by exp(-t / (sqrt(2) tau)) times a cosine.
"""

import numpy as np

from lightning_kp.smoothing.kalman import GATE, Floats, Series, kalman_filter

WRONG = 0.01
"""Share of detections that may be anywhere (ours); only its logarithm counts."""
MEMORIES = np.geomspace(0.3, 12.0, 13)
"""Memories in frames.  The upper end (ours) keeps an animal's first step sharp, however long it stood before."""
NOISES = np.geomspace(1 / 512, 1 / 4, 8)
"""Standard deviations of an observation, in body lengths; between them the mean squared innovation decides."""
STRETCHES, STRETCH_FRAMES = 24, 96
"""The likelihood is that of so many stretches of so many frames, spread over the tracks (ours)."""
MIN_FRAMES = 8
"""Observations that a keypoint needs to be smoothed (ours)."""


def estimate_noise(series: Series, body_px: float) -> tuple[Floats, Floats]:
    """Noise and freedom of each keypoint, as they make its track most likely.

    Args:
        series: Observations of C keypoints; ``variance`` (T, C, D) counts relatively, with a median near 1.
        body_px: Length of the body in pixels.

    Returns:
        The factor (C,) that turns ``variance`` into px^2, and the spectral density q (C,) of the acceleration in
        px^2/s^3.  Both are NaN for a keypoint with fewer than :data:`MIN_FRAMES` observations.
    """
    count = series.points.shape[1]
    factors = np.square(NOISES * body_px)[:, None]  # (F, 1): every keypoint is tried with each
    sample = _side_by_side(_stretches(series), len(factors))
    pace = typical_step(series)
    speed = np.resize(start_speed(series), sample.points.shape[1])
    best, found = np.full(count, -np.inf), np.full((2, count), np.nan)
    for memory in MEMORIES:
        per_column = np.resize(np.repeat(factors, count, axis=1), sample.points.shape[1])
        density = per_column / (memory**4 * pace**3)
        tried = sample._replace(variance=sample.variance * per_column[:, None])
        filtered = kalman_filter(tried, density, speed, gate=GATE)
        seen = np.isfinite(filtered.distance)
        distance = np.where(seen, filtered.distance, 0.0)
        gaussian = np.log1p(-WRONG) - (distance + filtered.log_scale) / 2
        mixed = np.where(seen, np.logaddexp(gaussian, np.log(WRONG) - 2 * np.log(body_px)), 0.0)
        kept = seen & ~filtered.rejected
        shape = (-1, len(factors), count)
        likelihood = mixed.sum(0).reshape(shape).sum(0)
        squares = np.where(kept, distance, 0.0).sum(0).reshape(shape).sum(0)
        mean_square = squares / np.maximum(2 * kept.sum(0).reshape(shape).sum(0), 1)
        at = likelihood.argmax(0)[None]
        value = np.take_along_axis(likelihood, at, 0)[0]
        noise = (factors * np.clip(mean_square, 0.25, 4.0))[at[0], np.arange(count)]
        found = np.where(value > best, (noise, noise / (memory**4 * pace**3)), found)
        best = np.maximum(value, best)
    few = series.present.sum(0) < MIN_FRAMES
    return np.where(few, np.nan, found[0]), np.where(few, np.nan, found[1])


def typical_step(series: Series) -> float:
    """Median time between two frames in seconds; 1 if no frame continues another."""
    steps = series.steps_s[~series.starts]
    return float(np.median(steps)) if steps.size else 1.0


def start_speed(series: Series) -> Floats:
    """Root mean square of each keypoint's observed velocity (C,), in px/s; with the noise, so rather too large."""
    follows = ~series.starts[1:] & series.present[1:] & series.present[:-1]
    steps = np.diff(series.points, axis=0) / np.where(follows, series.steps_s[1:], 1.0)[..., None]
    squares = np.where(follows[..., None], np.square(steps), 0.0).sum((0, 2)) / 2
    return np.asarray(np.sqrt(squares / np.maximum(follows.sum(0), 1)))


def _stretches(series: Series) -> Series:
    """Stretches spread over the series, joined along a new axis after T: (T', stretch, C, ...)."""
    frames = len(series.points)
    length = min(STRETCH_FRAMES, frames)
    number = min(STRETCHES, max(1, frames // length))
    rows = np.linspace(0, frames - length, number).round().astype(int)[None] + np.arange(length)[:, None]
    parts = series.each(lambda values: values[rows])
    parts.starts[0] = True
    return parts


def _side_by_side(parts: Series, times: int) -> Series:
    """Columns (stretch, ``times``, C) in one axis: every stretch ``times`` times over."""
    return parts.each(
        lambda values: np.repeat(values[:, :, None], times, axis=2).reshape(
            len(values), -1, *values.shape[3:]
        )
    )
