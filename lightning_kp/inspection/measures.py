"""Measures on a limited number of frames of a video what moves, how large and how fast, and what may disturb.

All limits are ours.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.errors import VideoError
from lightning_kp.geometry import place
from lightning_kp.inspection.absence import Absence, find_absences, find_missing
from lightning_kp.inspection.bodies import find_bodies, without_needless_channels
from lightning_kp.inspection.counting import AnimalCount, count_animals
from lightning_kp.inspection.shake import MAX_SHAKE, camera_shift
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.background import sampled_background
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoInfo, VideoWarning

REDUCED_PX = 256  # longer side of the reduced frames: a fly in a 1000 px frame keeps 15 px
BURST = 24  # neighbouring frames kept together, so that steps over several frames can be measured
COUNTED = 300  # frames at most in which animals are counted
BURSTS = 14  # number of bursts, spread over the video
SINGLES = 240  # further frames, so that no part of the arena is missed; the 576 frames in all take 113 MB
LAGS = (1, 2, 4, 8, 16)  # frames; the shortest over which animals clearly move is used
CLEAR_STEP = 0.15  # animal sizes: a shorter step may be a change of the outline
CLEAR_STEP_PX = 1.5  # reduced pixels: centres of tiny regions jump by one
UNUSUAL_AREA = (
    4.0  # times the usual area of the largest region: a hand, a door, a light; two touching animals make 2
)
COMMON_SHARE = 0.1  # share of the frames above which something large is not unusual
MIN_REGION_SHARE = 0.3  # of the largest region's area: smaller regions are body parts, shadows, or dust
LIVELY_QUANTILE = (
    0.75  # quantile of speed: animals often rest, but learning needs the time in which they move
)

Floats = NDArray[np.float64]
Box = tuple[int, int, int, int]


class Sampled(NamedTuple):
    """Reduced frames of a video, in bursts.

    Attributes:
        info: What is known about the video.
        images: (T, h, w, 3), uint8, the longer side ``REDUCED_PX``.
        number: (T,), frame numbers.
        time_s: (T,), presentation times in seconds.
        decoded: Number of frames that were decoded.
        is_whole: Whether decoding reached the end of the video.
        scale: Original pixels per reduced pixel.
    """

    info: VideoInfo
    images: fg.Images
    number: NDArray[np.int64]
    time_s: Floats
    decoded: int
    is_whole: bool
    scale: float


class Region(NamedTuple):
    """A connected moving region in reduced pixels: area, centre (x, y)."""

    area: float
    centre: Floats


@dataclass(frozen=True, eq=False)
class Measured:
    """Measurements on one video; lengths ``_px`` are in original pixels, brightness in grey levels (0 to 255).

    Attributes:
        count: How many animals there are, how sure that is, whether they look alike, and how often they touch.
        size_px: Size of the animal: side of a square with the area of the largest moving region.
        speed: Upper quartile of the speed, in animal sizes per second; NaN if nothing moves.
        covered: Mean share of the frame that is foreground.
        regions: Mean number of moving regions, small ones included.
        unusual: Share of frames with something much larger than usual; they are left out of all other measurements.
        noise: Standard deviation of the sensor noise.
        flicker: Range of the brightness of the whole frame (1 % to 99 % quantile).
        shake_px: Camera movement in the worst tenth of the frames.
        box: (left, top, right, bottom) around all that moves, in original pixels; None if nothing moves.
        background: (h, w, 3), what the reduced frames show where no animal is.
        occupancy: (h, w), share of frames in which a pixel is foreground.
        motion: (T,), share of each frame that differs from the background.
        time_s: (T,), times of these frames in seconds.
        steps: (M,), measured displacements in animal sizes per frame.
        absences: Stretches of time in which not all animals are found.
    """

    count: AnimalCount
    size_px: float
    speed: float
    covered: float
    regions: float
    unusual: float
    noise: float
    flicker: float
    shake_px: float
    box: Box | None
    background: fg.Images
    occupancy: Floats
    motion: Floats
    time_s: Floats
    steps: Floats
    absences: tuple[Absence, ...] = ()


def sample(
    path: str | Path, *, frames: int = 3000, progress: Callable[[int], object] | None = None
) -> Sampled:
    """Decode up to ``frames`` frames in sequence and keep bursts of reduced frames, spread evenly over them.

    ``progress`` is called with 1 for every decoded frame.  Raises VideoError if the video cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VideoWarning)  # the inspection reports them itself
        with open_video(path) as reader:
            info = reader.info
            expected = info.n_frames or round((info.duration_s or 0) * info.fps) or frames
            wanted = _burst_frames(min(expected, frames))
            placement = place(info.frame_size, REDUCED_PX)
            (height, width), (top, left) = placement.content, placement.offset
            kept: list[fg.Images] = []
            numbers, times, decoded, is_whole = [], [], 0, True
            for frame in reader.decode():
                if decoded == frames:
                    is_whole = False
                    break
                decoded += 1
                if progress is not None:
                    progress(1)
                if frame.index in wanted:
                    kept.append(frame.prepared(placement)[top : top + height, left : left + width])
                    numbers.append(frame.index)
                    times.append(frame.time_s)
            # The counted number is more reliable than the container's.
            info = replace(reader.info, n_frames=decoded) if is_whole else reader.info
    if not kept:
        raise VideoError(f"{path}: no frame could be examined.", remedy="Convert the video again.")
    scale = max(info.frame_size) / REDUCED_PX
    return Sampled(info, np.stack(kept), np.array(numbers), np.array(times), decoded, is_whole, scale)


def _burst_frames(count: int) -> frozenset[int]:
    """Numbers of the frames to keep out of the first ``count``."""
    if count <= BURST * BURSTS + SINGLES:
        return frozenset(range(count))
    starts = np.linspace(0, count - BURST, BURSTS).round().astype(int)
    singles = np.linspace(0, count - 1, SINGLES).round().astype(int)
    return frozenset((starts[:, None] + np.arange(BURST)).ravel().tolist() + singles.tolist())


def measure(sampled: Sampled) -> Measured:
    """Measure what moves in the sampled frames of one video, and what may disturb discovery."""
    images = without_needless_channels(sampled.images)
    colours = sampled_background(images)
    grey, background = _grey(images), _grey(colours)
    change = fg.changes(images, colours)  # in colours: a brown coat may be as light as the floor
    masks = fg.changed(change)
    regions = [_regions(mask) for mask in masks]
    usual = _is_usual(regions)
    masks[~usual] = False
    regions = [each if keep else [] for each, keep in zip(regions, usual, strict=True)]
    things = [_large_regions(each) for each in regions]
    size = float(np.median([np.sqrt(each[0].area) for each in things if each] or [np.nan]))
    steps = _steps(things, sampled.number, size)
    brightness = np.quantile(change.brightness[usual], (0.01, 0.99))
    occupancy = masks[usual].mean(axis=0)
    shake = camera_shift(grey[..., 0], background[..., 0])
    rows = np.flatnonzero(usual)
    rows = rows[:: -(-len(rows) // COUNTED)]
    bodies = find_bodies(masks[rows], images[rows], colours, size)
    count, shown = count_animals(bodies, colours, is_steady=shake <= MAX_SHAKE * REDUCED_PX)
    if count.moving == 1:
        absences = find_absences(change, grey, background, sampled.number, sampled.time_s)
    else:
        frame_size = (masks.shape[1], masks.shape[2])
        absences = find_missing(bodies, shown, count.moving, sampled.time_s[rows], frame_size)
    return Measured(
        count=count,
        size_px=size * sampled.scale,
        speed=float(np.quantile(steps, LIVELY_QUANTILE)) * sampled.info.fps if len(steps) else float("nan"),
        covered=float(masks[usual].mean()),
        regions=float(np.mean([len(each) for each in regions])),
        unusual=float(1 - usual.mean()),
        noise=change.noise,
        flicker=float(brightness[1] - brightness[0]),
        shake_px=shake * sampled.scale,
        box=_box(occupancy, len(masks), size, sampled),
        background=np.broadcast_to(colours, (*colours.shape[:2], 3)),
        occupancy=occupancy,
        motion=(change.magnitude > change.threshold).mean(axis=(1, 2)),
        time_s=sampled.time_s,
        steps=steps,
        absences=absences,
    )


def _grey(images: fg.Images) -> fg.Images:
    """Mean of the channels of images (..., C): (..., 1)."""
    return np.asarray(images.sum(axis=-1, keepdims=True, dtype=np.uint16) // images.shape[-1], dtype=np.uint8)


def _regions(mask: fg.Masks) -> list[Region]:
    """Connected regions of a mask (h, w), the largest first."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return []
    numbers = np.arange(1, count + 1)
    area = np.bincount(labels.ravel())[1:]
    centres = np.asarray(ndimage.center_of_mass(mask, labels, numbers))[:, ::-1]
    order = np.argsort(-area, kind="stable")
    return [Region(float(area[each]), centres[each]) for each in order]


def _is_usual(regions: list[list[Region]]) -> fg.Masks:
    """Whether each frame (T,) is free of something much larger than usual, unless that is frequent."""
    areas = np.array([each[0].area if each else 0.0 for each in regions])
    limit = UNUSUAL_AREA * float(np.median(areas[areas > 0])) if (areas > 0).any() else np.inf
    is_unusual = areas > limit
    return np.asarray(~is_unusual if is_unusual.mean() < COMMON_SHARE else areas >= 0, dtype=np.bool_)


def _large_regions(regions: list[Region]) -> list[Region]:
    return [region for region in regions if region.area >= MIN_REGION_SHARE * regions[0].area]


def _steps(things: list[list[Region]], index: NDArray[np.int64], size: float) -> Floats:
    """Displacements in animal sizes per frame (M,): from each region to the nearest one a few frames later.

    Uses the shortest lag over which the upper quartile clearly moves, because after a long lag the nearest region
    may be another animal.
    """
    per_frame = np.zeros(0)
    for lag in LAGS:
        pairs = np.flatnonzero(index[lag:] - index[:-lag] == lag)
        distances = [
            min(float(np.linalg.norm(here.centre - there.centre)) for there in things[pair + lag])
            for pair in pairs
            if things[pair + lag]
            for here in things[pair]
        ]
        if not distances:
            break
        per_frame = np.asarray(distances) / (size * lag)
        if np.quantile(per_frame, LIVELY_QUANTILE) * lag >= max(CLEAR_STEP, CLEAR_STEP_PX / size):
            break
    return per_frame


def _box(occupancy: Floats, count: int, size: float, sampled: Sampled) -> Box | None:
    """Box (left, top, right, bottom) in original pixels around all that moves, with one animal size of margin."""
    seen = occupancy >= max(2 / count, 0.002)
    if not seen.any():
        return None
    height, width = sampled.info.frame_size
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    margin = max(
        size, 0.03 * max(occupancy.shape)
    )  # animals go a little farther in the frames between the sampled ones
    left, right = (columns[0] - margin) * sampled.scale, (columns[-1] + 1 + margin) * sampled.scale
    top, bottom = (rows[0] - margin) * sampled.scale, (rows[-1] + 1 + margin) * sampled.scale
    return (
        max(0, int(left)), max(0, int(top)), min(width, int(np.ceil(right))), min(height, int(np.ceil(bottom))),
    )  # fmt: skip
