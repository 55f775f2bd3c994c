"""Losses between heatmaps that sum to one and Gaussians at labelled points (000, sections 5.5 and 5.8).

The paper names the mean squared error and no scale for it.  Here both sides sum to one over the map, and every loss is
divided by that of a flat map: 1 = nothing found, 0 = right.
"""

from typing import Literal

import torch
from torch import Tensor

from lightning_kp.heatmaps import render_gaussians

Supervision = Literal["mse", "cross_entropy"]
TINY = 1e-30  # least share of a pixel whose logarithm is taken


def heatmap_mse(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> Tensor:
    """Heatmaps (B, K, h, w) that sum to one, points (B, K, 2) and confidence (B, K) -> scalar.

    Up to 2, where a map is sure and wrong; there its gradient vanishes, and a keypoint may stay in a wrong place.
    Points of confidence 0 and points outside the image do not count; 0 where none is left.  ``sigma``
    is the Gaussians' standard deviation in normalised units (image half-width = 1).
    """
    target, counts = _target(heatmaps, points, confidence, sigma)
    error = (heatmaps - target).square().sum(dim=(-2, -1)) / target.square().sum(dim=(-2, -1))
    return _mean(error, counts)


def heatmap_cross_entropy(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> Tensor:
    """As :func:`heatmap_mse`, the divergence of the heatmap from the Gaussian (ours).

    Grows with the distance between a sure map and its label, and so does not let go of it.
    """
    target, counts = _target(heatmaps, points, confidence, sigma)
    negative_entropy = torch.special.xlogy(target, target).sum(dim=(-2, -1))
    divergence = negative_entropy - (target * heatmaps.clamp_min(TINY).log()).sum(dim=(-2, -1))
    flat = negative_entropy + torch.log(negative_entropy.new_tensor(target.shape[-2] * target.shape[-1]))
    return _mean(divergence / flat, counts)


def supervision_loss(
    kind: Supervision, heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float
) -> Tensor:
    """The chosen one."""
    loss = heatmap_mse if kind == "mse" else heatmap_cross_entropy
    return loss(heatmaps, points, confidence, sigma)


def _target(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Gaussians (B, K, h, w) that sum to one, and which of them count (B, K)."""
    size = (heatmaps.shape[-2], heatmaps.shape[-1])
    counts = (confidence > 0) & (points.abs() <= 1).all(dim=-1)
    target = render_gaussians(torch.where(counts.unsqueeze(-1), points, 0), size, sigma)
    return target / target.sum(dim=(-2, -1), keepdim=True), counts


def _mean(error: Tensor, counts: Tensor) -> Tensor:
    weight = counts.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp_min(1)
