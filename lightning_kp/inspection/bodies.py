"""Bodies in the frames of a video: moving regions without limbs and ghosts, and how they are linked over time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from lightning_kp.motion import foreground as fg
from lightning_kp.motion.regions import MIN_AREA_PX, clean_regions

MOST_BODIES = 16  # of a frame; the smaller ones of more are ignored
CLOSED_SHARE = (
    0.06  # of the animal's size: gaps up to twice this wide are closed, since a coat may match the floor
)
COLOURLESS = 12  # grey levels between the channels; compression alone leaves less
REACH = 1.5  # body lengths that a body may move between two frames of the sample
SAME_AREA = 2.0  # factor up to which areas are alike
SAME_LOOK = 25.0  # grey levels (root mean square over the channels) up to which colours are alike

AREA, X, Y, LENGTH, LOOK = 0, 1, 2, 3, 4
Floats = fg.Floats
Bodies = Floats
"""Bodies (R, 4 + C) of a frame, the largest first: area, centre x and y, length in pixels, and mean colour (C)."""


def without_needless_channels(images: fg.Images) -> fg.Images:
    """Images (T, h, w, 3) with one channel if they show no colours: (T, h, w, 1 or 3)."""
    some = images[:: max(1, len(images) // 20)].astype(np.int16)
    return images[..., :1] if np.ptp(some, axis=-1).max() <= COLOURLESS else images


def find_bodies(masks: fg.Masks, images: fg.Images, background: fg.Images, size: float) -> list[Bodies]:
    """Bodies in each mask (T, h, w) of images (T, h, w, C) with their ``background`` (h, w, C).

    ``size`` is about that of an animal in pixels, NaN if nothing moves.  A body is a region without its limbs, and no
    ghost of an animal that has left.
    """
    behind = _edges(background)
    radius = round(CLOSED_SHARE * np.nan_to_num(size))
    disc = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    found = []
    for mask, image in zip(masks, images, strict=True):
        closed = ndimage.binary_closing(np.pad(mask, radius), disc)
        height, width = mask.shape
        found.append(_bodies(closed[radius : radius + height, radius : radius + width], image, behind))
    return found


def _bodies(mask: fg.Masks, image: fg.Images, behind: Floats) -> Bodies:
    rows = []
    for region in clean_regions(mask, lambda window: _edges(image[window]), behind, MOST_BODIES):
        rows += _parts(region.mask, image[region.window], region.corner)
    table = np.asarray(rows, dtype=np.float64).reshape(-1, LOOK + image.shape[-1])
    return table[np.argsort(-table[:, AREA], kind="stable")]


def _parts(mask: fg.Masks, image: fg.Images, corner: tuple[int, int]) -> list[list[float]]:
    """Connected parts of a mask (h, w): two animals that touch with thin parts fall apart without these."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    rows = []
    for part in range(1, count + 1):
        y, x = np.nonzero(labels == part)
        if len(x) >= MIN_AREA_PX:
            length = max(np.ptp(x), np.ptp(y)) + 1
            rows.append(
                [len(x), corner[0] + x.mean(), corner[1] + y.mean(), length, *image[y, x].mean(axis=0)]
            )
    return rows


def _edges(image: fg.Images) -> Floats:
    """Largest edge strength (h, w) of the channels of an image (h, w, C)."""
    channels = np.moveaxis(image, -1, 0)
    return np.asarray(np.max([fg.edge_strength(channel) for channel in channels], axis=0))


def link_bodies(bodies: Sequence[Bodies]) -> list[NDArray[np.int64]]:
    """Number of the tracklet to which each body of each frame belongs: T arrays (R,).

    A tracklet goes on where a body of like area and colour lies near enough in the next frame; it ends where animals
    meet or part.
    """
    numbers: list[NDArray[np.int64]] = []
    started = 0
    for frame, now in enumerate(bodies):
        own = np.full(len(now), -1, dtype=np.int64)
        if frame and len(now) and len(before := bodies[frame - 1]):
            cost, is_possible = _dissimilarity(before, now)
            old, new = linear_sum_assignment(np.where(is_possible, cost, 1e3))
            kept = is_possible[old, new]
            own[new[kept]] = numbers[-1][old[kept]]
        fresh = own < 0
        own[fresh] = started + np.arange(fresh.sum())
        started += int(fresh.sum())
        numbers.append(own)
    return numbers


def _dissimilarity(before: Bodies, now: Bodies) -> tuple[Floats, fg.Masks]:
    """Cost (P, R) of linking bodies (P, 4 + C) and (R, 4 + C), and whether they may be the same body."""
    length = np.maximum(before[:, None, LENGTH], now[:, LENGTH])
    distance = np.linalg.norm(before[:, None, X : Y + 1] - now[:, X : Y + 1], axis=-1) / length
    ratio = np.abs(np.log2(before[:, None, AREA] / now[:, AREA]))
    cost = distance + ratio + look_distance(before[:, None, LOOK:], now[:, LOOK:]) / SAME_LOOK
    return cost, (distance <= REACH) & (ratio <= np.log2(SAME_AREA))


def look_distance(one: Floats, other: Floats) -> Floats:
    """Root mean square difference (...) of colours (..., C), in grey levels."""
    return np.asarray(np.sqrt(((one - other) ** 2).mean(axis=-1)))
