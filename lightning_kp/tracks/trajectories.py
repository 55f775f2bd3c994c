"""Points of one animal over time, normalised, with short gaps filled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Floats, Tracks


class Trajectory(NamedTuple):
    """Normalised keypoints over time: ``points`` (N, P, 2) without gaps, ``confidence`` (N, P),
    ``covariance`` (N, P, 3) = (var x, var y, cov xy), ``times_s`` (N,), and ``shape`` (2,): how many half sides of
    the longer axis a normalised unit of x and y is (1 for the longer one)."""  # noqa: D205, D209

    points: Floats
    confidence: Floats
    covariance: Floats
    times_s: NDArray[np.float64]
    shape: Floats


def normalise(tracks: Tracks, *, longest_gap: int = 10, min_confidence: float = 0.0) -> Trajectory:
    """Tracks in pixels -> :class:`Trajectory`.  Points below ``min_confidence`` count as missing.

    A missing point has confidence and covariance 0; where it lies is the rule of :func:`fill_gaps`.
    """
    height, width = tracks.frame_size
    if height < 1 or width < 1:
        raise DataError(
            f"The frame size of {tracks.video or 'these tracks'} is not known.",
            remedy="Give height and width of the video: --data.frame_size=[480,640]",
        )
    frames = len(tracks)
    side = np.array([width, height], np.float32)
    points = tracks.points_px.reshape(frames, -1, 2).astype(np.float32)
    confidence = np.nan_to_num(tracks.confidence.reshape(frames, -1)).astype(np.float32)
    covariance = tracks.covariance_px.reshape(frames, -1, 3).astype(np.float32)
    missing = ~np.isfinite(points).all(axis=-1) | (confidence < min_confidence)
    points = np.where(missing[..., None], np.float32(np.nan), (points + 0.5) / side * 2 - 1)
    scale = 4 / np.array([width * width, height * height, width * height], np.float32)
    return Trajectory(
        fill_gaps(points, longest_gap),
        np.where(missing, np.float32(0), confidence),
        np.where(missing[..., None], np.float32(0), np.nan_to_num(covariance) * scale),
        _times(tracks),
        side / side.max(),
    )


def fill_gaps(points: Floats, longest: int) -> Floats:
    """Points (N, P, D) with NaN for missing ones -> finite ones.

    The rule (ours): gaps of at most ``longest`` frames are bridged by a straight line; in longer ones, and
    before the first and after the last sighting, the point stays where it was seen nearest in time; one
    that is never seen lies at 0, the centre of the frame.
    """
    frames = len(points)
    present: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=-1))
    if present.all():
        return points
    row = np.arange(frames)[:, None]
    before = np.maximum.accumulate(np.where(present, row, -1), axis=0)
    after = np.minimum.accumulate(np.where(present, row, frames)[::-1], axis=0)[::-1]
    column = np.arange(points.shape[1])[None]
    first = np.nan_to_num(points[np.maximum(before, 0), column])
    last = np.nan_to_num(points[np.minimum(after, frames - 1), column])
    share = ((row - before) / np.maximum(after - before, 1)).astype(points.dtype)
    is_short = (before >= 0) & (after < frames) & (after - before - 1 <= longest)
    nearest = np.where((before < 0) | ((after < frames) & (share > 0.5)), np.float32(1), np.float32(0))
    weight = np.where(is_short, share, nearest)[..., None]
    return np.asarray(np.where(present[..., None], points, first + weight * (last - first)))


def _times(tracks: Tracks) -> NDArray[np.float64]:
    """Seconds of every frame; those of the frame rate where the tracks' own do not increase."""
    times = tracks.times_s
    if len(times) > 1 and bool((np.diff(times) > 0).all()):
        return times
    return np.arange(len(tracks)) / (tracks.fps if tracks.fps > 0 else 1.0)
