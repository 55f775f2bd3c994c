"""Look at a bounded number of frames of a video and measure what moves, how large, how fast, and what disturbs."""

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
from lightning_kp.motion import foreground as fg
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoInfo, VideoWarning

LOOKED_AT_PX = 256  # longest side at which frames are looked at: a fly of a 1000 px frame keeps 15 px
BURST = 24  # neighbouring frames kept together, so that steps over several frames can be measured
BURSTS = 14  # spread over the video
SINGLES = 240  # frames kept besides, so that no place an animal visits is missed; 576 in all take 113 MB
LAGS = (1, 2, 4, 8, 16)  # frames; the shortest over which things clearly move is used
CLEAR_STEP = 0.15  # of a thing's size: less is within the wobble of its outline
CLEAR_STEP_PX = 1.5  # small pixels: centres of tiny regions jump by one
UNUSUAL = 4.0  # times the usual area of the largest region: a hand, a door, a light; two that touch make 2
OFTEN = 0.1  # of the frames; what appears as often is no exception
THING_SHARE = 0.3  # of the largest region's area: smaller regions are parts, shadows, or dust
SHAKE_FRAMES = 60  # frames compared with the background for camera movement
SHAKE_GAIN = 0.7  # a true shift, undone, leaves less than this share of the difference at edges
LARGEST_SHAKE = 16  # pixels of the small image
LIVELY = 0.75  # quantile of speed: animals rest much of the time, learning needs the time they do not

Floats = NDArray[np.float64]
Box = tuple[int, int, int, int]


class Sampled(NamedTuple):
    """Small frames (T, h, w, 3) in bursts, their numbers and times, and how far the video was read.

    ``scale`` is original pixels per pixel of the small frames; ``is_whole`` says that decoding reached the end.
    """

    info: VideoInfo
    images: fg.Images
    number: NDArray[np.int64]
    time_s: Floats
    decoded: int
    is_whole: bool
    scale: float


class Region(NamedTuple):
    """A connected moving region in small pixels: area, centre (x, y), mean grey value."""

    area: float
    centre: Floats
    grey: float


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on one video; lengths ``_px`` in original pixels, brightness in grey levels (0-255).

    ``things`` is the usual number of moving regions, ``size_px`` the side of a square as large as
    the largest, ``speed`` in sizes per second in the livelier quarter of the time (NaN if nothing
    moves), ``alike`` the share of frames in which the two largest look alike, ``covered`` the mean
    share of the picture that is not background, ``regions`` their mean number, small ones included;
    ``unusual`` the share of frames with something far larger than usual, left out of all the rest.
    For pictures: ``background`` (h, w, 3), ``occupancy`` (h, w) share of frames in which a pixel is
    not background, ``motion`` (T,) share of the picture that is not background, at ``time_s``,
    ``steps`` the measured displacements in sizes per frame.
    """

    things: int
    size_px: float
    speed: float
    alike: float
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


def sample(
    path: str | Path, *, frames: int = 3000, progress: Callable[[int], object] | None = None
) -> Sampled:
    """Decode up to ``frames`` frames in sequence and keep bursts of small ones, spread evenly over them.

    ``progress`` is called with 1 for every decoded frame.  Raises VideoError for an unreadable video.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VideoWarning)  # the inspection reports them itself
        with open_video(path) as reader:
            info = reader.info
            expected = info.n_frames or round((info.duration_s or 0) * info.fps) or frames
            wanted = _burst_frames(min(expected, frames))
            placement = place(info.frame_size, LOOKED_AT_PX)
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
            # What was counted is surer than what the container claims.
            info = replace(reader.info, n_frames=decoded) if is_whole else reader.info
    if not kept:
        raise VideoError(f"{path}: no frame could be looked at.", remedy="Convert the video again.")
    scale = max(info.frame_size) / LOOKED_AT_PX
    return Sampled(info, np.stack(kept), np.array(numbers), np.array(times), decoded, is_whole, scale)


def _burst_frames(count: int) -> frozenset[int]:
    """Numbers of the frames to keep out of ``count``."""
    if count <= BURST * BURSTS + SINGLES:
        return frozenset(range(count))
    starts = np.linspace(0, count - BURST, BURSTS).round().astype(int)
    singles = np.linspace(0, count - 1, SINGLES).round().astype(int)
    return frozenset((starts[:, None] + np.arange(BURST)).ravel().tolist() + singles.tolist())


def measure(sampled: Sampled) -> Measured:
    """Measure the sampled frames of one video."""
    grey = (sampled.images.sum(axis=-1, keepdims=True, dtype=np.uint16) // 3).astype(np.uint8)
    background = fg.median_background(grey)
    change = fg.changes(grey, background)
    masks = fg.changed(change)
    regions = [_regions(mask, image) for mask, image in zip(masks, grey[..., 0], strict=True)]
    usual = _usual(regions)
    masks[~usual] = False
    regions = [each if keep else [] for each, keep in zip(regions, usual, strict=True)]
    things = [_large(each) for each in regions]
    size = float(np.median([np.sqrt(each[0].area) for each in things if each] or [np.nan]))
    steps = _steps(things, sampled.number, size)
    brightness = np.quantile(change.brightness[usual], (0.01, 0.99))
    occupancy = masks[usual].mean(axis=0)
    return Measured(
        things=round(float(np.median([len(each) for each in things if each] or [0]))),
        size_px=size * sampled.scale,
        speed=float(np.quantile(steps, LIVELY)) * sampled.info.fps if len(steps) else float("nan"),
        alike=float(np.mean([_look_alike(each) for each in things])),
        covered=float(masks[usual].mean()),
        regions=float(np.mean([len(each) for each in regions])),
        unusual=float(1 - usual.mean()),
        noise=change.noise,
        flicker=float(brightness[1] - brightness[0]),
        shake_px=_shake(grey[..., 0], background[..., 0]) * sampled.scale,
        box=_box(occupancy, len(masks), size, sampled),
        background=fg.median_background(sampled.images),
        occupancy=occupancy,
        motion=(change.magnitude > change.threshold).mean(axis=(1, 2)),
        time_s=sampled.time_s,
        steps=steps,
    )


def _regions(mask: fg.Masks, grey: NDArray[np.uint8]) -> list[Region]:
    """Connected regions of a mask (h, w), the largest first."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return []
    numbers = np.arange(1, count + 1)
    area = np.bincount(labels.ravel())[1:]
    centres = np.asarray(ndimage.center_of_mass(mask, labels, numbers))[:, ::-1]
    greys = np.asarray(ndimage.mean(grey, labels, numbers))
    order = np.argsort(-area, kind="stable")
    return [Region(float(area[each]), centres[each], float(greys[each])) for each in order]


def _usual(regions: list[list[Region]]) -> fg.Masks:
    """Frames (T,) without something far larger than is usual in this video, unless that is frequent."""
    areas = np.array([each[0].area if each else 0.0 for each in regions])
    limit = UNUSUAL * float(np.median(areas[areas > 0])) if (areas > 0).any() else np.inf
    exceptional = areas > limit
    return np.asarray(~exceptional if exceptional.mean() < OFTEN else areas >= 0, dtype=np.bool_)


def _large(regions: list[Region]) -> list[Region]:
    return [region for region in regions if region.area >= THING_SHARE * regions[0].area]


def _look_alike(things: list[Region]) -> bool:
    """Whether the two largest regions could be taken for one another: areas within 2, similar grey."""
    if len(things) < 2:
        return False
    first, second = things[:2]
    return second.area > first.area / 2 and abs(first.grey - second.grey) < 25


def _steps(things: list[list[Region]], index: NDArray[np.int64], size: float) -> Floats:
    """How far things move per frame, in sizes: from each region to the nearest one a few frames later.

    The shortest lag over which the livelier quarter clearly moves is used, as the nearest region
    may be another animal's after a long one.
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
        if np.quantile(per_frame, LIVELY) * lag >= max(CLEAR_STEP, CLEAR_STEP_PX / size):
            break
    return per_frame


def _shake(images: NDArray[np.uint8], background: NDArray[np.uint8]) -> float:
    """How far the picture is shifted against its background in the worst tenth of the frames, small pixels."""
    chosen = np.unique(np.linspace(0, len(images) - 1, SHAKE_FRAMES).round().astype(int))
    lengths = [_true_shift(images[each], background) for each in chosen]
    return float(np.quantile(lengths, 0.9))


def _true_shift(image: NDArray[np.uint8], background: NDArray[np.uint8]) -> float:
    """Length of the shift, or 0 if undoing it does not make the background's edges fit: then an animal moved."""
    x, y = shift_between(image, background)
    edges = ndimage.gaussian_gradient_magnitude(background.astype(np.float32), 1.0)
    edges = edges >= np.quantile(edges, 0.9)
    undone = ndimage.shift(image.astype(np.float32), (-y, -x), order=1, mode="nearest")
    # Clipped, so that an animal, which differs by much in few places, does not decide.
    before, after = (
        np.abs(each[edges] - background[edges]).clip(0, 30).mean() for each in (image * 1.0, undone)
    )
    return float(np.hypot(x, y)) if after < SHAKE_GAIN * before else 0.0


def shift_between(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Floats:
    """(x, y) by which ``image`` is shifted against ``reference`` (h, w), by phase correlation, to about 0.1 px."""
    height, width = reference.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectra = [np.fft.rfft2((each - each.mean()) * window) for each in (image, reference)]
    cross = spectra[0] * np.conj(spectra[1])
    # Noise fills the high frequencies; a Gaussian of one pixel keeps what a camera resolves.
    frequency = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width) ** 2
    smooth = np.exp(-2 * np.pi**2 * frequency)
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9) * smooth, s=(height, width))
    reach = min(LARGEST_SHAKE, (min(height, width) - 3) // 2)
    near = np.roll(surface, (reach + 1, reach + 1), axis=(0, 1))[: 2 * reach + 3, : 2 * reach + 3]
    row, column = np.unravel_index(np.argmax(near[1:-1, 1:-1]), (2 * reach + 1, 2 * reach + 1))
    y = row - reach + _vertex(near[row : row + 3, column + 1])
    x = column - reach + _vertex(near[row + 1, column : column + 3])
    return np.array((x, y))


def _vertex(values: Floats) -> float:
    """Where a parabola through three values at -1, 0, 1 has its summit."""
    before, middle, after = values
    bend = before - 2 * middle + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


def _box(occupancy: Floats, count: int, size: float, sampled: Sampled) -> Box | None:
    """Rectangle (left, top, right, bottom in original pixels) around all that moves, one size of margin."""
    seen = occupancy >= max(2 / count, 0.002)
    if not seen.any():
        return None
    height, width = sampled.info.frame_size
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    margin = max(size, 0.03 * max(occupancy.shape))  # the frames between those looked at go a little farther
    left, right = (columns[0] - margin) * sampled.scale, (columns[-1] + 1 + margin) * sampled.scale
    top, bottom = (rows[0] - margin) * sampled.scale, (rows[-1] + 1 + margin) * sampled.scale
    return (
        max(0, int(left)), max(0, int(top)), min(width, int(np.ceil(right))), min(height, int(np.ceil(bottom))),
    )  # fmt: skip
