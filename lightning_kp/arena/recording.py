"""Videos of the rendered arena: simulated animals with known keypoints, written as ordinary video files.

``simulate`` computes the ground truth of a video, ``render_frames`` its frames, and ``write_arena`` writes both to
files, which are then read like any other video.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

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
    keypoints,
    signed_distance,
    spline_matrix,
    to_px,
)
from lightning_kp.arena.director import simulate_motion
from lightning_kp.arena.render import render_frames
from lightning_kp.errors import DataError
from lightning_kp.files import replacing, writing

__all__ = ["ArenaSettings", "ArenaTruth", "read_truth", "render_frames", "simulate", "write_arena"]

EDITION = 1
"""To be raised whenever the same settings give another video, so that existing files are rendered again."""
MIN_WALKING_SPEED = 0.06
"""An animal that is slower, in image sides per second, pauses."""
MIN_TURN_RATE = 1.2
"""An animal that turns faster, in rad per second, is turning."""
SMOOTHING_S = 0.28
"""Time in seconds over which speed and rate of turn are measured."""


def simulate(settings: ArenaSettings) -> ArenaTruth:
    """Simulate the video that the settings describe and return its ground truth."""
    midline, chasing, layer = simulate_motion(settings)
    camera = _camera(settings)
    gap = _gaps(midline)
    return ArenaTruth(
        points_px=to_px(keypoints(midline), settings.size) + camera[:, None, None],
        visible=_visibility(midline, layer),
        behaviour=_behaviour(midline, chasing, gap, settings.fps),
        gap_px=gap * settings.size,
        midline_px=to_px(midline, settings.size) + camera[:, None, None],
        layer=layer,
        camera_px=camera,
        coats=settings.coats,
    )


def write_arena(settings: ArenaSettings, folder: Path | str, name: str | None = None) -> Path:
    """Write ``<name>.mp4`` and ``<name>.truth.npz`` to ``folder`` and return the path of the video.

    Existing files of the same settings are kept.  Both files appear under their names only when they are complete, the
    ground truth last.  Raises DataError if they cannot be written.
    """
    folder = Path(folder)
    video = folder / f"{name or f'arena_seed{settings.seed}'}.mp4"
    if _is_current(video, settings):
        return video
    try:
        with (
            writing(_truth_path(video), several_writers=True) as truth_file,  # renamed last
            replacing(video, several_writers=True) as temporary,
        ):
            truth = simulate(settings)
            _encode(render_frames(settings, truth), settings, temporary, video.name)
            _save_truth(truth, settings, truth_file)
            _truth_path(video).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"The rendered video {video} could not be written: {error}.",
            remedy="Choose a writable folder with enough free space (--data.root).",
        ) from error
    return video


def read_truth(path: Path | str) -> ArenaTruth:
    """Read the ground truth that :func:`write_arena` has written, given the path of the video or of the truth file.

    Raises DataError if it cannot be read.
    """
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
            f"{file} cannot be read as the ground truth of a rendered video ({error}).",
            remedy="Delete it; the video and its ground truth will then be rendered again.",
        ) from error


def _truth_path(video: Path) -> Path:
    stem = video.name.removesuffix(".truth.npz").removesuffix(".mp4")
    return video.with_name(f"{stem}.truth.npz")


def _fingerprint(settings: ArenaSettings) -> str:
    """Text that is stored with the ground truth, to recognise files of the same settings."""
    return json.dumps({"edition": EDITION, **asdict(settings)}, sort_keys=True)


def _is_current(video: Path, settings: ArenaSettings) -> bool:
    try:
        with np.load(_truth_path(video), allow_pickle=False) as stored:
            return video.is_file() and str(stored["settings"]) == _fingerprint(settings)
    except (OSError, KeyError, ValueError):
        return False


def _save_truth(truth: ArenaTruth, settings: ArenaSettings, file: BinaryIO) -> None:
    fields = dict(vars(truth))
    facts = {key: fields.pop(key) for key in list(fields) if not isinstance(fields[key], np.ndarray)}
    np.savez_compressed(file, **fields, facts=json.dumps(facts), settings=_fingerprint(settings))


def _encode(frames: Iterator[NDArray[np.uint8]], settings: ArenaSettings, path: Path, name: str) -> None:
    """Encode the frames as H.264 with a quality that preserves the sensor noise (crf 18)."""
    import av
    from tqdm import tqdm

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(settings.fps).limit_denominator(1001))
        stream.width = stream.height = settings.size
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for frame in tqdm(frames, name, settings.frames, leave=False, delay=2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _camera(settings: ArenaSettings) -> Floats:
    """Displacement (T, 2) of the image in pixels: a sum of a few sines per axis for shake, slower ones for drift."""
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
    """Behaviour (T, I) of midlines (T, I, N, 2), judged by what an observer would see.

    Where several apply, contact takes precedence over chase, chase over turn, and turn over pause or walk.
    """
    trunk = midline[:, :, NECK] - midline[:, :, BODY]
    heading = np.unwrap(np.arctan2(trunk[..., 1], trunk[..., 0]), axis=0)
    speed = np.linalg.norm(_rate(midline[:, :, CHEST], fps), axis=-1)
    labels = np.where(speed < MIN_WALKING_SPEED, PAUSE, WALK)
    labels[np.abs(_rate(heading, fps)) > MIN_TURN_RATE] = TURN
    labels[chasing] = CHASE
    labels[gap < TOUCH] = CONTACT
    return labels.astype(np.uint8)


def _rate(values: Floats, fps: float) -> Floats:
    """Change per second of values (T, ...), measured over about ``SMOOTHING_S`` seconds around each frame."""
    half = max(1, round(SMOOTHING_S * fps / 2))
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half, len(values) - 1)
    seconds = np.maximum(high - low, 1) / fps
    return np.asarray((values[high] - values[low]) / seconds.reshape((-1,) + (1,) * (values.ndim - 1)))


def _gaps(midline: Floats) -> Floats:
    """Distance (T, I), in image sides, of each trunk's outline to the nearest other one; midlines (T, I, N, 2)."""
    spline = spline_matrix(TRUNK, per_link=2)
    radii, samples = spline @ np.array(RADII), spline @ midline
    count = midline.shape[1]
    gap = np.full((len(midline), count), np.inf)
    for i in range(count):
        for j in range(count):
            if i != j:
                distance = signed_distance(samples[:, i], samples[:, j], radii) - radii
                nearest = distance.min(axis=1)[:, None]
                gap[:, [i, j]] = np.minimum(gap[:, [i, j]], nearest)
    return gap


def _visibility(midline: Floats, layer: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether no animal covers a keypoint, (T, I, K); a tail tip can also be covered by its own animal's trunk."""
    points, radii = keypoints(midline), np.array(RADII)
    trunk, tail = spline_matrix(TRUNK, per_link=2), spline_matrix(slice(TAIL_BASE, NODES), per_link=2)
    visible = np.ones(points.shape[:-1], dtype=bool)
    for j in range(midline.shape[1]):
        for part in (trunk, tail):
            flat = points.reshape(len(points), -1, 2)
            distance = signed_distance(flat, part @ midline[:, j], part @ radii).reshape(visible.shape)
            covers = np.repeat((layer[:, j, None] > layer)[..., None], len(KEYPOINT_NAMES), axis=2)
            covers[:, j, KEYPOINT_NAMES.index("tail_tip")] = part is trunk
            visible &= ~(covers & (distance < 0))
    return visible
