"""Several peaks of one heatmap: the highest maxima, and mean and covariance in a window around each.

Source: 000, section 5.8 (Fly vs. Fly): look-alike animals share a heatmap, so its N highest maxima are
used, and the spatial softmax covers the region around each instead of the whole map.  The paper states
neither the size of the region nor how overlapping regions are divided; here a pixel belongs to the
nearest peak only.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.heatmaps import Moments

CHUNK_PIXELS = 1 << 16
"""Heatmap pixels processed at once (ours): what fits in the cache of a core."""


class Peaks(NamedTuple):
    """The N peaks of each heatmap: ``row`` and ``column`` (B, K, N), int64, and ``value`` (B, K, N), highest first.

    A missing peak has value 0 and the position of the highest one, so that indexing with it is harmless.
    """

    row: Tensor
    column: Tensor
    value: Tensor


def highest_peaks(heatmaps: Tensor, count: int, reach: int) -> Peaks:
    """Find the ``count`` highest local maxima of positive heatmaps (B, K, h, w), more than ``reach`` pixels apart.

    A pixel is a maximum if no pixel in the square of ``2 reach + 1`` pixels around it is higher; of equal
    pixels the first in reading order counts.  A map without positive pixels has peaks of value 0 at its first pixel.

    >>> found = highest_peaks(torch.tensor([[[[0.2, 0.9, 0.3, 0.0, 0.5]]]]), count=2, reach=1)
    >>> found.column.tolist()
    [[[1, 4]]]
    """
    batch, keypoints, height, width = heatmaps.shape
    maps = heatmaps.detach().reshape(-1, height, width)
    whole = maps.is_cuda or torch.compiler.is_exporting()
    chunks = (maps,) if whole else maps.split(max(1, CHUNK_PIXELS // (height * width)))
    parts = [_highest(part, count, reach) for part in chunks]
    index, value = (torch.cat(each).view(batch, keypoints, count) for each in zip(*parts, strict=True))
    index = torch.where(value > 0, index, index[..., :1])
    return Peaks(index // width, index % width, value)


def _highest(maps: Tensor, count: int, reach: int) -> tuple[Tensor, Tensor]:
    """Flat index and value (M, count) of the highest maxima of maps (M, h, w)."""
    width = maps.shape[-1]
    is_peak = maps == _square_maximum(maps, reach)
    value, index = _one_per_cell(torch.where(is_peak, maps, 0), reach + 1)
    # Equal maxima may lie in neighbouring cells: keep some more, then drop those that are too close.
    kept = min(value.shape[1], 4 * count)
    value, order = value.topk(kept, dim=1)
    index = index.gather(1, order)
    # An exported graph has no branches.
    has_equal = torch.compiler.is_exporting() or bool(
        (value[:, 1:] == value[:, :-1]).logical_and(value[:, 1:] > 0).any()
    )
    if not has_equal:
        return _padded(index, count), _padded(value, count)
    index, order = index.sort(dim=1)  # in reading order, since topk returns equal values in any order
    value = value.gather(1, order)
    row, column = index // width, index % width
    near = _chebyshev(row, column) <= reach
    # Of two equal maxima within reach of each other, the first in reading order is kept.
    beaten = near & (value.unsqueeze(1) == value.unsqueeze(2)) & (index.unsqueeze(1) < index.unsqueeze(2))
    value = torch.where(beaten.any(dim=2), 0, value)
    value, order = stable_sort(value, descending=True)
    return _padded(index.gather(1, order), count), _padded(value, count)


def _chebyshev(row: Tensor, column: Tensor) -> Tensor:
    """Chebyshev distances (M, N, N) in pixels between peaks at ``row`` and ``column`` (M, N)."""
    return torch.maximum(
        (row.unsqueeze(1) - row.unsqueeze(2)).abs(), (column.unsqueeze(1) - column.unsqueeze(2)).abs()
    )


def _padded(values: Tensor, count: int) -> Tensor:
    """Cut or zero-pad values (M, N) to (M, count)."""
    return F.pad(values[:, :count], (0, max(0, count - values.shape[1])))


def _square_maximum(maps: Tensor, reach: int) -> Tensor:
    """Maximum (M, h, w) over the square of ``2 reach + 1`` pixels around each pixel, one axis after the other."""
    return _line_maximum(_line_maximum(maps, reach, -1), reach, -2)


def _line_maximum(maps: Tensor, reach: int, axis: int) -> Tensor:
    """Running maximum (M, h, w) over ``2 reach + 1`` pixels along an axis, in about log2(2 reach + 1) passes."""
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
    """Maximum (M, cells) of every cell of ``side`` pixels, and its flat index; no two peaks share a cell."""
    value, index = F.max_pool2d(peaks.unsqueeze(1), side, stride=side, ceil_mode=True, return_indices=True)
    return value.flatten(1), index.flatten(1)


def window_moments(heatmaps: Tensor, peaks: Peaks, radius: int) -> Moments:
    """Mean, covariance and largest share in the window around each peak: Moments (B, N, K, ...).

    Heatmaps (B, K, h, w) are those of :func:`lightning_kp.heatmaps.spatial_softmax`.  The window has
    ``2 radius + 1`` pixels per side, without pixels that are nearer to another peak.  Renormalising a
    softmax over a window equals the softmax over that window.  ``peak`` is in (0, 1]; gradients flow to the
    heatmaps only through the window.

    >>> heatmap = torch.tensor([[[[0.0, 0.6, 0.0, 0.4]]]])
    >>> found = window_moments(heatmap, highest_peaks(heatmap, count=2, reach=1), radius=1)
    >>> found.points[0, :, 0, 0].tolist()
    [-0.25, 0.75]
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
    """Moments (B, N, K, ...) of shares (B, K, N, P, P) at normalised coordinates x, y (B, K, N, P)."""
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
    """Mask (B, K, N, P, P) of the pixels of each window that are at least as near to its peak as to any other."""

    def squared(row: Tensor, column: Tensor) -> Tensor:
        return (rows - row[..., None, None]) ** 2 + (columns - column[..., None, None]) ** 2

    own = squared(peaks.row, peaks.column)
    keep = torch.ones_like(own, dtype=torch.bool)
    for other in range(peaks.row.shape[-1]):
        distance = squared(peaks.row[..., other : other + 1], peaks.column[..., other : other + 1])
        keep &= own <= distance
    return keep


def stable_sort(values: Tensor, *, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Sort values (..., N) along the last axis; return them and their former positions (..., N), int64.

    Equal values keep their order.  An exported graph uses TopK, which in ONNX returns the lower index first among
    equals; torch's own topk does not guarantee this, and ONNX has no stable sort.
    """
    if torch.compiler.is_exporting():
        ordered, order = values.topk(values.shape[-1], dim=-1, largest=descending)
        return ordered, order
    ordered, order = values.sort(dim=-1, descending=descending, stable=True)
    return ordered, order
