"""Whether a keypoint moves in steps of the heatmap's grid, like a staircase, instead of with the animal.

A heatmap whose mass lies in one cell puts its point on the centre of that cell.  The point then stands still until the
animal has moved by a whole cell, and its speed is 0 or far too high.  Two measures show this without labels: how
often the point does not move at all while the animal does, and how often it lies on the centre of a cell.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STANDING = 0.01
"""Cells: a step below it counts as none (ours).  Noise alone moves a point that lies between the cells further."""
ON_GRID = 0.025
"""Cells from the centre of a cell, on one axis, within which a coordinate lies on the grid (ours)."""
GRID_CHANCE = 2 * ON_GRID
"""Share of the coordinates that lie on the grid by chance."""
PHASES = 10
"""Bins of a histogram of positions within a cell."""


def standing_share(points: Array, counts: NDArray[np.bool_]) -> Array:
    """Share in [0, 1] of the steps in which a keypoint does not move, (K,); NaN without a step that counts.

    Args:
        points: Positions in cells of the heatmap, (T, K, 2), in order of time.
        counts: (T - 1,), whether the step from each frame to the next counts: the frames are neighbours, and the animal
            moves.

    >>> path = np.array([[[0.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]])
    >>> standing_share(path, np.array([True, True, False])).tolist()  # a step of 0 and a step of 1
    [0.5]
    """
    length = np.linalg.norm(np.diff(points, axis=0)[counts], axis=-1)
    return _mean(length < STANDING)


def grid_share(points: Array) -> Array:
    """Share in [0, 1] of the coordinates of each keypoint that lie on the grid, (K,); NaN without a frame.

    ``points`` (T, K, 2) are in cells, and whole numbers are centres of cells.  By chance it is :data:`GRID_CHANCE`.

    >>> grid_share(np.array([[[3.0, 4.5]], [[2.01, 7.99]]])).tolist()  # three of four coordinates
    [0.75]
    """
    away = np.abs(points - np.round(points))
    return _mean((away < ON_GRID).mean(axis=-1))


def phase_histogram(points: Array) -> NDArray[np.float64]:
    """Shares (K, :data:`PHASES`) of the coordinates of ``points`` (T, K, 2), in cells, by their position within a cell.

    The bins divide the cell from one border to the other, so that its centre lies between the two middle ones.  Each
    row sums to 1; it is flat where positions do not depend on the grid.

    >>> phase_histogram(np.array([[[3.04, 4.99]]])).round(1).tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]]
    """
    phase = points + 0.5 - np.floor(points + 0.5)
    number = np.minimum((phase * PHASES).astype(np.int64), PHASES - 1)
    counts = (number[..., None] == np.arange(PHASES)).sum(axis=(0, 2))
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1), dtype=np.float64)


def _mean(values: NDArray[np.generic]) -> Array:
    """Mean over frames of values (T, K): (K,), NaN without frames."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    return np.asarray(values.mean(axis=0), dtype=np.float64)
