"""Rendering of the arena: anti-aliased images of the animals on a textured floor (NumPy only).

An animal is a chain of capsules of varying radius.  Signed distances are computed in a small patch around each link,
and the patches are merged, so that the cost depends on the size of the animal and not of the image.  The position
along and across the body selects the colour of the coat, which therefore moves with the animal.
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
    to_sides,
)

TRUNK_SPLINE = spline_matrix(TRUNK, per_link=2)
TAIL_SPLINE = spline_matrix(slice(TAIL_BASE, len(RADII)), per_link=2)
FUR_ALONG, FUR_ACROSS = 160, 33  # resolution of a coat's texture along and across the body
PINK = (196.0, 142.0, 132.0)
SHADOW_DIRECTION = (0.78125, 0.625)  # (y, x), about a unit vector
FloatImage = NDArray[np.float32]


class Coat(NamedTuple):
    """Colours of an animal, (R, G, B) from 0 to 255, and contrast of the streaks in its fur, relative to 1."""

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
    """Position of each pixel of a ``window`` (h, w) of the image relative to a chain of links.

    ``distance`` (h, w): signed distance to the outline in pixels, negative inside, a large number far away.
    ``along`` (h, w): position along the chain, from 0 at its start to 1 at its end.  ``across`` (h, w): position across
    it, -1 at the left edge, 0 on the midline and 1 at the right edge.
    """

    window: tuple[slice, slice]
    distance: FloatImage
    along: FloatImage
    across: FloatImage


def render_frames(settings: ArenaSettings, truth: ArenaTruth) -> Iterator[NDArray[np.uint8]]:
    """Render the frames (H, W, 3), RGB, uint8, one by one, from the settings and the ground truth of each frame."""
    size, pad = settings.size, _padding(settings)
    floor = arena_floor(settings, pad)
    furs = [fur(settings.seed if settings.look_alike else settings.seed + i) for i in range(settings.animals)]
    brightness = flicker(settings)
    for t in range(len(truth.midline_px)):
        canvas = _shifted(floor, truth.camera_px[t])
        for i in np.argsort(truth.layer[t], kind="stable"):
            midline = np.asarray(truth.midline_px[t, i], dtype=np.float64) + pad
            draw_animal(canvas, midline, COAT_COLOURS[truth.coats[i]], furs[i], settings)
        frame = canvas[pad : pad + size, pad : pad + size] * brightness[t]
        if settings.noise:
            grain = np.random.default_rng((settings.seed, 4, t)).standard_normal((size, size, 1), np.float32)
            frame += grain * np.float32(255 * settings.noise)
        frame += np.float32(0.5)
        yield np.clip(frame, 0, 255, out=frame).astype(np.uint8)


def flicker(settings: ArenaSettings) -> FloatImage:
    """Brightness (T,) of each frame, 1 on average: flicker of mains-powered lamps, and a slow variation."""
    rng = np.random.default_rng((settings.seed, 3))
    hum, drift = rng.uniform(0, 2 * np.pi, 2)
    clock = np.arange(settings.frames) / settings.fps
    wave = np.sin(2 * np.pi * 3.7 * clock + hum) + np.sin(2 * np.pi * 0.31 * clock + drift)
    return np.asarray(1 + settings.flicker * wave, dtype=np.float32)


def arena_floor(settings: ArenaSettings, pad: int) -> FloatImage:
    """Image of the empty arena with a margin of ``pad`` pixels: bedding on the floor, walls with a bright rim.

    (size + 2 pad, size + 2 pad, 3), RGB from 0 to 255.
    """
    rng = np.random.default_rng((settings.seed, 2))
    side = settings.size + 2 * pad
    position = to_sides(np.arange(side, dtype=np.float64) - pad, settings.size)
    edge = np.minimum(position, 1 - position)
    depth = np.minimum(edge[:, None], edge[None, :]) - WALL  # negative on the wall
    texture = sum(
        weight * _smooth_noise(rng, side, max(2, round(side * scale)))
        for weight, scale in ((9.0, 0.05), (7.0, 0.14), (6.0, 0.45))
    )
    floor = np.array((134.0, 128.0, 116.0)) + np.asarray(texture)[..., None] * (1.0, 0.95, 0.8)
    floor *= (0.80 + 0.20 * np.clip(depth / 0.05, 0, 1))[..., None]  # the shade of the walls
    wall = np.array((98.0, 102.0, 108.0)) + 4 * _smooth_noise(rng, side, side // 3)[..., None]
    wall = wall + 46 * np.exp(-(((depth + WALL * 0.75) / 0.012) ** 2))[..., None]
    mix = np.clip(depth * settings.size + 0.5, 0, 1)[..., None]
    return np.asarray(floor * mix + wall * (1 - mix), dtype=np.float32)


def fur(seed: int) -> FloatImage:
    """Texture of a coat (FUR_ALONG, FUR_ACROSS), about -1 to 1: streaks along the body, and a darker back."""
    rng = np.random.default_rng((seed, 5))
    streaks = rng.standard_normal((FUR_ALONG, FUR_ACROSS))
    kernel = np.hanning(13)[1:-1]
    streaks = np.apply_along_axis(np.convolve, 0, streaks, kernel / kernel.sum(), "same")
    streaks += 0.4 * rng.standard_normal((FUR_ALONG, 1)) * np.ones((1, FUR_ACROSS))
    streaks /= streaks.std() * 1.5
    back = np.exp(-((np.linspace(-1, 1, FUR_ACROSS) / 0.3) ** 2))
    return (streaks - 0.8 * back).astype(np.float32)


def chain_field(samples: Floats, radii: Floats, margin: float) -> Field:
    """Field around a chain of samples (S, 2) with ``radii`` (S,), in pixels, up to ``margin`` pixels outside it."""
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
    """Merge patches (S, n, n) at their top left ``corner`` (S, 2) into one window; the nearest link gives a pixel."""
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
    canvas: FloatImage, midline: Floats, coat: Coat, texture: FloatImage, settings: ArenaSettings
) -> None:
    """Draw one animal into ``canvas``, tail first and face last.

    ``canvas`` (H, W, 3), RGB from 0 to 255, is changed in place; ``midline`` (N, 2) is in pixels of this padded image.
    """
    size, radii = settings.size, np.array(RADII) * settings.size
    blur = 0.022 * size if settings.shadow else 1.0
    trunk = chain_field(TRUNK_SPLINE @ midline, np.maximum(TRUNK_SPLINE @ radii, 0.5), blur)
    tail_radii = np.maximum(TAIL_SPLINE @ radii, 0.5)
    tail_radii[:2] = np.minimum(tail_radii[:2], tail_radii[2])  # the rump is part of the trunk
    tail = chain_field(TAIL_SPLINE @ midline, tail_radii, 1.0)
    if settings.shadow:
        _cast_shadow(canvas, trunk, size, settings.shadow_reach)
    _blend(canvas[tail.window], _coverage(tail.distance), _lit(tail, np.array(coat.tail), 0.7))
    colour = _fur_colour(trunk, coat, texture)
    _blend(canvas[trunk.window], _coverage(trunk.distance), _lit(trunk, colour, 0.62))
    _draw_face(canvas, midline, coat, size)


def _draw_face(canvas: FloatImage, midline: Floats, coat: Coat, size: int) -> None:
    """Draw ears, eyes and snout."""
    forward = head_direction(midline)
    left = np.array((forward[1], -forward[0]))
    rim, inner = np.array(coat.head) * 0.72, np.array(coat.head) * 0.45 + np.array(PINK) * 0.5
    for ear in ears(midline / size) * size:
        _draw_disc(canvas, ear, EAR_RADIUS * size, rim)
        _draw_disc(canvas, ear + 0.003 * size * forward, EAR_RADIUS * 0.66 * size, inner)
    for side in (left, -left):
        eye = midline[HEAD] + size * (0.019 * forward + 0.017 * side)
        _draw_disc(canvas, eye, max(0.6, 0.0062 * size), np.array((12.0, 10.0, 12.0)))
    _draw_disc(canvas, midline[SNOUT] + 0.005 * size * forward, 0.0075 * size, np.array(PINK))


def _fur_colour(field: Field, coat: Coat, texture: FloatImage) -> FloatImage:
    """Colour (h, w, 3) of the coat, from that of the head to that of the rump, with streaks of fur."""
    rows = (field.along * np.float32(FUR_ALONG - 1)).astype(np.intp)
    columns = ((np.clip(field.across, -1, 1) + 1) * np.float32((FUR_ACROSS - 1) / 2)).astype(np.intp)
    streaks = 1 + np.float32(coat.streaks) * texture[rows, columns]
    head, rump = np.array(coat.head, dtype=np.float32), np.array(coat.rump, dtype=np.float32)
    mix = np.clip((field.along - np.float32(0.2)) / np.float32(0.35), 0, 1)
    return np.asarray((head + (rump - head) * mix[..., None]) * streaks[..., None])


def _lit(field: Field, colour: NDArray[Any], edge: float) -> FloatImage:
    """Shade a colour (h, w, 3) or (3,) like a round body under a lamp: by 1 on the back, by ``edge`` at the outline."""
    height = 1 - np.clip(np.abs(field.across), 0, 1) ** 2
    light = np.float32(edge) + np.float32(1 - edge) * np.sqrt(height)
    return np.asarray(light[..., None] * colour.astype(np.float32))


def _draw_disc(canvas: FloatImage, centre: Floats, radius: float, colour: Floats) -> None:
    """Draw an anti-aliased disc; centre (x, y) and radius in pixels."""
    x, y = centre
    reach = int(radius) + 2
    left, top = round(x) - reach, round(y) - reach
    steps = np.arange(2 * reach + 1)
    distance = np.hypot(steps[None, :] + left - x, steps[:, None] + top - y) - radius
    window = slice(top, top + 2 * reach + 1), slice(left, left + 2 * reach + 1)
    _blend(canvas[window], _coverage(distance.astype(np.float32)), colour.astype(np.float32))


def _coverage(distance: FloatImage) -> FloatImage:
    """Share of each pixel inside the outline, 0 to 1, from its signed distance in pixels."""
    return np.asarray(np.clip(np.float32(0.5) - distance, 0, 1))


def _blend(canvas: FloatImage, coverage: FloatImage, colour: FloatImage) -> None:
    """Blend a colour (h, w, 3) or (3,) into ``canvas`` (h, w, 3), in place, with opacity ``coverage`` (h, w)."""
    canvas += coverage[..., None] * (colour - canvas)


def _cast_shadow(canvas: FloatImage, field: Field, size: int, reach: float) -> None:
    """Darken the floor beside the animal, away from the lamp, with soft edges."""
    shift = [round(part * reach * size) for part in SHADOW_DIRECTION]
    softness = np.float32(0.02 * size)
    shade = np.clip(np.float32(0.5) - field.distance / softness, 0, 1)
    window = tuple(slice(w.start + by, w.stop + by) for w, by in zip(field.window, shift, strict=True))
    canvas[window] *= (1 - np.float32(0.5) * shade)[..., None]


def _shifted(floor: FloatImage, displacement: Floats) -> FloatImage:
    """Displace the empty arena by (x, y) pixels, with bilinear interpolation; its margin hides that it wraps around."""
    if not displacement.any():
        return floor.copy()
    whole = np.floor(displacement).astype(int)
    right, down = (displacement - whole).astype(np.float32)
    moved = np.roll(floor, (whole[1], whole[0]), axis=(0, 1))
    moved = moved + right * (np.roll(moved, 1, axis=1) - moved)
    return np.asarray(moved + down * (np.roll(moved, 1, axis=0) - moved))


def _padding(settings: ArenaSettings) -> int:
    """Margin in pixels that keeps every patch inside the padded image."""
    return int(np.ceil(0.16 * settings.size + 8 * settings.shake + 3 * settings.drift)) + 8


def _smooth_noise(rng: np.random.Generator, side: int, cells: int) -> Floats:
    """Noise (side, side) of unit variance, smoothly interpolated between random values of ``cells`` cells per axis."""
    coarse = rng.standard_normal((cells + 1, cells + 1))
    position = np.linspace(0, cells - 1e-6, side)
    low = position.astype(int)
    weight = position - low
    weight = weight * weight * (3 - 2 * weight)
    rows = coarse[low] * (1 - weight)[:, None] + coarse[low + 1] * weight[:, None]
    smooth = rows[:, low] * (1 - weight) + rows[:, low + 1] * weight
    return np.asarray(smooth / smooth.std())
