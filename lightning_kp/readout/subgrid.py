"""Positions below the cell of a heatmap's grid, also where all mass of the heatmap lies in one cell (ours).

The mean of a heatmap is exact as long as its peak is about as wide as a cell.  A network that is sure makes needles:
the mean is then the centre of a cell, whatever the logits around it say, and the keypoint moves in steps.  But these
logits still slope towards the true position.  So the mean of a peak that is narrower than a cell is replaced by the top
of a paraboloid, fitted to the logarithm of the heatmap around the peak.  For a Gaussian this is exact at every width
(DARK, Zhang et al. 2020, uses derivatives at the highest cell in place of a fit).  Everything else in the heatmap
counts as before, and a heatmap without a narrow peak keeps its mean.  Training uses the plain mean.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_kp.heatmaps import Moments, moments
from lightning_kp.readout.peaks import Peaks, window_moments
from lightning_kp.readout.subpixel import highest_pixel

REACH = 2
"""Half the side of the window around a peak, in cells."""
FIT_WIDTH = 0.8
"""Standard deviation of the weights of the fit, in cells (ours)."""
NARROW, WIDE = 0.25, 0.5
"""Variances on an axis, in cells squared: the correction is whole up to the first and ends at the second (ours).

A needle between two cells has a variance of 0.25.  From there on the mean of a Gaussian, sampled once per cell, is
exact to 0.02 cells.
"""
FARTHEST = 1.0
"""Cells between the top and the highest cell, at most."""


class Shift(NamedTuple):
    """Corrections of N peaks: ``offset`` (B, K, N, 2), normalised (x, y), and ``mass`` (B, K, N) near each peak."""

    offset: Tensor
    mass: Tensor


def subgrid_moments(heatmaps: Tensor) -> Moments:
    """Heatmaps (B, K, h, w) that sum to one -> Moments (B, K, ...) with points below the grid.

    Covariance and peak are those of the heatmap.

    >>> cell = torch.arange(7.0)
    >>> x, y = (torch.softmax(-8 * (cell - centre) ** 2, dim=0) for centre in (3.3, 3.0))  # 0.96 of x in cell 3
    >>> needle = (y[:, None] * x).view(1, 1, 7, 7)
    >>> 3.5 * subgrid_moments(needle).points + 3  # in cells
    tensor([[[3.3000, 3.0000]]])
    """
    found, highest = moments(heatmaps), highest_pixel(heatmaps.detach())
    shift = needle_shift(heatmaps, highest.row.unsqueeze(-1), highest.column.unsqueeze(-1))
    return found._replace(points=found.points + (shift.mass.unsqueeze(-1) * shift.offset).squeeze(2))


def subgrid_window_moments(heatmaps: Tensor, peaks: Peaks, radius: int) -> Moments:
    """Like :func:`lightning_kp.readout.peaks.window_moments`: Moments (B, N, K, ...), with points below the grid."""
    found = window_moments(heatmaps, peaks, radius)
    offset = needle_shift(heatmaps, peaks.row, peaks.column).offset
    return found._replace(points=found.points + offset.transpose(1, 2))


def needle_shift(heatmaps: Tensor, row: Tensor, column: Tensor) -> Shift:
    """How far the mean of each peak of heatmaps (B, K, h, w) has to move because the peak is narrower than a cell.

    ``row`` and ``column`` (B, K, N) are the cells of the peaks.  The offset is 0 for a peak that is wide enough, and on
    an axis on which the peak lies at the border.
    """
    height, width = heatmaps.shape[-2:]
    step = torch.arange(-REACH, REACH + 1, device=heatmaps.device)
    rows, columns = (row.unsqueeze(-1) + step).unsqueeze(-1), (column.unsqueeze(-1) + step).unsqueeze(-2)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)  # (B, K, N, P, P)
    flat = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    near = (
        heatmaps.flatten(2).gather(2, flat.flatten(2)).view(flat.shape)
    )  # cells beyond the border repeat it
    mass = (near * inside).sum(dim=(-2, -1))
    share = near * inside / mass.clamp_min(torch.finfo(near.dtype).tiny)[..., None, None]
    mean = _along_axes(share, step)
    variance = _along_axes(share, step**2) - mean**2
    fade = ((WIDE - variance) / (WIDE - NARROW)).clamp(0, 1)
    weight = fade * fade * (3 - 2 * fade)  # the point stays a smooth function of the heatmap
    within = torch.stack(((column > 0) & (column < width - 1), (row > 0) & (row < height - 1)), dim=-1)
    offset = torch.where(within, weight * (_top(near) - mean), 0)
    per_cell = torch.tensor([2 / width, 2 / height], dtype=near.dtype, device=near.device)
    return Shift(offset * per_cell, mass)


def _along_axes(share: Tensor, values: Tensor) -> Tensor:
    """Means (..., 2) of ``values`` (P,) along x and along y, weighted by shares (..., P, P)."""
    return torch.stack(
        ((share.sum(dim=-2) * values).sum(dim=-1), (share.sum(dim=-1) * values).sum(dim=-1)), dim=-1
    )


def _top(near: Tensor) -> Tensor:
    """Top (..., 2), (x, y) in cells from the centre, of the paraboloid through the logarithm of windows (..., P, P)."""
    logs = near.clamp_min(torch.finfo(near.dtype).tiny).log()
    fit = torch.tensor(_fit(), dtype=near.dtype, device=near.device)
    slope_x, slope_y, bend_x, bend_y, twist = (logs.flatten(-2) @ fit).unbind(dim=-1)
    spread = bend_x * bend_y - twist**2
    is_peak = (bend_x < 0) & (spread > 0)
    spread = torch.where(is_peak, spread, 1)
    x, y = (twist * slope_y - bend_y * slope_x) / spread, (twist * slope_x - bend_x * slope_y) / spread
    top = torch.stack((x, y), dim=-1).clamp(-FARTHEST, FARTHEST)
    return torch.where(is_peak.unsqueeze(-1), top, 0)


@cache
def _fit() -> tuple[tuple[float, ...], ...]:
    """Weighted least squares as a matrix (P P, 5): values of a window -> slopes x, y and bends xx, yy, xy."""
    step = np.arange(-REACH, REACH + 1, dtype=np.float64)
    y, x = (each.ravel() for each in np.meshgrid(step, step, indexing="ij"))
    terms = np.stack((np.ones_like(x), x, y, x**2 / 2, y**2 / 2, x * y), axis=-1)
    weight = np.exp(-(x**2 + y**2) / (4 * FIT_WIDTH**2))[:, None]  # the square root of the weight of the fit
    solved = np.linalg.pinv(weight * terms) * weight.T
    return tuple(map(tuple, solved[1:].T.tolist()))
