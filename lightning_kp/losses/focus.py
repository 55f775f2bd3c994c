"""Focus: keypoints look at what moved (ours; not part of 000)."""

import torch
import torch.nn.functional as F
from torch import Tensor


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


def focus_loss(heatmaps: Tensor, frame: Tensor, future: Tensor) -> Tensor:
    """Cross-entropy between where heatmaps put their mass and where the pair moved.

    Heatmaps (2 B, K, h, w), those of the future frames first.  The loss of a keypoint is minus the
    logarithm of its mass on moving pixels, so that it may be anywhere on them.
    """
    with torch.no_grad():
        density, weight = motion_density(frame, future, (heatmaps.shape[-2], heatmaps.shape[-1]))
        mask = (density > 0.15).to(heatmaps.dtype).repeat(2, 1, 1, 1)
        weight = weight.repeat(2)
    mass = (heatmaps * mask).sum(dim=(-2, -1))
    loss = -(mass + 1e-3).log().mean(dim=1)
    return (loss * weight).sum() / weight.sum().clamp_min(1e-6)
