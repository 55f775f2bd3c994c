"""A steady square around each animal, from its centres over time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_kp.geometry import to_edges
from lightning_kp.motion.foreground import Floats

SIDE_IN_LENGTHS = 1.4
"""Side of the square in typical lengths of the animal: room for a stretched leg and for the step within a pair."""
SLACK_SHARE = 0.1
"""Distance from the middle of the square, as a share of its side, that an animal may move before the square moves."""


def fill_gaps(centres: Floats) -> Floats:
    """Replace NaN in centres (T, I, 2): an unseen animal stays where it was last seen, or will first be seen.

    An animal that is never seen takes the mean position of the others.
    """
    filled = centres.copy()
    for animal in range(centres.shape[1]):
        known = np.flatnonzero(np.isfinite(centres[:, animal, 0]))
        if not len(known):
            filled[:, animal] = np.nanmean(centres, axis=(0, 1))
            continue
        source = known[np.maximum(np.searchsorted(known, np.arange(len(centres)), side="right") - 1, 0)]
        filled[:, animal] = centres[source, animal]
    return filled


def hold_steady(centres: Floats, slack_px: float) -> Floats:
    """Hold each of the centres (T, I, 2) until its animal is more than ``slack_px`` away from it."""
    held = centres.copy()
    for frame in range(1, len(centres)):
        stays = np.linalg.norm(centres[frame] - held[frame - 1], axis=-1) <= slack_px
        held[frame, stays] = held[frame - 1, stays]
    return held


def squares_around(centres: Floats, side: int, frame_size: tuple[int, int]) -> NDArray[np.int64]:
    """Squares (T, I, 4) as (left, top, right, bottom) in whole pixels around ``centres`` (T, I, 2), shifted into view.

    ``centres`` are in pixels of frames of ``frame_size`` (height, width), counted from the frame's edges.  A frame that
    is smaller than ``side`` limits the square.
    """
    bounds = np.array((frame_size[1], frame_size[0]))
    extent = np.minimum(side, bounds)
    corner = np.clip(np.round(centres - extent / 2), 0, bounds - extent).astype(np.int64)
    return np.concatenate((corner, corner + extent), axis=-1)


def animals_in_squares(
    points_px: Floats, squares: Sequence[tuple[int, int, int, int]]
) -> list[Floats | None]:
    """The labelled animal that each of several squares (left, top, right, bottom) shows.

    ``points_px`` (I, K, 2) are the points of the labelled animals in pixels of the image, NaN = not labelled.  Returns
    the points (1, K, 2) of one animal for each square, or None for a square that shows none: animals are assigned to
    squares that contain the mean of their points, at the least sum of distances to the squares' centres.
    """
    labelled = points_px[np.isfinite(points_px).all(axis=-1).any(axis=-1)]
    if not len(labelled) or not squares:
        return [None] * len(squares)
    centroid = to_edges(np.nanmean(labelled, axis=1))
    edges = np.asarray(squares, dtype=np.float64)
    cost = np.linalg.norm((edges[:, None, :2] + edges[:, None, 2:]) / 2 - centroid, axis=-1)
    inside = ((centroid >= edges[:, None, :2]) & (centroid <= edges[:, None, 2:])).all(axis=-1)
    far = len(squares) * float(cost.max()) + 1  # dearer than all animals that lie in squares
    chosen = dict(
        zip(*(each.tolist() for each in linear_sum_assignment(np.where(inside, cost, far))), strict=True)
    )
    return [
        labelled[chosen[number]][None] if number in chosen and inside[number, chosen[number]] else None
        for number in range(len(squares))
    ]
