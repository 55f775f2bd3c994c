"""What moves in a fixed camera's pictures: background, noise, foreground, and what lies under points.

Images are uint8 (T, h, w, C) arrays of NumPy here.  Everything is relative to the noise of the
video itself, measured by the median absolute deviation, so that a grainy camera does not look like
a lively animal.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Images = NDArray[np.uint8]
Masks = NDArray[np.bool_]
Floats = NDArray[np.float64]

GAUSSIAN_MAD = 1.4826  # standard deviation of a Gaussian in units of its median absolute deviation
NOISE_FACTOR = 5.0  # five standard deviations: less than one pixel in a million by chance
LEAST_CHANGE = 8.0  # grey levels; block edges of compressed video reach this
CONTRAST_SHARE = 0.15  # weaker than this share of the animal's contrast: shadow or reflection
SPECK_SHARE = 0.05  # components smaller than this share of the frame's largest are specks


class Changes(NamedTuple):
    """How much each pixel differs from a reference, and what counts as more than noise.

    ``magnitude`` (T, h, w) uint8, ``noise`` and ``threshold`` in grey levels, ``brightness`` (T,)
    the change of the whole picture, which is taken out of ``magnitude``.
    """

    magnitude: Images
    noise: float
    threshold: float
    brightness: Floats


def median_background(images: Images, *, at_most: int = 101) -> Images:
    """Images (T, h, w, C) -> their median over time (h, w, C), from ``at_most`` evenly spaced ones."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(at_most, len(images))).round().astype(int))
    return np.asarray(np.median(images[chosen], axis=0).round(), dtype=np.uint8)


def changes(images: Images, references: Images) -> Changes:
    """Compare images (T, h, w, C) with one reference (h, w, C) or one for each (T, h, w, C).

    A change of the whole picture's brightness (flicker) is removed, then a 3x3 mean halves the
    sensor noise without hiding anything of three pixels or more.
    """
    magnitude = np.empty(images.shape[:3], dtype=np.uint8)
    noises, brightness, contrasts = [], [], []
    for step, image in enumerate(images):
        reference = references if references.ndim == 3 else references[step]
        difference = image.astype(np.float32) - reference
        offset = np.median(difference, axis=(0, 1))
        smooth = ndimage.uniform_filter(difference - offset, size=(3, 3, 1), mode="nearest")
        size = np.abs(smooth)
        magnitude[step] = size.max(axis=-1).round().clip(0, 255)
        noises.append(GAUSSIAN_MAD * float(np.median(size)))
        brightness.append(float(offset.mean()))
        contrasts.append(float(size.max()))
    noise = float(np.median(noises)) if noises else 0.0
    contrast = float(np.median(contrasts)) if contrasts else 0.0
    threshold = max(LEAST_CHANGE, NOISE_FACTOR * noise, CONTRAST_SHARE * contrast)
    return Changes(magnitude, noise, threshold, np.asarray(brightness, dtype=np.float64))


def changed(change: Changes) -> Masks:
    """Where pixels differ by more than noise: (T, h, w) bool, single pixels and specks removed."""
    return np.stack([without_specks(frame > change.threshold) for frame in change.magnitude])


def without_specks(mask: Masks) -> Masks:
    """A mask (h, w) without the components that are small beside its largest one (or below 3 pixels)."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return mask
    area = np.bincount(labels.ravel())
    area[0] = 0
    keep = area >= max(3.0, SPECK_SHARE * area.max())
    return np.asarray(keep[labels], dtype=np.bool_)


def foreground(images: Images, background: Images) -> Masks:
    """Images (T, h, w, C) -> what is not background (T, h, w); a resting animal is part of it too."""
    return changed(changes(images, background))


def moving(frames: Images, future: Images) -> Masks:
    """Pairs of images (T, h, w, C) -> where they differ by more than noise (T, h, w)."""
    return changed(changes(frames, future))


def share_under(masks: Masks, points: Floats, radius_px: float) -> Floats:
    """Share of a disc around each point that the mask covers: masks (T, h, w), points (T, K, 2) -> (T, K).

    Points are normalised, the radius is in pixels of the masks; beyond the border counts as empty.
    """
    height, width = masks.shape[1:]
    reach = int(np.ceil(radius_px))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = dy**2 + dx**2 <= radius_px**2
    x = np.rint(((points[..., 0] + 1) * width - 1) / 2).astype(int)[..., None] + dx[inside]
    y = np.rint(((points[..., 1] + 1) * height - 1) / 2).astype(int)[..., None] + dy[inside]
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    time = np.arange(len(masks))[:, None, None]
    covered = masks[time, y.clip(0, height - 1), x.clip(0, width - 1)] & within
    return np.asarray(covered.mean(axis=-1), dtype=np.float64)


def largest_size_px(masks: Masks) -> float:
    """Side of a square as large as the largest component, the median over frames that have one; else NaN."""
    sides = []
    for mask in masks:
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        if count:
            sides.append(np.sqrt(np.bincount(labels.ravel())[1:].max()))
    return float(np.median(sides)) if sides else float("nan")


def centres(masks: Masks) -> Floats:
    """Normalised centre of each mask (T, h, w) -> (T, 2); NaN where it is empty."""
    height, width = masks.shape[1:]
    area = masks.sum(axis=(1, 2))
    x = (masks.sum(axis=1) * ((2 * np.arange(width) + 1) / width - 1)).sum(axis=1)
    y = (masks.sum(axis=2) * ((2 * np.arange(height) + 1) / height - 1)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.stack((x, y), axis=-1) / area[:, None], dtype=np.float64)


def sampled_points(masks: Masks, count: int, generator: np.random.Generator) -> Floats:
    """``count`` normalised positions drawn from each mask (T, h, w) -> (T, count, 2); NaN where empty."""
    height, width = masks.shape[1:]
    points = np.full((len(masks), count, 2), np.nan)
    for step, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        if len(x):
            chosen = generator.integers(len(x), size=count)
            points[step, :, 0] = (2 * x[chosen] + 1) / width - 1
            points[step, :, 1] = (2 * y[chosen] + 1) / height - 1
    return points
