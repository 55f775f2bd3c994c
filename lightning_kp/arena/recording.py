"""The synthetic arena: animals with known keypoints, rendered to real videos.

``simulate`` gives the truth of a video, ``render_frames`` its pictures, ``write_arena`` both as files
that are then read like anybody's video.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import (
    BODY,
    CHASE,
    CHEST,
    CONTACT,
    KEYPOINT_NAMES,
    NECK,
    NODES,
    PAUSE,
    RADII,
    TAIL_BASE,
    TOUCH,
    TRUNK,
    TURN,
    WALK,
    ArenaSettings,
    ArenaTruth,
    Floats,
    depth_in_outline,
    keypoints,
    spline_matrix,
)
from lightning_kp.arena.director import move
from lightning_kp.arena.render import render_frames
from lightning_kp.errors import DataError

__all__ = ["ArenaSettings", "ArenaTruth", "read_truth", "render_frames", "simulate", "write_arena"]

EDITION = 1  # raise it when the same settings give another video, so that old files are written anew
STILL, TURNING = 0.06, 1.2  # image sides per second, rad per second
SMOOTHING = 0.28  # seconds over which speed and rate of turn are measured


def simulate(settings: ArenaSettings) -> ArenaTruth:
    """The truth of the video that the settings describe (see :class:`ArenaTruth`)."""
    midline, chasing, layer = move(settings)
    camera = _camera(settings)
    gap = _gaps(midline)
    return ArenaTruth(
        points_px=_to_px(keypoints(midline), settings.size) + camera[:, None, None],
        visible=_visibility(midline, layer),
        behaviour=_behaviour(midline, chasing, gap, settings.fps),
        gap_px=gap * settings.size,
        midline_px=_to_px(midline, settings.size) + camera[:, None, None],
        layer=layer,
        camera_px=camera,
        coats=settings.coats,
    )


def write_arena(settings: ArenaSettings, folder: Path | str, name: str | None = None) -> Path:
    """Write ``<name>.mp4`` and ``<name>.truth.npz`` below ``folder``; the path of the video.

    Files of the same settings that are already there are kept.  Both files appear under their names
    only when they are complete, the truth last.
    """
    folder = Path(folder)
    video = folder / f"{name or f'arena_seed{settings.seed}'}.mp4"
    if _is_current(video, settings):
        return video
    partial = [p.with_name(f".{os.getpid()}.partial.{p.name}") for p in (video, _truth_path(video))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        truth = simulate(settings)
        _encode(render_frames(settings, truth), settings, partial[0])
        _save_truth(truth, settings, partial[1])
        _truth_path(video).unlink(missing_ok=True)
        partial[0].replace(video)
        partial[1].replace(_truth_path(video))
    except OSError as error:
        raise DataError(
            f"The synthetic video {video} could not be written: {error}.",
            remedy="Give a folder (data.root) that can be written and has room.",
        ) from error
    finally:
        for path in partial:
            with suppress(OSError):
                path.unlink()
    return video


def read_truth(path: Path | str) -> ArenaTruth:
    """The truth beside a video of :func:`write_arena`; takes the path of either file."""
    file = _truth_path(Path(path))
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        facts: dict[str, Any] = json.loads(str(arrays.pop("facts")))
        arrays.pop("settings")
        for key, values in facts.items():
            facts[key] = tuple(tuple(value) if isinstance(value, list) else value for value in values)
        return ArenaTruth(**{**arrays, **facts})
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{file} is no ground truth of a synthetic video ({error}).",
            remedy="Delete it; the video and its truth are then written again.",
        ) from error


def _truth_path(video: Path) -> Path:
    stem = video.name.removesuffix(".truth.npz").removesuffix(".mp4")
    return video.with_name(f"{stem}.truth.npz")


def _fingerprint(settings: ArenaSettings) -> str:
    return json.dumps({"edition": EDITION, **asdict(settings)}, sort_keys=True)


def _is_current(video: Path, settings: ArenaSettings) -> bool:
    try:
        with np.load(_truth_path(video), allow_pickle=False) as stored:
            return video.is_file() and str(stored["settings"]) == _fingerprint(settings)
    except (OSError, KeyError, ValueError):
        return False


def _save_truth(truth: ArenaTruth, settings: ArenaSettings, path: Path) -> None:
    fields = dict(vars(truth))
    facts = {key: fields.pop(key) for key in list(fields) if not isinstance(fields[key], np.ndarray)}
    with path.open("wb") as file:
        np.savez_compressed(file, **fields, facts=json.dumps(facts), settings=_fingerprint(settings))


def _encode(frames: Iterator[NDArray[np.uint8]], settings: ArenaSettings, path: Path) -> None:
    """H.264 at a quality at which the sensor noise survives (crf 18)."""
    import av
    from tqdm import tqdm

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(settings.fps).limit_denominator(1001))
        stream.width = stream.height = settings.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for frame in tqdm(frames, path.name.split(".partial.")[-1], settings.frames, leave=False, delay=2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _to_px(points: Floats, size: int) -> Floats:
    """Image sides -> pixels with the centre of the top left pixel at (0, 0)."""
    return points * size - 0.5


def _camera(settings: ArenaSettings) -> Floats:
    """Displacement of the picture (T, 2) in pixels: a few waves per axis for shake, slower ones for drift."""
    rng = np.random.default_rng((settings.seed, 6))
    clock = np.arange(settings.frames)[:, None, None] / settings.fps
    rates, phases = rng.uniform(0.4, 4.0, (2, 6)), rng.uniform(0, 2 * np.pi, (2, 6))
    shake = settings.shake * np.sin(2 * np.pi * rates * clock + phases).sum(-1) / np.sqrt(3)
    slow = np.random.default_rng((settings.seed, 7))
    rates, phases = slow.uniform(0.01, 0.03, (2, 3)), slow.uniform(0, 2 * np.pi, (2, 3))
    return np.asarray(
        shake + settings.drift * np.sin(2 * np.pi * rates * clock + phases).sum(-1) / np.sqrt(1.5)
    )


def _behaviour(midline: Floats, chasing: NDArray[np.bool_], gap: Floats, fps: float) -> NDArray[np.uint8]:
    """Labels (T, I) from what can be seen: contact before chase before turn before pause before walk."""
    trunk = midline[:, :, NECK] - midline[:, :, BODY]
    heading = np.unwrap(np.arctan2(trunk[..., 1], trunk[..., 0]), axis=0)
    speed = np.linalg.norm(_rate(midline[:, :, CHEST], fps), axis=-1)
    labels = np.where(speed < STILL, PAUSE, WALK)
    labels[np.abs(_rate(heading, fps)) > TURNING] = TURN
    labels[chasing] = CHASE
    labels[gap < TOUCH] = CONTACT
    return labels.astype(np.uint8)


def _rate(values: Floats, fps: float) -> Floats:
    """Change per second of values (T, ...), measured over about ``SMOOTHING`` seconds around each frame."""
    half = max(1, round(SMOOTHING * fps / 2))
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half, len(values) - 1)
    seconds = np.maximum(high - low, 1) / fps
    return np.asarray((values[high] - values[low]) / seconds.reshape((-1,) + (1,) * (values.ndim - 1)))


def _gaps(midline: Floats) -> Floats:
    """Distance (T, I) of each trunk's outline to the nearest other one, in image sides."""
    spline = spline_matrix(TRUNK, per_link=2)
    radii, samples = spline @ np.array(RADII), spline @ midline
    count = midline.shape[1]
    gap = np.full((len(midline), count), np.inf)
    for i in range(count):
        for j in range(count):
            if i != j:
                apart = depth_in_outline(samples[:, i], samples[:, j], radii) - radii
                apart = apart.min(axis=1)[:, None]
                gap[:, [i, j]] = np.minimum(gap[:, [i, j]], apart)
    return gap


def _visibility(midline: Floats, layer: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keypoints (T, I, K) no animal covers; a tail tip can also lie under its own trunk."""
    points, radii = keypoints(midline), np.array(RADII)
    trunk, tail = spline_matrix(TRUNK, per_link=2), spline_matrix(slice(TAIL_BASE, NODES), per_link=2)
    visible = np.ones(points.shape[:-1], dtype=bool)
    for j in range(midline.shape[1]):
        for part in (trunk, tail):
            flat = points.reshape(len(points), -1, 2)
            depth = depth_in_outline(flat, part @ midline[:, j], part @ radii).reshape(visible.shape)
            covers = np.repeat((layer[:, j, None] > layer)[..., None], len(KEYPOINT_NAMES), axis=2)
            covers[:, j, KEYPOINT_NAMES.index("tail_tip")] = part is trunk
            visible &= ~(covers & (depth < 0))
    return visible
