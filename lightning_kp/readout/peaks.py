"""Several peaks of one heatmap: find the highest, read mean and spread in a window around each.

Source: 000, section 5.8 (Fly vs. Fly): look-alike animals share a heatmap, so its N highest maxima are
taken, and the spatial softmax over the region around each in place of the whole map.  The paper states
neither the size of the region nor what happens where two regions meet; here a pixel belongs to the
nearest peak alone.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.heatmaps import Moments

CHUNK = 1 << 16  # heatmap pixels handled at a time (ours): what a core's cache holds


class Peaks(NamedTuple):
    """``row`` and ``column`` (B, K, N) in heatmap pixels, ``value`` (B, K, N), highest first; 0 = no such peak.

    A missing peak lies where the highest one does, so that reading it is harmless.
    """

    row: Tensor
    column: Tensor
    value: Tensor


def highest_peaks(heatmaps: Tensor, count: int, reach: int) -> Peaks:
    """The ``count`` highest local maxima of positive heatmaps (B, K, h, w), more than ``reach`` pixels apart.

    A pixel is a maximum when nothing in the square of ``2 reach + 1`` pixels around it is higher; of equal
    ones the first in reading order.  A map without any maximum above 0 has peaks of value 0 at its first pixel.
    """
    batch, keypoints, height, width = heatmaps.shape
    maps = heatmaps.detach().reshape(-1, height, width)
    whole = maps.is_cuda or torch.compiler.is_exporting()
    chunks = (maps,) if whole else maps.split(max(1, CHUNK // (height * width)))
    parts = [_highest(part, count, reach) for part in chunks]
    index, value = (torch.cat(each).view(batch, keypoints, count) for each in zip(*parts, strict=True))
    index = torch.where(value > 0, index, index[..., :1])
    return Peaks(index // width, index % width, value)


def _highest(maps: Tensor, count: int, reach: int) -> tuple[Tensor, Tensor]:
    """Maps (M, h, w) -> flat index and value (M, count) of their highest maxima."""
    width = maps.shape[-1]
    is_peak = maps == _square_maximum(maps, reach)
    value, index = _one_per_cell(torch.where(is_peak, maps, 0), reach + 1)
    # Twins of equal height may lie in neighbouring cells: take some more, then drop those too near.
    kept = min(value.shape[1], 4 * count)
    value, order = value.topk(kept, dim=1)
    index = index.gather(1, order)
    # A graph for export has no branches.
    twins = torch.compiler.is_exporting() or bool(
        (value[:, 1:] == value[:, :-1]).logical_and(value[:, 1:] > 0).any()
    )
    if not twins:
        return _padded(index, count), _padded(value, count)
    index, order = index.sort(dim=1)  # in reading order; topk leaves equal ones in any
    value = value.gather(1, order)
    row, column = index // width, index % width
    near = _chebyshev(row, column) <= reach
    # Of two equal maxima within reach of each other the one that is read first stays.
    beaten = near & (value.unsqueeze(1) == value.unsqueeze(2)) & (index.unsqueeze(1) < index.unsqueeze(2))
    value = torch.where(beaten.any(dim=2), 0, value)
    value, order = stable_sort(value, descending=True)
    return _padded(index.gather(1, order), count), _padded(value, count)


def _chebyshev(row: Tensor, column: Tensor) -> Tensor:
    return torch.maximum(
        (row.unsqueeze(1) - row.unsqueeze(2)).abs(), (column.unsqueeze(1) - column.unsqueeze(2)).abs()
    )


def _padded(values: Tensor, count: int) -> Tensor:
    return F.pad(values[:, :count], (0, max(0, count - values.shape[1])))


def _square_maximum(maps: Tensor, reach: int) -> Tensor:
    """Maximum over the square of ``2 reach + 1`` pixels around each pixel, one axis after the other."""
    return _line_maximum(_line_maximum(maps, reach, -1), reach, -2)


def _line_maximum(maps: Tensor, reach: int, axis: int) -> Tensor:
    """Running maximum over ``2 reach + 1`` pixels in about log2 of as many passes."""
    length, wanted = maps.shape[axis], 2 * reach + 1
    pad = [reach, reach] if axis == -1 else [0, 0, reach, reach]
    covered, running = 1, F.pad(maps, pad)
    while covered < wanted:
        step = min(covered, wanted - covered)
        size = running.shape[axis] - step
        running = torch.maximum(running.narrow(axis, 0, size), running.narrow(axis, step, size))
        covered += step
    return running.narrow(axis, 0, length)


def _one_per_cell(peaks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The greatest of every cell of ``side`` pixels (M, cells) and its flat index: maxima lie farther apart."""
    value, index = F.max_pool2d(peaks.unsqueeze(1), side, stride=side, ceil_mode=True, return_indices=True)
    return value.flatten(1), index.flatten(1)


def window_moments(heatmaps: Tensor, peaks: Peaks, radius: int) -> Moments:
    """Mean, covariance and greatest share in the window around each peak: Moments of (B, N, K, ...).

    Heatmaps (B, K, h, w) as :func:`lightning_kp.heatmaps.spatial_softmax` gives them; the window has
    ``2 radius + 1`` pixels a side, without the pixels that are nearer to another peak.  Renormalising a
    softmax over a window is the softmax over the window.  ``peak`` is in (0, 1]; gradients reach the
    heatmaps through the window alone.
    """
    height, width = heatmaps.shape[-2:]
    offset = torch.arange(-radius, radius + 1, device=heatmaps.device)
    rows = (peaks.row.unsqueeze(-1) + offset).unsqueeze(-1)  # (B, K, N, P, 1)
    columns = (peaks.column.unsqueeze(-1) + offset).unsqueeze(-2)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    values = heatmaps.flatten(2).gather(2, flat.flatten(2)).view(flat.shape)
    values = values * (inside & _nearest(peaks, rows, columns))
    share = values / values.sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    x = pixel_centres(width, like=heatmaps)[columns.squeeze(-2).clamp(0, width - 1)]
    y = pixel_centres(height, like=heatmaps)[rows.squeeze(-1).clamp(0, height - 1)]
    return _moments(share, x, y)


def _moments(share: Tensor, x: Tensor, y: Tensor) -> Moments:
    """Shares (B, K, N, P, P) with coordinates x, y (B, K, N, P) -> Moments with N before K."""
    along_x, along_y = share.sum(dim=-2), share.sum(dim=-1)
    mean_x, mean_y = (along_x * x).sum(dim=-1), (along_y * y).sum(dim=-1)
    dx, dy = x - mean_x.unsqueeze(-1), y - mean_y.unsqueeze(-1)
    var_x, var_y = (along_x * dx**2).sum(dim=-1), (along_y * dy**2).sum(dim=-1)
    cov_xy = ((share * dx.unsqueeze(-2)).sum(dim=-1) * dy).sum(dim=-1)
    return Moments(
        torch.stack((mean_x, mean_y), dim=-1).transpose(1, 2),
        torch.stack((var_x, var_y, cov_xy), dim=-1).transpose(1, 2),
        share.flatten(3).amax(dim=-1).transpose(1, 2),
    )


def _nearest(peaks: Peaks, rows: Tensor, columns: Tensor) -> Tensor:
    """Which pixels of each window (B, K, N, P, P) are as near to its own peak as to any other."""

    def squared(row: Tensor, column: Tensor) -> Tensor:
        return (rows - row[..., None, None]) ** 2 + (columns - column[..., None, None]) ** 2

    own = squared(peaks.row, peaks.column)
    keep = torch.ones_like(own, dtype=torch.bool)
    for other in range(peaks.row.shape[-1]):
        theirs = squared(peaks.row[..., other : other + 1], peaks.column[..., other : other + 1])
        keep &= own <= theirs
    return keep


def stable_sort(values: Tensor, *, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Sorted values along the last axis and where they were; equal ones keep their order.

    A graph for export takes TopK, which in ONNX puts the lower index first among equals; torch's own topk
    promises no such thing, and ONNX has no stable sort.
    """
    if torch.compiler.is_exporting():
        taken, order = values.topk(values.shape[-1], dim=-1, largest=descending)
        return taken, order
    ordered, order = values.sort(dim=-1, descending=descending, stable=True)
    return ordered, order
