"""Features of each frame of a track, the input of behaviour classifiers (000, 5.5 and 5.8).

There are two families.  For keypoints that always stay on the same body part: ``pose``, ``confidence`` and
``covariance`` (eq. 5.5).  For keypoints that may be on any part (5.5, Fly): ``speed``,
``acceleration``, ``distances`` of all pairs and ``angles`` of all triplets.

N frames, F features.  The K keypoints of I animals are P = I K points.  Coordinates are normalised to [-1, 1]; the
unit of lengths is half of the longer side of the frame ("half side"), so that they do not depend on the direction.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError, did_you_mean
from lightning_kp.tracks.table import Floats, Tracks
from lightning_kp.tracks.trajectories import Trajectory, normalised_trajectory

ROWS = 2048  # frames per step, so that temporary arrays fit into the processor's cache (measured)


def feature_table(
    tracks: Tracks, kinds: Sequence[str], *, longest_gap: int = 10, min_confidence: float = 0.0
) -> Floats:
    """Compute features of a track.

    Args:
        tracks: Points (N, I, K, 2) in pixels, with confidence and covariance.
        kinds: Kinds of features, keys of FEATURES.
        longest_gap: Longest gap of a keypoint that is interpolated, in frames.
        min_confidence: Keypoints of a lower confidence count as missing.

    Returns:
        Features (N, F) float32, finite, the kinds side by side in the given order.

    Raises:
        ConfigurationError: A kind is unknown, or none is given.
        DataError: The tracks have no covariance, frame rate or frame size, although a kind needs it.
    """
    if not kinds:
        raise ConfigurationError("No features were given.", remedy=f"Choose from {', '.join(FEATURES)}.")
    for kind in kinds:
        if kind not in FEATURES:
            raise ConfigurationError(
                f"There is no feature called {kind}.", remedy=did_you_mean(kind, FEATURES)
            )
    if "covariance" in kinds and not np.isfinite(tracks.covariance_px).any():
        raise DataError(
            f"The tracks of {tracks.video or 'this recording'} have no covariance.",
            remedy="Leave `covariance` out of the features, or use the .csv file that `kp track` writes.",
        )
    if {"speed", "acceleration"} & set(kinds) and not tracks.fps > 0:
        raise DataError(
            f"Speeds need the frame rate of {tracks.video or 'these tracks'}, which is unknown.",
            remedy="Give it: --data.fps=30",
        )
    trajectory = normalised_trajectory(tracks, longest_gap=longest_gap, min_confidence=min_confidence)
    blocks = [FEATURES[kind](trajectory) for kind in kinds]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _pose(trajectory: Trajectory) -> Floats:
    """Normalised x and y of each point, (N, 2 P)."""
    return trajectory.points.reshape(len(trajectory.points), -1)


def _confidence(trajectory: Trajectory) -> Floats:
    """Confidence of each point, (N, P) in [0, 1]."""
    return trajectory.confidence


def _covariance(trajectory: Trajectory) -> Floats:
    """Variance of x, variance of y and covariance of each point, (N, 3 P), in normalised units."""
    return trajectory.covariance.reshape(len(trajectory.points), -1)


def _speed(trajectory: Trajectory) -> Floats:
    """Speed of each point in half sides per second, (N, P), from the frames before and after."""
    return _length(_rate(trajectory.points * trajectory.shape, trajectory.times_s))


def _acceleration(trajectory: Trajectory) -> Floats:
    """Length of the acceleration of each point in half sides per second squared, (N, P)."""
    velocity = _rate(trajectory.points * trajectory.shape, trajectory.times_s)
    return _length(_rate(velocity, trajectory.times_s))


def _distances(trajectory: Trajectory) -> Floats:
    """Distances of the pairs (0, 1), (0, 2), ..., (1, 2), ... in half sides, (N, P (P - 1) / 2)."""
    frames, number = trajectory.points.shape[:2]
    table = np.empty((frames, number * (number - 1) // 2), np.float32)
    for rows, x, y in _by_rows(trajectory):
        pairs = [_length_of(x[i] - x[i + 1 :], y[i] - y[i + 1 :]) for i in range(number - 1)]
        table[rows] = np.concatenate([*pairs, np.empty((0, x.shape[1]), np.float32)]).T
    return table


def _angles(trajectory: Trajectory) -> Floats:
    """Angles in [0, pi] at point j of each triplet i < j < k, (N, P (P - 1) (P - 2) / 6).

    An angle is the difference of two directions, which are computed once for each pair; computing them for each
    triplet would take P times as many arc tangents.  The direction between two points at the same place is 0.
    """
    frames, number = trajectory.points.shape[:2]
    table = np.empty((frames, number * (number - 1) * (number - 2) // 6), np.float32)
    for rows, x, y in _by_rows(trajectory):
        direction = [
            np.arctan2(y - y[j], x - x[j]) for j in range(1, number - 1)
        ]  # from point j to each point
        column = 0
        for i in range(number - 2):
            for j in range(i + 1, number - 1):
                apart = np.abs(direction[j - 1][i] - direction[j - 1][j + 1 :])
                table[rows, column : column + len(apart)] = np.minimum(apart, 2 * np.pi - apart).T
                column += len(apart)
    return table


def _rate(values: Floats, times_s: NDArray[np.float64]) -> Floats:
    """Change of values (N, ...) per second by central differences, for constant and varying frame rates."""
    if len(values) < 2:
        return np.zeros_like(values)
    step = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    even = times_s[0] + step * np.arange(len(times_s))
    # Containers round times; only a frame rate that really varies leaves the even grid by half a frame.
    if (np.abs(times_s - even) < 0.5 * step).all():
        return np.asarray(np.gradient(values, axis=0) / np.float32(step), np.float32)
    return np.asarray(np.gradient(values, times_s, axis=0), np.float32)


def _length(vectors: Floats) -> Floats:
    return _length_of(vectors[..., 0], vectors[..., 1])


def _length_of(x: NDArray[np.float32], y: NDArray[np.float32]) -> Floats:
    return np.asarray(np.sqrt(x * x + y * y))


def _by_rows(trajectory: Trajectory) -> Iterable[tuple[slice, Floats, Floats]]:
    """Slices of frames with x and y (P, frames) in half sides; points come first so that rows are contiguous."""
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
