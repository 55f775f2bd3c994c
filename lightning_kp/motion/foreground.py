"""Foreground masks in the images of a fixed camera: background, noise, changes, and how masks are cleaned.

Images are NumPy arrays (T, h, w, C), uint8.  All thresholds are relative to the noise of the video itself, measured by
the median absolute deviation, so that a noisy camera is not mistaken for a lively animal.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.geometry import normalise, pixel_centres, to_pixels

Images = NDArray[np.uint8]
Masks = NDArray[np.bool_]
Floats = NDArray[np.float64]

GAUSSIAN_MAD = 1.4826
"""Standard deviation of a Gaussian in units of its median absolute deviation."""
NOISE_FACTOR = 5.0
"""Threshold in standard deviations of the noise: fewer than one pixel in a million exceeds it by chance."""
NOISE_STEP = 2
"""Noise is measured on every second row and column, which are enough for a median and four times as fast."""
MIN_CHANGE = 8.0
"""Lowest threshold in grey levels: block edges of compressed video reach this."""
CONTRAST_SHARE = 0.15
"""Lowest threshold as a share of the animal's contrast: weaker changes are shadows or reflections."""
SPECK_SHARE = 0.05
"""Components smaller than this share of the largest one of the frame are specks."""
LIMB_SHARE = 0.5
"""Parts thinner than this share of the body's largest inner radius are limbs or a tail."""


class Changes(NamedTuple):
    """How much each pixel differs from a reference, and the threshold above which this is more than noise.

    ``magnitude`` (T, h, w), uint8, and ``noise`` and ``threshold`` are in grey levels (0 to 255).  ``brightness`` (T,)
    is the change of brightness of the whole image, which ``magnitude`` does not contain.
    """

    magnitude: Images
    noise: float
    threshold: float
    brightness: Floats


def median_background(images: Images, *, max_images: int = 101) -> Images:
    """Median over time (h, w, C) of at most ``max_images`` evenly spaced images of (T, h, w, C)."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(max_images, len(images))).round().astype(int))
    return np.asarray(np.median(images[chosen], axis=0).round(), dtype=np.uint8)


def changes(images: Images, references: Images) -> Changes:
    """Compare images (T, h, w, C) with one reference (h, w, C), or with one for each image (T, h, w, C).

    A change of the brightness of the whole image (flicker) is removed first.  A 3x3 mean then halves the sensor noise
    without hiding anything of three pixels or more.
    """
    magnitude = np.empty(images.shape[:3], dtype=np.uint8)
    noises, brightness, contrasts = [], [], []
    for step, image in enumerate(images):
        reference = references if references.ndim == 3 else references[step]
        difference = image.astype(np.int16) - reference
        offset = _median_of_whole(difference)
        size = np.abs(_sum_of_3x3(difference) - 9 * offset) / 9
        largest = functools.reduce(np.maximum, np.moveaxis(size, -1, 0))
        magnitude[step] = largest.round().clip(0, 255)
        noises.append(GAUSSIAN_MAD * float(np.median(size[::NOISE_STEP, ::NOISE_STEP])))
        brightness.append(float(offset.mean()))
        contrasts.append(float(largest.max()))
    noise = float(np.median(noises)) if noises else 0.0
    contrast = float(np.median(contrasts)) if contrasts else 0.0
    threshold = max(MIN_CHANGE, NOISE_FACTOR * noise, CONTRAST_SHARE * contrast)
    return Changes(magnitude, noise, threshold, np.asarray(brightness, dtype=np.float64))


def _sum_of_3x3(values: NDArray[np.int16]) -> NDArray[np.int16]:
    """Sum over the 3x3 neighbours of each pixel of (h, w, C), between -255 and 255; beyond the border, its pixels."""
    wide = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:])


def _median_of_whole(values: NDArray[np.int16]) -> NDArray[np.float32]:
    """Median (C,) of whole numbers (h, w, C) between -255 and 255, counted, which is faster than sorting."""
    half = values[..., 0].size / 2
    medians = []
    for channel in np.moveaxis(values, -1, 0):
        reached = np.cumsum(np.bincount(channel.astype(np.int64).ravel() + 255, minlength=511))
        lower, upper = np.searchsorted(reached, (np.ceil(half), np.floor(half) + 1))
        medians.append((lower + upper) / 2 - 255)
    return np.asarray(medians, dtype=np.float32)


def changed(change: Changes) -> Masks:
    """Masks (T, h, w) of pixels that differ by more than noise, without specks."""
    return np.stack([without_specks(frame > change.threshold) for frame in change.magnitude])


def without_specks(mask: Masks) -> Masks:
    """Remove components from a mask (h, w) that are small beside its largest one, or have fewer than 3 pixels."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return mask
    area = np.bincount(labels.ravel())
    area[0] = 0
    keep = area >= max(3.0, SPECK_SHARE * area.max())
    return np.asarray(keep[labels], dtype=np.bool_)


def edge_strength(image: Images) -> Floats:
    """Gradient magnitude (h, w) of a grey image (h, w) after a Gaussian of 1 pixel."""
    return np.asarray(ndimage.gaussian_gradient_magnitude(image.astype(np.float32), 1.0))


def without_ghosts(mask: Masks, image_edges: Floats, background_edges: Floats) -> Masks:
    """Remove ghosts from a mask (h, w): regions that differ from the background because an animal has left them.

    An animal that rests through half of a video is part of its median, so that its resting place differs ever after.
    The outline of a ghost is an edge of the background and not of the image.  ``image_edges`` and
    ``background_edges`` (h, w) are the edge strengths of both.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return mask
    outline = labels * (mask & ~ndimage.binary_erosion(mask, iterations=2))
    numbers = np.arange(1, count + 1)
    in_image, in_background = (
        ndimage.sum_labels(edges, outline, numbers) for edges in (image_edges, background_edges)
    )
    return np.asarray(np.isin(labels, numbers[in_image >= in_background]), dtype=np.bool_)


def without_limbs(mask: Masks) -> Masks:
    """Remove parts from a mask (h, w) that are thin beside its thickest part, such as legs and a tail.

    This is a morphological opening with a disc of LIMB_SHARE times the largest inner radius of the mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inner = ndimage.distance_transform_edt(np.pad(mask[part], 1))
    radius = LIMB_SHARE * inner.max()
    core = inner > radius
    opened = np.zeros_like(mask)
    opened[part] = (ndimage.distance_transform_edt(~core) <= radius)[1:-1, 1:-1] & mask[part]
    return opened


def foreground(images: Images, background: Images) -> Masks:
    """Masks (T, h, w) of pixels of images (T, h, w, C) that differ from ``background`` (h, w, C).

    A resting animal is foreground too, unlike in :func:`moving`.
    """
    return changed(changes(images, background))


def moving(frames: Images, future: Images) -> Masks:
    """Masks (T, h, w) of pixels that differ by more than noise between frames and their future, both (T, h, w, C)."""
    return changed(changes(frames, future))


def share_under(masks: Masks, points: Floats, radius_px: float) -> Floats:
    """Share (T, K) of the disc around each point that is covered by the mask of its frame.

    ``masks`` (T, h, w); ``points`` (T, K, 2), normalised (x, y) in [-1, 1]; the radius of the discs is in pixels of the
    masks.  Parts of a disc beyond the image border count as not covered.
    """
    height, width = masks.shape[1:]
    reach = int(np.ceil(radius_px))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = dy**2 + dx**2 <= radius_px**2
    pixels = np.rint(to_pixels(points, (height, width))).astype(int)[..., None, :]
    x, y = pixels[..., 0] + dx[inside], pixels[..., 1] + dy[inside]
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    time = np.arange(len(masks))[:, None, None]
    covered = masks[time, y.clip(0, height - 1), x.clip(0, width - 1)] & within
    return np.asarray(covered.mean(axis=-1), dtype=np.float64)


def largest_size_px(masks: Masks) -> float:
    """Side in pixels of a square with the area of the largest component of each mask (T, h, w): the median over frames.

    Empty masks are ignored; NaN if all are empty.
    """
    sides = []
    for mask in masks:
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        if count:
            sides.append(np.sqrt(np.bincount(labels.ravel())[1:].max()))
    return float(np.median(sides)) if sides else float("nan")


def centres(masks: Masks) -> Floats:
    """Centre of each mask (T, h, w) as normalised (x, y) in [-1, 1], (T, 2); NaN for an empty mask."""
    height, width = masks.shape[1:]
    area = masks.sum(axis=(1, 2))
    x = (masks.sum(axis=1) * pixel_centres(width)).sum(axis=1)
    y = (masks.sum(axis=2) * pixel_centres(height)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.stack((x, y), axis=-1) / area[:, None], dtype=np.float64)


def sampled_points(masks: Masks, count: int, generator: np.random.Generator) -> Floats:
    """Draw ``count`` pixels of each mask (T, h, w) at random, with repeats.

    Returns normalised (x, y) in [-1, 1], (T, count, 2); NaN for an empty mask.
    """
    height, width = masks.shape[1:]
    points = np.full((len(masks), count, 2), np.nan)
    for step, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        if len(x):
            chosen = generator.integers(len(x), size=count)
            points[step] = normalise(np.stack((x[chosen], y[chosen]), axis=-1), (height, width))
    return points
