"""True tracks of animals in the rendered arena, and what networks do to them."""

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import KEYPOINT_NAMES
from lightning_kp.arena.recording import ArenaSettings, simulate
from lightning_kp.tracks.table import Tracks, default_names

Floats = NDArray[np.float64]
FPS = 25.0
SNOUT, LEFT_EAR, RIGHT_EAR, NECK, BODY, TAIL_BASE = range(len(KEYPOINT_NAMES) - 1)


def walk(frames: int, animals: int = 1, seed: int = 0) -> Floats:
    """Points (N, I, 6, 2) of walking animals in pixels: snout, ears, neck, body, tail base; 48 px long."""
    return simulate(ArenaSettings(frames=frames, animals=animals, seed=seed)).points_px[:, :, :-1]


def noisy(points: Floats, deviation_px: float, seed: int = 1) -> Floats:
    return points + np.random.default_rng(seed).normal(0, deviation_px, points.shape)


def exchanged(points: Floats, pairs: tuple[tuple[int, int], ...], stretches: list[tuple[int, int]]) -> Floats:
    """Points (N, I, K, 2) whose pairs of keypoints are exchanged in the frames [start, end) of each stretch."""
    order = np.arange(points.shape[2])
    for one, other in pairs:
        order[[one, other]] = order[[other, one]]
    changed = points.copy()
    for start, end in stretches:
        changed[start:end] = points[start:end][:, :, order]
    return changed


def tracks_of(points: Floats, fps: float = FPS) -> Tracks:
    """Tracks of points (N, I, K, 2) with confidence 1 and no covariance."""
    shape = points.shape[:3]
    return Tracks(
        "", (192, 192), fps, np.arange(len(points)) / fps, points.astype(np.float32), np.ones(shape, np.float32),
        np.full((*shape, 3), np.nan, np.float32), default_names(shape[2]),
    )  # fmt: skip
