"""Moving regions of a mask, and how they are linked over time into the centres of the animals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from lightning_kp.motion.foreground import Floats, Images, Masks, without_ghosts, without_limbs

MIN_AREA_PX = 3
"""Smaller regions are noise."""
TOUCHING_AREA = 1.4
"""A region larger than this, in typical areas of one animal, holds two animals."""
FRAGMENT_AREA = 0.25
"""A region smaller than this, in typical areas of one animal, is a part of an animal, or dust."""
EDGE_MARGIN_PX = 6
"""Margin around a region within which its edges are measured: the reach of the gradient filter, and one more."""
CLUSTERING_STEPS = 5
"""Iterations of k-means that separate touching animals."""
UNSEEN_COST = 1e4
"""Distance in pixels that stands for an unseen animal in the assignment of regions to animals."""


def with_margin(window: tuple[slice, ...], shape: tuple[int, ...], margin: int) -> tuple[slice, ...]:
    """The window of a region, enlarged by ``margin`` pixels on each side within an image of ``shape``.

    >>> with_margin((slice(1, 4), slice(5, 9)), (8, 10), 2)
    (slice(0, 6, None), slice(3, 10, None))
    """
    return tuple(
        slice(max(0, side.start - margin), min(whole, side.stop + margin))
        for side, whole in zip(window, shape, strict=True)
    )


class CleanRegion(NamedTuple):
    """A region without its limbs.

    Attributes:
        mask: Its pixels within a window of the frame.
        window: The window.
        corner: (x, y) of the window's first pixel.
        least: Area in pixels below which a region of this frame is a speck.
    """

    mask: Masks
    window: tuple[slice, ...]
    corner: tuple[int, int]
    least: float


def clean_regions(
    mask: Masks,
    edges: Callable[[tuple[slice, ...]], Floats],
    background_edges: Floats,
    most: int,
    least_share: float = 0.0,
) -> Iterator[CleanRegion]:
    """Yield the regions of a mask (h, w) that are no ghosts, the largest first, each cleaned by itself.

    A large region therefore does not make a small one a speck or a limb.

    Args:
        mask: Where the frame differs from the background.
        edges: Edge strength of the frame in a window.
        background_edges: Edge strength (h, w) of the background.
        most: Largest number of regions that are looked at.
        least_share: Smaller regions, relative to the largest one, are specks.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    least = max(MIN_AREA_PX, least_share * area.max(initial=0))
    slices = ndimage.find_objects(labels)
    for region in np.argsort(-area, kind="stable")[:most].tolist():
        if area[region] < least:
            return
        window = with_margin(slices[region], mask.shape, EDGE_MARGIN_PX)
        own = labels[window] == region + 1
        if without_ghosts(own, edges(window), background_edges[window]).any():
            yield CleanRegion(without_limbs(own), window, (window[1].start, window[0].start), least)


@dataclass(frozen=True, eq=False, slots=True)
class MovingRegions:
    """The regions R of one mask, largest first.

    ``table`` (R, 5) holds area, centre x, centre y and length of each, in pixels of the mask, and its mean grey value,
    NaN if that is unknown; one array, since a video of hours has one object per frame.  ``pixels`` (P, 2) are the
    (x, y) of all pixels of the mask; None where a single animal needs no separation from others.
    """

    table: Floats
    pixels: Floats | None = None

    @property
    def area(self) -> Floats:
        """Number of pixels of each region, (R,)."""
        return self.table[:, 0]

    @property
    def centre(self) -> Floats:
        """Centre (x, y) of each region in pixels, (R, 2)."""
        return self.table[:, 1:3]

    @property
    def length(self) -> Floats:
        """Longer side of the bounding box of each region in pixels, (R,)."""
        return self.table[:, 3]


def largest_regions(mask: Masks, animals: int, image: Images | None = None) -> MovingRegions:
    """Return the ``animals`` largest connected regions of a mask (h, w), with their grey values in an image (h, w).

    The pixels are kept where several animals may touch, so that they can be separated.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    slices = ndimage.find_objects(labels)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.float64)
    order = np.argsort(-area, kind="stable")[:animals].tolist()
    table = np.empty((len(order), 5))
    for row, region in zip(table, order, strict=True):
        rows, columns = slices[region]
        y, x = np.nonzero(labels[rows, columns] == region + 1)
        length = max(rows.stop - rows.start, columns.stop - columns.start)
        grey = np.nan if image is None else image[rows, columns][y, x].mean()
        row[:] = area[region], columns.start + x.mean(), rows.start + y.mean(), length, grey
    return MovingRegions(table, np.argwhere(mask)[:, ::-1].astype(np.float64) if animals > 1 else None)


def link_regions(regions: Sequence[MovingRegions], animals: int) -> tuple[Floats, float]:
    """Link the regions of T frames over time.

    Returns centres (T, I, 2) of the animals as (x, y) in pixels of the masks, NaN where an animal is unseen, and the
    typical length of one animal in pixels, NaN where nothing ever moves.  In the first frame the animals are numbered
    from top to bottom.
    """
    largest = [each.area[:animals] for each in regions if len(each.area) >= animals]
    largest = largest or [each.area[:1] for each in regions if len(each.area)]
    if not largest:
        return np.full((len(regions), animals, 2), np.nan), float("nan")
    typical_area = float(np.median(np.concatenate(largest)))
    length = typical_length(regions, animals, typical_area)
    centres = np.full((len(regions), animals, 2), np.nan)
    last = np.full((animals, 2), np.nan)
    for frame, each in enumerate(regions):
        now = _centres(each, animals, typical_area, last)
        by_height = np.argsort(now[:, 1], kind="stable")  # NaN last
        now = now[by_height] if np.isnan(last).all() else _in_order(now, last)
        centres[frame] = now
        last = np.where(np.isnan(now), last, now)
    return centres, length


def typical_length(regions: Sequence[MovingRegions], animals: int, typical_area: float) -> float:
    """Upper quartile of the lengths, in pixels, of animals that are seen whole and alone, judged by their area."""
    alone = [
        each.length[i]
        for each in regions
        for i in range(min(animals, len(each.area)))
        if FRAGMENT_AREA * typical_area < each.area[i] < TOUCHING_AREA * typical_area
    ]
    return float(np.quantile(alone, 0.75)) if alone else float(np.sqrt(typical_area))


def _centres(regions: MovingRegions, animals: int, typical_area: float, last: Floats) -> Floats:
    """Centres (I, 2) of the animals in one frame, NaN for unseen ones; touching animals are separated by clustering."""
    whole = regions.area > FRAGMENT_AREA * typical_area
    found = regions.centre[whole][:animals]
    missing = animals - len(found)
    touching = len(regions.area) and regions.area[0] > TOUCHING_AREA * typical_area
    if missing and regions.pixels is not None and touching:
        spread = regions.pixels[np.linspace(0, len(regions.pixels) - 1, animals).astype(int)]
        return _clusters(regions.pixels, last if np.isfinite(last).all() else spread)
    return np.concatenate((found, np.full((missing, 2), np.nan)))


def _clusters(pixels: Floats, seeds: Floats) -> Floats:
    """Centres (I, 2) of the clusters of pixels (P, 2) that k-means finds from ``seeds`` (I, 2)."""
    centres = seeds.copy()
    for _ in range(CLUSTERING_STEPS):
        nearest = np.linalg.norm(pixels[:, None] - centres, axis=-1).argmin(axis=1)
        for i in range(len(centres)):
            if (nearest == i).any():
                centres[i] = pixels[nearest == i].mean(axis=0)
    return centres


def _in_order(now: Floats, last: Floats) -> Floats:
    """Reorder centres (I, 2) so that each follows the last centre (I, 2) that it is matched to."""
    cost = np.linalg.norm(last[:, None] - now, axis=-1)
    return np.asarray(now[linear_sum_assignment(np.nan_to_num(cost, nan=UNSEEN_COST))[1]])
