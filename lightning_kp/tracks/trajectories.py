"""Normalised points over time, with short gaps filled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.geometry import normalise
from lightning_kp.tracks.table import Floats, Tracks


class Trajectory(NamedTuple):
    """Normalised points over time; P = I * K points of all animals.

    Attributes:
        points: (N, P, 2), normalised (x, y), without gaps.
        confidence: (N, P), in [0, 1]; 0 for missing points.
        covariance: (N, P, 3) = (var x, var y, cov xy), in normalised units; 0 for missing points.
        times_s: (N,), increasing times in seconds.
        shape: (2,), width and height of the frame divided by its longer side.
    """

    points: Floats
    confidence: Floats
    covariance: Floats
    times_s: NDArray[np.float64]
    shape: Floats


def normalised_trajectory(
    tracks: Tracks, *, longest_gap: int = 10, min_confidence: float = 0.0
) -> Trajectory:
    """Normalise tracks (N, I, K, 2) in pixels and fill their gaps.

    Points with a confidence below ``min_confidence`` count as missing.  :func:`fill_gaps` says where missing points are
    placed.  Raises DataError if the frame size is unknown.
    """
    height, width = tracks.frame_size
    if height < 1 or width < 1:
        raise DataError(
            f"The frame size of {tracks.video or 'these tracks'} is not known.",
            remedy="Give height and width of the video, for example --data.frame_size=[480,640].",
        )
    frames = len(tracks)
    side = np.array([width, height], np.float32)
    points = tracks.points_px.reshape(frames, -1, 2).astype(np.float32)
    confidence = np.nan_to_num(tracks.confidence.reshape(frames, -1)).astype(np.float32)
    covariance = tracks.covariance_px.reshape(frames, -1, 3).astype(np.float32)
    missing = ~np.isfinite(points).all(axis=-1) | (confidence < min_confidence)
    points = np.where(missing[..., None], np.float32(np.nan), normalise(points, tracks.frame_size))
    scale = 4 / np.array([width * width, height * height, width * height], np.float32)
    return Trajectory(
        fill_gaps(points, longest_gap),
        np.where(missing, np.float32(0), confidence),
        np.where(missing[..., None], np.float32(0), np.nan_to_num(covariance) * scale),
        _times(tracks),
        side / side.max(),
    )


def fill_gaps(points: Floats, longest: int) -> Floats:
    """Replace missing points (NaN) in points (N, P, D) by finite ones.

    The rule (ours): gaps of at most ``longest`` frames are interpolated linearly.  In longer gaps, and before the first
    and after the last sighting, a point stays where it was seen nearest in time.  A point that is never seen is at 0,
    the centre of the frame.
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
    """Times (N,) in seconds; computed from the frame rate if the tracks' own times do not increase."""
    times = tracks.times_s
    if len(times) > 1 and bool((np.diff(times) > 0).all()):
        return times
    return np.arange(len(tracks)) / (tracks.fps if tracks.fps > 0 else 1.0)
