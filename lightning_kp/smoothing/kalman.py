"""Kalman filter and Rauch-Tung-Striebel smoother of points that move at nearly constant velocity.

State of each axis: position p and velocity v.  Between two frames that are dt seconds apart, the acceleration is white
noise of spectral density q (px^2/s^3; Bar-Shalom, Li and Kirubarajan 2001, section 6.2.2):

    p <- p + dt v + noise,   v <- v + noise,   covariance of the noise  q [[dt^3/3, dt^2/2], [dt^2/2, dt]]

A frame shows p plus noise of variance r.  The smoother is that of Rauch, Tung and Striebel (1965).  Its 2 x 2 matrices
are written out, so that one step serves all columns at once: tracks are thousands of frames long and a few points wide.

Letters: T frames, C columns (points, or parts of their tracks), D = 2 axes, which share nothing but the decision
whether a frame counts.  Positions are in pixels and times in seconds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

GATE = 18.4
"""Squared distance from the prediction, in standard deviations, that one in 10,000 right points exceeds (two axes)."""
LONGEST_REJECTED = 3
"""Frames in a row that may be rejected (ours): a point that stays away longer has really moved."""


class Series(NamedTuple):
    """Observed positions of C points.

    Attributes:
        points: (T, C, D), in pixels; any finite number where a point is absent.
        variance: (T, C, D), variance r of the noise of each observation, in px^2.
        present: (T, C), whether there is an observation.
        starts: (T, C), whether a frame does not continue the one before it.  Nothing passes such a border.
        steps_s: (T, C), seconds since the frame before.
    """

    points: Floats
    variance: Floats
    present: Bools
    starts: Bools
    steps_s: Floats

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "Series":
        """The series with ``change`` applied to each of its arrays, such as another choice of frames."""
        return Series(
            change(self.points),
            change(self.variance),
            change(self.present),
            change(self.starts),
            change(self.steps_s),
        )


class Filtered(NamedTuple):
    """Result of :func:`kalman_filter`: what is known at each frame from this frame and those before it.

    Attributes:
        mean: (2, T, C, D), position in px and velocity in px/s.
        covariance: (3, T, C, D), variance of the position, covariance with the velocity, variance of the velocity.
        distance: (T, C), squared distance of the observation from its prediction in standard deviations, summed over
            the axes; NaN at a start and where there is no observation.
        log_scale: (T, C), sum over the axes of log(2 pi S), with S the predicted variance of the observation.
        rejected: (T, C), whether an observation was left out because its distance exceeds the gate.
    """

    mean: Floats
    covariance: Floats
    distance: Floats
    log_scale: Floats
    rejected: Bools


def kalman_filter(series: Series, density: Floats, speed: Floats, *, gate: float = np.inf) -> Filtered:
    """Filter forwards.

    Args:
        series: The observations.
        density: (C,), spectral density q of the acceleration, in px^2/s^3.
        speed: (C,), standard deviation of the velocity at a start, in px/s.
        gate: Observations farther from their prediction, in squared standard deviations over both axes, are left out,
            at most :data:`LONGEST_REJECTED` in a row; the next one then counts as a start.
    """
    shape = series.points.shape
    mean, covariance = np.zeros((2, *shape)), np.zeros((3, *shape))
    distance, log_scale = np.zeros(shape[:2]), np.zeros(shape[:2])
    rejected = np.zeros(shape[:2], bool)
    state, spread = np.zeros((2, *shape[1:])), np.zeros((3, *shape[1:]))
    run = np.zeros(shape[1], np.int64)
    density, first_speed = density[:, None], np.square(speed)[:, None]
    for t in range(shape[0]):
        seen, noise, place = series.present[t], series.variance[t], series.points[t]
        position, velocity, p, pv, v = _predicted(state, spread, series.steps_s[t][:, None], density)
        total = p + noise
        error = place - position
        away = np.square(error) / total
        away_both = away[:, 0] + away[:, 1]
        far = seen & ~series.starts[t] & (away_both > gate)
        begins = series.starts[t] | (far & (run >= LONGEST_REJECTED))
        far &= ~begins
        run = np.where(far, run + 1, np.where(seen, 0, run))
        counts = (seen & ~far)[:, None]
        gain, gain_speed = np.where(counts, p / total, 0.0), np.where(counts, pv / total, 0.0)
        new = begins[:, None]
        state = np.where(
            new, (place, np.zeros_like(place)), (position + gain * error, velocity + gain_speed * error)
        )
        kept = ((1 - gain) * p, (1 - gain) * pv, v - gain_speed * pv)
        spread = np.where(new, (noise, np.zeros_like(noise), np.broadcast_to(first_speed, noise.shape)), kept)
        mean[:, t], covariance[:, t], rejected[t] = state, spread, far
        distance[t] = np.where(seen & ~begins, away_both, np.nan)
        log_scale[t] = np.log(2 * np.pi * total).sum(-1)
    return Filtered(mean, covariance, distance, log_scale, rejected)


def rts_smoother(filtered: Filtered, series: Series, density: Floats) -> tuple[Floats, Floats]:
    """Smooth backwards; parameters as for :func:`kalman_filter`.

    Returns:
        Positions (T, C, D) in pixels from all frames between two starts, and their variances (T, C, D) in px^2.
    """
    density = density[:, None]
    place, variance = filtered.mean[0].copy(), filtered.covariance[0].copy()
    state, spread = filtered.mean[:, -1], filtered.covariance[:, -1]
    for t in range(len(place) - 2, -1, -1):
        here, known = filtered.mean[:, t], filtered.covariance[:, t]
        dt = series.steps_s[t + 1][:, None]
        position, velocity, p, pv, v = _predicted(here, known, dt, density)
        determinant = np.maximum(p * v - pv * pv, np.finfo(np.float64).tiny)
        # gain = covariance F' / predicted covariance, row by row
        a, b, c = known
        ends = series.starts[t + 1][:, None]
        first, second = a + dt * b, b + dt * c
        g00 = np.where(ends, 0.0, (first * v - b * pv) / determinant)
        g01 = np.where(ends, 0.0, (b * p - first * pv) / determinant)
        g10 = np.where(ends, 0.0, (second * v - c * pv) / determinant)
        g11 = np.where(ends, 0.0, (c * p - second * pv) / determinant)
        dp, dv = state[0] - position, state[1] - velocity
        d00, d01, d11 = spread[0] - p, spread[1] - pv, spread[2] - v
        state = np.stack((here[0] + g00 * dp + g01 * dv, here[1] + g10 * dp + g11 * dv))
        spread = np.stack(
            (
                a + g00 * (g00 * d00 + g01 * d01) + g01 * (g00 * d01 + g01 * d11),
                b + g00 * (g10 * d00 + g11 * d01) + g01 * (g10 * d01 + g11 * d11),
                c + g10 * (g10 * d00 + g11 * d01) + g11 * (g10 * d01 + g11 * d11),
            )
        )
        place[t], variance[t] = state[0], spread[0]
    return place, np.maximum(variance, 0.0)


def _predicted(
    mean: Floats, covariance: Floats, dt: Floats, density: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Position, velocity and the three covariances (C, D) one step of ``dt`` (C, 1) seconds later."""
    p, pv, v = covariance
    return (
        mean[0] + dt * mean[1],
        mean[1],
        p + dt * (2 * pv + dt * v) + density * dt**3 / 3,
        pv + dt * v + density * dt * dt / 2,
        v + density * dt,
    )
