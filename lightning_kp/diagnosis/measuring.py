"""Measures of the scene and of each keypoint, computed from the evidence; no verdicts yet."""

import math

import numpy as np
from numpy.typing import NDArray

from lightning_kp.diagnosis.evidence import Evidence
from lightning_kp.diagnosis.staircase import grid_share, standing_share
from lightning_kp.diagnosis.thresholds import Thresholds
from lightning_kp.diagnosis.verdict import Measures, Scene
from lightning_kp.geometry import to_pixels

Array = NDArray[np.float64]


def measure_scene(evidence: Evidence) -> Scene:
    """Measure the body size and how far the animal moves, from its centre (N, 2) in N frames."""
    centre = evidence.foreground_centre
    is_seen = np.isfinite(centre[:, 0])
    body = evidence.body_px / (evidence.image_size / 2)
    step = evidence.displacement[np.isfinite(evidence.displacement)]
    return Scene(
        frames=len(is_seen),
        frames_with_foreground=int(is_seen.sum()),
        image_size=evidence.image_size,
        body_px=evidence.body_px,
        roaming=float(_spread(centre[is_seen, None])[0]) / body if is_seen.any() else math.nan,
        step=float(np.quantile(step, 0.75)) / body if len(step) else math.nan,
    )


def measure_keypoints(evidence: Evidence, scene: Scene, limits: Thresholds) -> list[Measures]:
    """Measures of each of the K keypoints, from points (N, K, 2); :func:`find_duplicates` gives ``duplicate_share``."""
    half = evidence.image_size / 2
    points, is_seen = evidence.points, np.isfinite(evidence.foreground_centre[:, 0])
    rotation, chance = _rotation_errors(points, evidence.turned_back)
    body = scene.body_px / half
    spread = _spread(points[is_seen] if is_seen.any() else points)
    standing, on_grid = _staircases(evidence, limits.small_step * body)
    columns = {
        "on_animal": _touching_share(evidence.foreground_under, limits),
        "on_motion": _touching_share(evidence.motion_under, limits),
        "centre_distance": np.median(np.linalg.norm(points, axis=-1), axis=0),
        "spread": spread / (scene.roaming * body) if scene.roaming > 0 else np.full(len(spread), math.nan),
        "duplicate_share": np.zeros(points.shape[1]),
        "jitter_px": _jitter(evidence) * half,
        "rotation_px": rotation * half,
        "rotation_chance": chance,
        "confidence": np.median(evidence.confidence, axis=0),
        "standing": standing,
        "on_grid": on_grid,
        "width": np.median(np.sqrt(evidence.covariance[..., :2].mean(axis=-1)), axis=0),
    }
    rows = zip(*columns.values(), strict=True)
    return [Measures(**dict(zip(columns, map(float, row), strict=True))) for row in rows]


def find_duplicates(
    points: Array, measures: list[Measures], scene: Scene, limits: Thresholds
) -> list[tuple[int | None, float]]:
    """For each of the points (N, K, 2), the better keypoint it duplicates (or None) and in which share of the frames.

    Of two duplicates the one kept is more often on the animal, then more confident.  The mean position breaks ties,
    so that the order of the keypoints does not matter.
    """
    reach = limit_px(limits.same_place, scene, limits) / (scene.image_size / 2)

    def rank(k: int) -> tuple[float, ...]:
        on_animal = measures[k].on_animal if math.isfinite(measures[k].on_animal) else 0.0
        return (-round(on_animal, 2), -measures[k].confidence, *points[:, k].mean(axis=0))

    result: list[tuple[int | None, float]] = [(None, 0.0)] * len(measures)
    kept: list[int] = []
    for k in sorted(range(len(measures)), key=rank):
        distance = np.linalg.norm(points[:, kept] - points[:, k, None], axis=-1)
        shares = (distance < reach).mean(axis=0).tolist()
        if shares and max(shares) >= limits.same_share:
            result[k] = (kept[int(np.argmax(shares))], max(shares))
        else:
            kept.append(k)
    return result


def covered_share(evidence: Evidence, found: list[int], scene: Scene, limits: Thresholds) -> float:
    """Share in [0, 1] of the foreground samples (N, S, 2) near a found keypoint; NaN without foreground."""
    samples = evidence.foreground_points
    is_known = np.isfinite(samples[..., 0])
    if not is_known.any():
        return math.nan
    reach = limit_px(limits.coverage_radius, scene, limits) / (scene.image_size / 2)
    is_covered = np.zeros(is_known.shape, dtype=bool)
    for k in found:
        is_covered |= np.linalg.norm(samples - evidence.points[:, k, None], axis=-1) < reach
    return float(is_covered[is_known].mean())


def limit_px(body_sizes: float, scene: Scene, limits: Thresholds) -> float:
    """A limit given in body sizes, in pixels of the network's image; never finer than heatmaps resolve."""
    if not math.isfinite(scene.body_px):
        return limits.min_distance_px
    return max(limits.min_distance_px, body_sizes * scene.body_px)


def _spread(points: Array) -> Array:
    """Root mean square distance of points (N, K, 2) from their mean over frames: (K,)."""
    return np.asarray(np.sqrt(points.var(axis=0).sum(axis=-1)), dtype=np.float64)


def _touching_share(share: Array, limits: Thresholds) -> Array:
    """Share of the frames with a known value in which a keypoint touches the mask: (N, K) -> (K,)."""
    frames = np.isfinite(share).sum(axis=0)
    touches = (np.nan_to_num(share) >= limits.min_overlap).sum(axis=0)
    return np.asarray(np.where(frames > 0, touches / np.maximum(frames, 1), np.nan), dtype=np.float64)


def _rotation_errors(points: Array, turned_back: Array) -> tuple[Array, Array]:
    """Mean distance after a quarter turn and back (K,), and its ratio to that between unrelated frames (K,)."""
    error = np.linalg.norm(turned_back - points, axis=-1).mean(axis=0)
    shifts = [max(1, len(points) * part // 4) for part in (1, 2, 3)]
    rolled = np.stack([np.roll(turned_back, shift, axis=0) for shift in shifts])
    unrelated = np.linalg.norm(rolled - points, axis=-1).mean(axis=(0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return error, error / unrelated


def _staircases(evidence: Evidence, least: float) -> tuple[Array, Array]:
    """Share of steps without movement and of coordinates on the grid (K,), where the animal moves by ``least`` or more.

    ``least`` is the displacement within a frame pair, normalised.  NaN where the grid is unknown.
    """
    if not math.isfinite(evidence.cell_px):
        unknown = np.full(evidence.points.shape[1], math.nan)
        return unknown, unknown
    side = round(evidence.image_size / evidence.cell_px)
    cells = to_pixels(evidence.points, (side, side))
    moves = np.nan_to_num(evidence.displacement) >= least
    is_next = (np.diff(evidence.index) == 1) & (np.diff(evidence.video) == 0)
    return standing_share(cells, is_next & moves[:-1]), grid_share(cells[moves])


def _jitter(evidence: Evidence) -> Array:
    """Standard deviation per axis of a keypoint's trembling (K,), beyond that of the animal's centre.

    Computed from second differences over equally spaced triples of frames: white noise of deviation s gives them a
    mean length of s * sqrt(6 * pi / 2), smooth movement next to nothing.  NaN without such triples.
    """
    step = np.diff(evidence.index)
    is_same_video = np.diff(evidence.video) == 0
    shortest = step[is_same_video & (step > 0)].min(initial=np.iinfo(np.int64).max)
    is_linked = is_same_video & (step == shortest)
    middle = np.flatnonzero(is_linked[:-1] & is_linked[1:]) + 1
    if not len(middle):
        return np.full(evidence.points.shape[1], math.nan)

    def trembling(path: Array) -> Array:
        bend = path[middle - 1] - 2 * path[middle] + path[middle + 1]
        length = np.linalg.norm(bend, axis=-1)
        is_known = np.isfinite(length)
        total = np.where(is_known, length, 0).sum(axis=0)
        return np.asarray(total / np.maximum(is_known.sum(axis=0), 1))

    excess = trembling(evidence.points) - trembling(evidence.foreground_centre[:, None])
    return np.asarray(np.maximum(excess, 0) / math.sqrt(6 * math.pi / 2), dtype=np.float64)
