"""Mean squared error between heatmaps and Gaussians at labelled points (000, sections 5.5 and 5.8).

The paper names the loss and no scale for it.  Here both sides sum to one over the map, and the error is
divided by that of a map which is nothing but flat: 1 = nothing found, 0 = right, up to 2 = sure and wrong.
"""

import torch
from torch import Tensor

from lightning_kp.heatmaps import render_gaussians


def heatmap_mse(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> Tensor:
    """Heatmaps (B, K, h, w) that sum to one, points (B, K, 2) and confidence (B, K) -> scalar.

    Points of confidence 0 and points outside the image do not count; 0 where none is left.  ``sigma``
    is the Gaussians' standard deviation in normalised units (image half-width = 1).
    """
    size = (heatmaps.shape[-2], heatmaps.shape[-1])
    counts = (confidence > 0) & (points.abs() <= 1).all(dim=-1)
    target = render_gaussians(torch.where(counts.unsqueeze(-1), points, 0), size, sigma)
    target = target / target.sum(dim=(-2, -1), keepdim=True)
    error = (heatmaps - target).square().sum(dim=(-2, -1)) / target.square().sum(dim=(-2, -1))
    weight = counts.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp_min(1)
