"""How the synthetic arena looks: anti-aliased pictures of the animals on a textured floor (numpy only).

Every animal is a chain of capsules with changing radius.  Around each link a small patch of signed
distances is computed and the patches are merged, so that the cost follows the animal and not the
picture.  The position along and across the body selects the coat's colour, which therefore moves
with the animal.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import (
    EAR_RADIUS,
    HEAD,
    RADII,
    SNOUT,
    TAIL_BASE,
    TRUNK,
    WALL,
    ArenaSettings,
    ArenaTruth,
    Floats,
    ears,
    head_direction,
    spline_matrix,
)

TRUNK_SPLINE = spline_matrix(TRUNK, per_link=2)
TAIL_SPLINE = spline_matrix(slice(TAIL_BASE, len(RADII)), per_link=2)
FUR_ALONG, FUR_ACROSS = 160, 33  # resolution of a coat's texture
PINK = (196.0, 142.0, 132.0)
SHADOW_DIRECTION = (0.78125, 0.625)  # (y, x), of length 1
Picture = NDArray[np.float32]


class Coat(NamedTuple):
    """Colours (R, G, B in 0..255) of an animal: head end, tail end, tail, and depth of the fur's streaks."""

    head: tuple[float, float, float]
    rump: tuple[float, float, float]
    tail: tuple[float, float, float]
    streaks: float


COAT_COLOURS = {
    "black": Coat((62, 56, 54), (26, 24, 26), (92, 78, 76), 0.16),
    "brown": Coat((226, 192, 146), (176, 126, 78), (206, 164, 142), 0.11),
    "white": Coat((240, 236, 228), (212, 206, 196), (214, 178, 168), 0.06),
    "russet": Coat((168, 92, 54), (122, 56, 30), (176, 130, 112), 0.12),
}


class Field(NamedTuple):
    """A window (h, w) of the picture around a chain of links.

    ``distance``: signed, in pixels, negative inside, a large number far away; ``along``: position on
    the chain from 0 to 1; ``across``: from -1 (left edge) over 0 (midline) to 1.
    """

    window: tuple[slice, slice]
    distance: Picture
    along: Picture
    across: Picture


def render_frames(settings: ArenaSettings, truth: ArenaTruth) -> Iterator[NDArray[np.uint8]]:
    """The frames (H, W, 3), RGB: a function of the settings and of what the truth says, frame by frame."""
    size, pad = settings.size, _padding(settings)
    floor = arena_floor(settings, pad)
    furs = [fur(settings.seed if settings.look_alike else settings.seed + i) for i in range(settings.animals)]
    brightness = flicker(settings)
    for t in range(len(truth.midline_px)):
        picture = _shifted(floor, truth.camera_px[t], pad)
        for i in np.argsort(truth.layer[t], kind="stable"):
            midline = np.asarray(truth.midline_px[t, i], dtype=np.float64) + pad
            draw_animal(picture, midline, COAT_COLOURS[truth.coats[i]], furs[i], settings)
        frame = picture[pad : pad + size, pad : pad + size] * brightness[t]
        if settings.noise:
            grain = np.random.default_rng((settings.seed, 4, t)).standard_normal((size, size, 1), np.float32)
            frame += grain * np.float32(255 * settings.noise)
        frame += np.float32(0.5)
        yield np.clip(frame, 0, 255, out=frame).astype(np.uint8)


def flicker(settings: ArenaSettings) -> Picture:
    """Brightness of each frame (T): mains hum against the frame rate, and slow drift."""
    rng = np.random.default_rng((settings.seed, 3))
    hum, drift = rng.uniform(0, 2 * np.pi, 2)
    clock = np.arange(settings.frames) / settings.fps
    wave = np.sin(2 * np.pi * 3.7 * clock + hum) + np.sin(2 * np.pi * 0.31 * clock + drift)
    return np.asarray(1 + settings.flicker * wave, dtype=np.float32)


def arena_floor(settings: ArenaSettings, pad: int) -> Picture:
    """The empty arena with a margin of ``pad`` pixels: bedding on the floor, walls with a light rim."""
    rng = np.random.default_rng((settings.seed, 2))
    side = settings.size + 2 * pad
    position = (np.arange(side) + 0.5 - pad) / settings.size
    edge = np.minimum(position, 1 - position)
    depth = np.minimum(edge[:, None], edge[None, :]) - WALL  # negative on the wall
    texture = sum(
        weight * _smooth_noise(rng, side, max(2, round(side * scale)))
        for weight, scale in ((9.0, 0.05), (7.0, 0.14), (6.0, 0.45))
    )
    floor = np.array((134.0, 128.0, 116.0)) + np.asarray(texture)[..., None] * (1.0, 0.95, 0.8)
    floor *= (0.80 + 0.20 * np.clip(depth / 0.05, 0, 1))[..., None]  # the walls' shade
    wall = np.array((98.0, 102.0, 108.0)) + 4 * _smooth_noise(rng, side, side // 3)[..., None]
    wall = wall + 46 * np.exp(-(((depth + WALL * 0.75) / 0.012) ** 2))[..., None]
    mix = np.clip(depth * settings.size + 0.5, 0, 1)[..., None]
    return np.asarray(floor * mix + wall * (1 - mix), dtype=np.float32)


def fur(seed: int) -> Picture:
    """A coat's texture (along, across), about -1 to 1: streaks along the body, a darker back."""
    rng = np.random.default_rng((seed, 5))
    streaks = rng.standard_normal((FUR_ALONG, FUR_ACROSS))
    kernel = np.hanning(13)[1:-1]
    streaks = np.apply_along_axis(np.convolve, 0, streaks, kernel / kernel.sum(), "same")
    streaks += 0.4 * rng.standard_normal((FUR_ALONG, 1)) * np.ones((1, FUR_ACROSS))
    streaks /= streaks.std() * 1.5
    back = np.exp(-((np.linspace(-1, 1, FUR_ACROSS) / 0.3) ** 2))
    return (streaks - 0.8 * back).astype(np.float32)


def chain_field(samples: Floats, radii: Floats, margin: float) -> Field:
    """Signed distance of every pixel near a chain of samples (S, 2) in pixels with their radii (S)."""
    links = np.diff(samples, axis=0)
    middle = samples[:-1] + links / 2
    reach = int(np.ceil(np.linalg.norm(links, axis=1).max() / 2 + radii.max() + margin)) + 1
    corner = np.round(middle).astype(int) - reach  # (S-1, 2) as x, y
    steps = np.arange(2 * reach + 1)
    x = (corner[:, :1] + steps - samples[:-1, :1])[:, None, :].astype(np.float32)
    y = (corner[:, 1:] + steps - samples[:-1, 1:])[:, :, None].astype(np.float32)
    dx, dy = (links[:, k, None, None].astype(np.float32) for k in (0, 1))
    length2 = np.maximum(dx * dx + dy * dy, np.float32(1e-6))
    t = np.clip((x * dx + y * dy) / length2, 0, 1)
    start, growth = (a[:, None, None].astype(np.float32) for a in (radii[:-1], np.diff(radii)))
    radius = start + t * growth
    distance = np.hypot(x - t * dx, y - t * dy) - radius
    across = (y * dx - x * dy) / (np.sqrt(length2) * radius)
    along = (t + np.arange(len(links), dtype=np.float32)[:, None, None]) / np.float32(len(links))
    return _merge(corner, distance, along, across)


def _merge(corner: NDArray[np.int64], *patches: NDArray[Any]) -> Field:
    """Patches (S, n, n) at their corners -> one window that holds the nearest link's values everywhere."""
    n = patches[0].shape[1]
    left, top = corner.min(axis=0)
    width, height = corner.max(axis=0) + n - (left, top)
    merged = [np.full((height, width), fill, dtype=np.float32) for fill in (1e3, 0.0, 0.0)]
    for s, (column, row) in enumerate((corner - (left, top)).tolist()):
        here = slice(row, row + n), slice(column, column + n)
        nearer = patches[0][s] < merged[0][here]
        for whole, patch in zip(merged, patches, strict=True):
            np.copyto(whole[here], patch[s], where=nearer)
    return Field((slice(top, top + height), slice(left, left + width)), *merged)


def draw_animal(
    picture: Picture, midline: Floats, coat: Coat, texture: Picture, settings: ArenaSettings
) -> None:
    """Draw one animal with its midline (N, 2) in pixels of the padded picture, tail first, face last."""
    size, radii = settings.size, np.array(RADII) * settings.size
    blur = 0.022 * size if settings.shadow else 1.0
    trunk = chain_field(TRUNK_SPLINE @ midline, np.maximum(TRUNK_SPLINE @ radii, 0.5), blur)
    tail_radii = np.maximum(TAIL_SPLINE @ radii, 0.5)
    tail_radii[:2] = np.minimum(tail_radii[:2], tail_radii[2])  # the rump belongs to the trunk
    tail = chain_field(TAIL_SPLINE @ midline, tail_radii, 1.0)
    if settings.shadow:
        _cast_shadow(picture, trunk, size, settings.shadow_reach)
    _blend(picture[tail.window], _coverage(tail.distance), _lit(tail, np.array(coat.tail), 0.7))
    colour = _fur_colour(trunk, coat, texture)
    _blend(picture[trunk.window], _coverage(trunk.distance), _lit(trunk, colour, 0.62))
    _draw_face(picture, midline, coat, size)


def _draw_face(picture: Picture, midline: Floats, coat: Coat, size: int) -> None:
    forward = head_direction(midline)
    left = np.array((forward[1], -forward[0]))
    rim, inner = np.array(coat.head) * 0.72, np.array(coat.head) * 0.45 + np.array(PINK) * 0.5
    for ear in ears(midline / size) * size:
        _draw_disc(picture, ear, EAR_RADIUS * size, rim)
        _draw_disc(picture, ear + 0.003 * size * forward, EAR_RADIUS * 0.66 * size, inner)
    for side in (left, -left):
        eye = midline[HEAD] + size * (0.019 * forward + 0.017 * side)
        _draw_disc(picture, eye, max(0.6, 0.0062 * size), np.array((12.0, 10.0, 12.0)))
    _draw_disc(picture, midline[SNOUT] + 0.005 * size * forward, 0.0075 * size, np.array(PINK))


def _fur_colour(field: Field, coat: Coat, texture: Picture) -> Picture:
    """Colour (h, w, 3) of the coat: from the head's to the rump's, with streaks of fur."""
    rows = (field.along * np.float32(FUR_ALONG - 1)).astype(np.intp)
    columns = ((np.clip(field.across, -1, 1) + 1) * np.float32((FUR_ACROSS - 1) / 2)).astype(np.intp)
    streaks = 1 + np.float32(coat.streaks) * texture[rows, columns]
    head, rump = np.array(coat.head, dtype=np.float32), np.array(coat.rump, dtype=np.float32)
    mix = np.clip((field.along - np.float32(0.2)) / np.float32(0.35), 0, 1)
    return np.asarray((head + (rump - head) * mix[..., None]) * streaks[..., None])


def _lit(field: Field, colour: NDArray[Any], edge: float) -> Picture:
    """Shade a colour like a round body under a lamp: 1 on the back, ``edge`` at the outline."""
    height = 1 - np.clip(np.abs(field.across), 0, 1) ** 2
    light = np.float32(edge) + np.float32(1 - edge) * np.sqrt(height)
    return np.asarray(light[..., None] * colour.astype(np.float32))


def _draw_disc(picture: Picture, centre: Floats, radius: float, colour: Floats) -> None:
    x, y = centre
    reach = int(radius) + 2
    left, top = round(x) - reach, round(y) - reach
    steps = np.arange(2 * reach + 1)
    distance = np.hypot(steps[None, :] + left - x, steps[:, None] + top - y) - radius
    window = slice(top, top + 2 * reach + 1), slice(left, left + 2 * reach + 1)
    _blend(picture[window], _coverage(distance.astype(np.float32)), colour.astype(np.float32))


def _coverage(distance: Picture) -> Picture:
    """How much of each pixel lies inside an outline at this signed distance in pixels."""
    return np.asarray(np.clip(np.float32(0.5) - distance, 0, 1))


def _blend(picture: Picture, coverage: Picture, colour: Picture) -> None:
    picture += coverage[..., None] * (colour - picture)


def _cast_shadow(picture: Picture, field: Field, size: int, reach: float) -> None:
    """Darken what lies beside the animal, away from the lamp, with soft edges."""
    shift = [round(part * reach * size) for part in SHADOW_DIRECTION]
    softness = np.float32(0.02 * size)
    shade = np.clip(np.float32(0.5) - field.distance / softness, 0, 1)
    window = tuple(slice(w.start + by, w.stop + by) for w, by in zip(field.window, shift, strict=True))
    picture[window] *= (1 - np.float32(0.5) * shade)[..., None]


def _shifted(floor: Picture, by: Floats, pad: int) -> Picture:
    """The empty arena displaced by a part of a pixel and more: bilinear, edges repeated by the margin."""
    if not by.any():
        return floor.copy()
    whole = np.floor(by).astype(int)
    right, down = (by - whole).astype(np.float32)
    moved = np.roll(floor, (whole[1], whole[0]), axis=(0, 1))
    moved = moved + right * (np.roll(moved, 1, axis=1) - moved)
    return np.asarray(moved + down * (np.roll(moved, 1, axis=0) - moved))


def _padding(settings: ArenaSettings) -> int:
    """Margin in pixels that keeps every patch inside the padded picture."""
    return int(np.ceil(0.16 * settings.size + 8 * settings.shake + 3 * settings.drift)) + 8


def _smooth_noise(rng: np.random.Generator, side: int, cells: int) -> Floats:
    """Noise (side, side) of unit variance, interpolated between ``cells`` random values per axis."""
    coarse = rng.standard_normal((cells + 1, cells + 1))
    at = np.linspace(0, cells - 1e-6, side)
    low = at.astype(int)
    part = at - low
    part = part * part * (3 - 2 * part)
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    smooth = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return np.asarray(smooth / smooth.std())
