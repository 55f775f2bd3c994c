"""Focus: keypoints look at what moved (ours; not part of 000)."""

import torch.nn.functional as F
from torch import Tensor

_LEAST_MASS = 1e-3


def motion_density(frame: Tensor, future: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where two frames (B, 3, H, W) differ, on a coarse grid.

    Returns a density (B, 1, h, w) whose maximum is 1 per pair, and a weight (B,) in [0, 1] that is
    near 0 for a pair in which nothing but noise changed.
    """
    change = (future - frame).abs().mean(dim=1, keepdim=True)
    change = F.adaptive_avg_pool2d(change, size)
    # The median over space is the level of sensor noise and flicker; an animal covers less than half.
    noise = change.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    change = (change - 3 * noise).clamp_min(0)
    change = F.max_pool2d(change, 3, stride=1, padding=1)
    peak = change.flatten(1).amax(dim=1)
    weight = peak / (peak + 0.03)
    return change / peak.clamp_min(1e-6).view(-1, 1, 1, 1), weight


def moving_mask(frame: Tensor, future: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where a pair moved, as a mask (B, 1, h, w) of zeros and ones, and the pair's weight (B,)."""
    density, weight = motion_density(frame, future, size)
    return (density > 0.15).to(density.dtype), weight


def focus_loss(heatmaps: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Minus the logarithm of the heatmaps' mass on moving pixels, so that a keypoint may be anywhere on them.

    Heatmaps (B, K, h, w) that sum to one; mask (B, 1, h, w) and weight (B,) of :func:`moving_mask`.
    """
    mass = (heatmaps * mask).sum(dim=(-2, -1))
    # The small constant bounds the gradient of a heatmap that lies wholly elsewhere.
    loss = -((mass + _LEAST_MASS) / (1 + _LEAST_MASS)).log().mean(dim=1)
    return (loss * weight).sum() / weight.sum().clamp_min(1e-6)
