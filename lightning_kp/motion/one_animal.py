"""The path of the one animal of a video, chosen over the whole video among the moving regions of each frame.

A hand, a door or a cloth that is there for a part of the video can be larger than the animal.  The path follows the
regions that have the animal's usual area and grey value and do not jump, and says where there is none: the sequence of
least total cost, found by the Viterbi algorithm.  All costs are ours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_kp.motion import foreground as fg
from lightning_kp.motion.regions import MovingRegions, clean_regions, largest_regions, typical_length

CANDIDATES = 5
"""Regions of a frame that are looked at, the largest first."""
UNSEEN = 4.0
"""Cost of a frame without an animal: a region at twice the usual deviation in area or grey costs as much."""
TURNED_UP = 3.0
"""Cost of the animal's appearance, and of its disappearance."""
JUMP = 2 * TURNED_UP
"""Highest cost of a step; below it, the square of its length in body lengths."""
LARGER, SMALLER = 0.6, 1.0
"""Least usual deviation of the area, as a binary logarithm: above 2.3 or below 1/4 of it, no animal is likelier."""
GREY_LEVELS = 20.0
"""Least usual deviation of the grey value."""
SPREAD_FACTOR = 2.0
"""Usual deviation, in robust standard deviations of the animal's regions over the video."""
ROUNDS = 2
"""The usual values are measured on the largest regions first, then on those of the path."""

Floats = fg.Floats


def candidate_regions(mask: fg.Masks, image: fg.Images, background_edges: Floats) -> MovingRegions:
    """Regions of a mask (h, w) that may be the animal, the largest first, each without its limbs and no ghost.

    ``image`` (h, w) is the frame in grey, ``background_edges`` (h, w) the edge strength of the background.  Each
    region is cleaned by itself, so that a large one does not make a small one a speck or a limb.
    """
    rows = []
    for region in clean_regions(
        mask, lambda window: fg.edge_strength(image[window]), background_edges, CANDIDATES
    ):
        body = largest_regions(region.mask, 1, image[region.window])
        rows += [
            [row[0], row[1] + region.corner[0], row[2] + region.corner[1], *row[3:]]
            for row in body.table.tolist()
        ]
    table = np.asarray(rows, dtype=np.float64).reshape(-1, 5)
    return MovingRegions(table[np.argsort(-table[:, 0], kind="stable")])


def choose_path(
    regions: Sequence[MovingRegions], index: NDArray[np.int64] | None = None
) -> tuple[Floats, float]:
    """Choose the animal's region in each of T frames, or none.

    ``index`` (T,) are the numbers of the frames, by default consecutive.  Returns the centres (T, 2) as (x, y) in
    pixels of the masks, NaN where no animal is seen, and the animal's typical length in pixels, NaN where nothing ever
    moves.
    """
    centres = np.full((len(regions), 2), np.nan)
    chosen = [0 if len(each.area) else -1 for each in regions]
    if max(chosen, default=-1) < 0:
        return centres, float("nan")
    gaps = np.ones(len(regions)) if index is None else np.diff(index, prepend=index[0] - 1).astype(np.float64)
    for _ in range(ROUNDS):
        table = np.stack([each.table[i] for each, i in zip(regions, chosen, strict=True) if i >= 0])
        length = _length(regions, chosen, table)
        path = _cheapest([_costs(each.table, table) for each in regions], regions, gaps * length)
        if max(path) < 0:
            break
        chosen = path
    for frame, region in enumerate(chosen):
        if region >= 0:
            centres[frame] = regions[frame].centre[region]
    return centres, _length(regions, chosen, table)


def _length(regions: Sequence[MovingRegions], chosen: list[int], table: Floats) -> float:
    """Typical length in pixels of the chosen regions."""
    alone = [MovingRegions(each.table[i : i + 1]) for each, i in zip(regions, chosen, strict=True) if i >= 0]
    return typical_length(alone, 1, float(np.median(table[:, 0])))


def _costs(candidates: Floats, usual: Floats) -> Floats:
    """Cost of each candidate (R, 5), and of none as the last: (R + 1,).  ``usual`` (N, 5) are the animal's regions."""
    size, typical_size = np.log2(candidates[:, 0]), np.log2(usual[:, 0])
    size_off, size_spread = size - np.median(typical_size), _spread(typical_size)
    least = np.where(size_off > 0, LARGER, SMALLER)
    grey_off, grey_spread = candidates[:, 4] - np.median(usual[:, 4]), _spread(usual[:, 4])
    cost = (size_off / np.maximum(least, size_spread)) ** 2 + (grey_off / max(GREY_LEVELS, grey_spread)) ** 2
    return np.append(cost, UNSEEN)


def _spread(values: Floats) -> float:
    return SPREAD_FACTOR * fg.GAUSSIAN_MAD * float(np.median(np.abs(values - np.median(values))))


def _cheapest(costs: list[Floats], regions: Sequence[MovingRegions], lengths: Floats) -> list[int]:
    """Cheapest sequence of regions, -1 for none.  A step to a frame costs least below its length of ``lengths`` (T,).

    ``costs`` holds the cost of each region of a frame and, last, of none.
    """
    total = costs[0]
    back = []
    for before, now, cost, length in zip(regions[:-1], regions[1:], costs[1:], lengths[1:], strict=True):
        step = np.full((len(total), len(cost)), TURNED_UP)
        step[-1, -1] = 0
        if len(before.area) and len(now.area):
            square = ((before.centre[:, None] - now.centre) ** 2).sum(axis=-1) / length**2
            step[:-1, :-1] = np.minimum(square, JUMP)
        reached = total[:, None] + step
        back.append(reached.argmin(axis=0))
        total = reached.min(axis=0) + cost
    path = [int(total.argmin())]
    for origin in reversed(back):
        path.append(int(origin[path[-1]]))
    return [i if i < len(each.area) else -1 for i, each in zip(reversed(path), regions, strict=True)]
