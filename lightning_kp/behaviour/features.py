"""Tracks -> one row of numbers per frame, as behaviour classifiers read them (000, 5.5 and 5.8).

Two families.  With identity, where keypoint k is always the same part: ``pose``, ``confidence`` and
``covariance`` (eq. 5.5).  Without, for keypoints that may sit on any part (5.5, Fly): ``speed``,
``acceleration``, ``distances`` of all pairs and ``angles`` of all triplets.

The I animals of K keypoints are P = I K points.  Coordinates are normalised to [-1, 1]; lengths and
speeds are in half frame sides (the longer one), so that they do not depend on the direction.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError, did_you_mean
from lightning_kp.tracks.table import Floats, Tracks
from lightning_kp.tracks.trajectories import Trajectory, normalise

ROWS = 2048  # frames at a time: their temporary arrays stay in the processor's cache (measured)


def feature_table(
    tracks: Tracks, kinds: Sequence[str], *, longest_gap: int = 10, min_confidence: float = 0.0
) -> Floats:
    """Features (N, F) float32 of the named kinds, side by side in that order; finite.

    Raises ConfigurationError for an unknown kind, DataError for tracks that lack what it needs.
    """
    if not kinds:
        raise ConfigurationError("No features were named.", remedy=f"Choose from {', '.join(FEATURES)}.")
    for kind in kinds:
        if kind not in FEATURES:
            raise ConfigurationError(f"There is no feature {kind}.", remedy=did_you_mean(kind, FEATURES))
    if "covariance" in kinds and not np.isfinite(tracks.covariance_px).any():
        raise DataError(
            f"The tracks of {tracks.video or 'this recording'} hold no covariance.",
            remedy="Leave `covariance` out of the features, or use the .csv that `kp track` wrote.",
        )
    if {"speed", "acceleration"} & set(kinds) and not tracks.fps > 0:
        raise DataError(
            f"The frame rate of {tracks.video or 'these tracks'} is not known, so speeds are not either.",
            remedy="Give it: --data.fps=30",
        )
    trajectory = normalise(tracks, longest_gap=longest_gap, min_confidence=min_confidence)
    blocks = [FEATURES[kind](trajectory) for kind in kinds]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _pose(trajectory: Trajectory) -> Floats:
    """(N, 2 P): x and y of each point."""
    return trajectory.points.reshape(len(trajectory.points), -1)


def _confidence(trajectory: Trajectory) -> Floats:
    """(N, P)."""
    return trajectory.confidence


def _covariance(trajectory: Trajectory) -> Floats:
    """(N, 3 P): var x, var y and cov xy of each point."""
    return trajectory.covariance.reshape(len(trajectory.points), -1)


def _speed(trajectory: Trajectory) -> Floats:
    """(N, P): half sides per second, from the frames before and after."""
    return _length(_rate(trajectory.points * trajectory.shape, trajectory.times_s))


def _acceleration(trajectory: Trajectory) -> Floats:
    """(N, P): half sides per second squared, the size of the change of velocity."""
    velocity = _rate(trajectory.points * trajectory.shape, trajectory.times_s)
    return _length(_rate(velocity, trajectory.times_s))


def _distances(trajectory: Trajectory) -> Floats:
    """(N, P (P - 1) / 2): pairs (0, 1), (0, 2), ..., (1, 2), ..."""
    frames, number = trajectory.points.shape[:2]
    table = np.empty((frames, number * (number - 1) // 2), np.float32)
    for rows, x, y in _by_rows(trajectory):
        pairs = [_length_of(x[i] - x[i + 1 :], y[i] - y[i + 1 :]) for i in range(number - 1)]
        table[rows] = np.concatenate([*pairs, np.empty((0, x.shape[1]), np.float32)]).T
    return table


def _angles(trajectory: Trajectory) -> Floats:
    """(N, P (P - 1) (P - 2) / 6): the angle in [0, pi] at the middle one of points i < j < k.

    Directions are measured once for each pair; the angle is their difference, so that there are not P
    times as many arc tangents.  The direction between two points in one place counts as 0.
    """
    frames, number = trajectory.points.shape[:2]
    table = np.empty((frames, number * (number - 1) * (number - 2) // 6), np.float32)
    for rows, x, y in _by_rows(trajectory):
        direction = [np.arctan2(y - y[j], x - x[j]) for j in range(1, number - 1)]  # at j, to each point
        column = 0
        for i in range(number - 2):
            for j in range(i + 1, number - 1):
                apart = np.abs(direction[j - 1][i] - direction[j - 1][j + 1 :])
                table[rows, column : column + len(apart)] = np.minimum(apart, 2 * np.pi - apart).T
                column += len(apart)
    return table


def _rate(values: Floats, times_s: NDArray[np.float64]) -> Floats:
    """Change of values (N, ...) per second, by central differences, whatever the time between frames."""
    if len(values) < 2:
        return np.zeros_like(values)
    step = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    even = times_s[0] + step * np.arange(len(times_s))
    # Containers round times; only a rate that really varies leaves the even grid by half a frame.
    if (np.abs(times_s - even) < 0.5 * step).all():
        return np.asarray(np.gradient(values, axis=0) / np.float32(step), np.float32)
    return np.asarray(np.gradient(values, times_s, axis=0), np.float32)


def _length(vectors: Floats) -> Floats:
    return _length_of(vectors[..., 0], vectors[..., 1])


def _length_of(x: NDArray[np.float32], y: NDArray[np.float32]) -> Floats:
    return np.asarray(np.sqrt(x * x + y * y))


def _by_rows(trajectory: Trajectory) -> Iterable[tuple[slice, Floats, Floats]]:
    """Slices of frames with x and y (P, frames) in half sides, points in front so that rows are contiguous."""
    for start in range(0, len(trajectory.points), ROWS):
        rows = slice(start, start + ROWS)
        part = trajectory.points[rows] * trajectory.shape
        yield rows, np.ascontiguousarray(part[..., 0].T), np.ascontiguousarray(part[..., 1].T)


FEATURES: dict[str, Callable[[Trajectory], Floats]] = {
    "pose": _pose,
    "confidence": _confidence,
    "covariance": _covariance,
    "speed": _speed,
    "acceleration": _acceleration,
    "distances": _distances,
    "angles": _angles,
}
