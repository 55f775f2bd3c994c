"""Heatmap mathematics: logits -> heatmaps -> points, moments, shape and entropy; points -> Gaussian maps.

Source: 000, sections 4.4 (eq. 4.1) and 5.4 (eq. 5.5).  Unlike the reference code, -1 and +1 are the
outer edges of the image and not the centres of its border pixels (see geometry.py).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.geometry import pixel_centres, to_pixels


class Moments(NamedTuple):
    """Mean, spread and peak of heatmaps: ``points`` (B, K, 2), ``covariance`` (B, K, 3), ``peak`` (B, K).

    ``points`` are normalised; ``covariance`` holds (var x, var y, cov xy) in squared normalised units (000, eq. 5.5);
    ``peak`` is the greatest value of the heatmap (the confidence of B-KinD), in (0, 1].
    """

    points: Tensor
    covariance: Tensor
    peak: Tensor


def spatial_softmax(logits: Tensor) -> Tensor:
    """Logits (B, K, h, w) -> heatmaps (B, K, h, w) that sum to one over h, w; float32, or float64 for float64.

    >>> spatial_softmax(torch.zeros(1, 1, 2, 2)).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.flatten(2).softmax(dim=-1).view_as(logits)


def expectation(heatmaps: Tensor) -> Tensor:
    """Heatmaps (B, K, h, w) that sum to one -> mean points (B, K, 2), normalised: the soft-argmax.

    >>> expectation(torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])).tolist()  # all at the top right of 2 x 2 pixels
    [[[0.5, -0.5]]]
    """
    height, width = heatmaps.shape[-2:]
    # Products and sums instead of a matmul, whose coordinates autocast would round to 16 bits.
    x = (heatmaps.sum(dim=-2) * pixel_centres(width, like=heatmaps)).sum(dim=-1)
    y = (heatmaps.sum(dim=-1) * pixel_centres(height, like=heatmaps)).sum(dim=-1)
    return torch.stack((x, y), dim=-1)


def moments(heatmaps: Tensor) -> Moments:
    """Mean, covariance and peak of heatmaps (B, K, h, w) that sum to one (000, eq. 5.5).

    >>> moments(torch.full((1, 1, 1, 2), 0.5)).covariance.tolist()  # half at x = -0.5, half at x = 0.5
    [[[0.25, 0.0, 0.0]]]
    """
    height, width = heatmaps.shape[-2:]
    points = expectation(heatmaps)
    x = pixel_centres(width, like=heatmaps) - points[..., :1]
    y = pixel_centres(height, like=heatmaps) - points[..., 1:]
    var_x = (heatmaps.sum(dim=-2) * x**2).sum(dim=-1)
    var_y = (heatmaps.sum(dim=-1) * y**2).sum(dim=-1)
    cov_xy = ((heatmaps * x.unsqueeze(-2)).sum(dim=-1) * y).sum(dim=-1)
    return Moments(points, torch.stack((var_x, var_y, cov_xy), dim=-1), heatmaps.flatten(2).amax(dim=-1))


def eigenvalue_ratio(heatmaps: Tensor) -> Tensor:
    """Heatmaps (B, K, h, w) that sum to one -> ratios (B, K) of the eigenvalues of their covariance in pixels.

    The smallest over the greatest, in [0, 1]: 1 for a round or flat square map, near 0 for a line.  (The words of 003,
    4.6.6, name the inverse; its Table 4.20 holds this.)  A map with all its mass in one pixel is round.
    """
    covariance = moments(heatmaps).covariance
    half_width, half_height = heatmaps.shape[-1] / 2, heatmaps.shape[-2] / 2
    x, y, xy = covariance.unbind(-1)
    x, y, xy = x * half_width**2, y * half_height**2, xy * half_width * half_height
    mean, away = (x + y) / 2, (((x - y) / 2) ** 2 + xy**2).sqrt()
    greatest = mean + away
    ratio = (mean - away).clamp_min(0) / greatest.clamp_min(torch.finfo(greatest.dtype).tiny)
    return torch.where(greatest > 0, ratio, 1)


def map_entropy(maps: Tensor) -> Tensor:
    """Feature maps (B, C, h, w) >= 0 -> entropy (B, C) in nats of each map divided by its sum; NaN for a map of zeros.

    >>> map_entropy(torch.tensor([[[[1.0, 1.0]], [[0.0, 3.0]], [[0.0, 0.0]]]])).round(decimals=3)
    tensor([[0.6930, 0.0000,    nan]])
    """
    flat = maps.flatten(2)
    share = flat / flat.sum(dim=-1, keepdim=True)
    return -torch.xlogy(share, share).sum(dim=-1) + 0.0


def render_gaussians(
    points: Tensor, size: tuple[int, int], sigma: float, *, amplitude: float = 1.0
) -> Tensor:
    """Points (B, K, 2), normalised -> isotropic Gaussian maps (B, K, h, w) of ``size`` with peak ``amplitude``.

    ``sigma`` is a standard deviation in normalised units (half the width of the image is 1).  The Gaussian
    is separable, so that only h + w exponentials are computed per map.

    >>> render_gaussians(torch.zeros(1, 1, 2), (1, 1), sigma=0.1, amplitude=3.0).item()
    3.0
    """
    height, width = size
    x = pixel_centres(width, like=points) - points[..., :1]
    y = pixel_centres(height, like=points) - points[..., 1:]
    scale = -0.5 / sigma**2
    return amplitude * (scale * y**2).exp().unsqueeze(-1) * (scale * x**2).exp().unsqueeze(-2)


def pixel_gaussians(points: Tensor, size: tuple[int, int], sigma_px: float) -> Tensor:
    """Points (B, K, 2), normalised -> Gaussian maps (B, K, h, w) of ``size`` with peak 1, round in pixels of the map.

    ``sigma_px`` is a standard deviation in pixels of the map; on a map that is not square it is the same on both axes.

    >>> pixel_gaussians(torch.zeros(1, 1, 2), (1, 3), sigma_px=1.0).round(decimals=2).flatten()
    tensor([0.6100, 1.0000, 0.6100])
    """
    points_px = to_pixels(points, size)
    y, x = (torch.arange(side, dtype=points.dtype, device=points.device) for side in size)
    scale = -0.5 / sigma_px**2
    across = (scale * (x - points_px[..., :1]) ** 2).exp()
    down = (scale * (y - points_px[..., 1:]) ** 2).exp()
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def reference_amplitude(variance: float) -> float:
    """Peak of 000's eq. 4.1: 1 / sqrt(2 pi v), the normaliser of a one-dimensional Gaussian of ``variance`` v."""
    return 1.0 / math.sqrt(2 * math.pi * variance)
