"""Losses between heatmaps that sum to one and Gaussians at labelled points (000, sections 5.5 and 5.8).

The paper names the mean squared error without a scale. Here both the heatmap and the Gaussian sum to one, and every
loss is divided by that of a flat map: 1 = nothing found, 0 = correct.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import render_gaussians

Supervision = Literal["mse", "cross_entropy"]
TINY = 1e-30  # lower limit of a pixel's share, whose logarithm is taken


def heatmap_mse(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> Tensor:
    """Mean squared error between heatmaps and Gaussians at the labels, in units of the error of a flat map.

    Where a map is confident and wrong, it reaches 2 if the map is as wide as the Gaussian, and 1 + 4 pi s^2 if the map
    is one pixel and the Gaussian s pixels wide: 27 for the default sigma on a heatmap of 48 (s = 1.44). The gradient
    vanishes there, so that a keypoint may stay in a wrong place.

    Args:
        heatmaps: Heatmaps (B, K, h, w) that sum to one.
        points: Labels (B, K, 2), normalised (x, y); labels outside [-1, 1] do not count.
        confidence: Confidence (B, K) of the labels; labels of confidence 0 do not count.
        sigma: Standard deviation of the Gaussians in normalised units (image half-width = 1).

    Returns:
        Scalar; 0 if no label counts.

    A flat map of two pixels against a Gaussian in one of them, (0.5^2 + 0.5^2) / 1^2:

    >>> heatmaps, points = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[-0.5, 0.0]]])
    >>> heatmap_mse(heatmaps, points, torch.ones(1, 1), sigma=0.05)
    tensor(0.5000)
    """
    target, counts = _target(heatmaps, points, confidence, sigma)
    error = (heatmaps - target).square().sum(dim=(-2, -1)) / target.square().sum(dim=(-2, -1))
    return _mean(error, counts)


def heatmap_cross_entropy(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> Tensor:
    """Divergence of the heatmaps from the Gaussians at the labels, in units of that of a flat map (ours).

    It grows with the distance between a confident map and its label, so that the gradient does not vanish.
    Arguments and result as in :func:`heatmap_mse`.

    >>> heatmaps, points = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[-0.5, 0.0]]])
    >>> heatmap_cross_entropy(heatmaps, points, torch.ones(1, 1), sigma=0.05)  # a flat map
    tensor(1.)
    """
    target, counts = _target(heatmaps, points, confidence, sigma)
    negative_entropy = torch.special.xlogy(target, target).sum(dim=(-2, -1))
    divergence = negative_entropy - (target * heatmaps.clamp_min(TINY).log()).sum(dim=(-2, -1))
    flat = negative_entropy + torch.log(negative_entropy.new_tensor(target.shape[-2] * target.shape[-1]))
    return _mean(divergence / flat, counts)


def supervision_loss(
    kind: Supervision, heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float
) -> Tensor:
    """Compute :func:`heatmap_mse` or :func:`heatmap_cross_entropy`, as ``kind`` says.

    Heatmaps (B, K, h, w), points (B, K, 2) and confidence (B, K) -> scalar. Raises ConfigurationError for another
    ``kind``.
    """
    check_supervision(kind)
    loss = heatmap_mse if kind == "mse" else heatmap_cross_entropy
    return loss(heatmaps, points, confidence, sigma)


def check_supervision(kind: str) -> None:
    """Raise ConfigurationError unless ``kind`` is one of :data:`Supervision`."""
    if kind not in get_args(Supervision):
        raise ConfigurationError(
            f"supervision must be {' or '.join(get_args(Supervision))}, got {kind!r}.",
            remedy="Use --model.supervision=mse.",
        )


def _target(heatmaps: Tensor, points: Tensor, confidence: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Gaussians (B, K, h, w) that sum to one, and which labels count, (B, K) bool."""
    size = (heatmaps.shape[-2], heatmaps.shape[-1])
    counts = (confidence > 0) & (points.abs() <= 1).all(dim=-1)
    target = render_gaussians(torch.where(counts.unsqueeze(-1), points, 0), size, sigma)
    return target / target.sum(dim=(-2, -1), keepdim=True), counts


def _mean(error: Tensor, counts: Tensor) -> Tensor:
    weight = counts.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp_min(1)
