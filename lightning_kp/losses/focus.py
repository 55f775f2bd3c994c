"""Focus: keypoints look at what moved (ours; not part of 000).

Reconstruction alone leaves a keypoint that once sits on a wall where it is: nothing there has a
gradient.  This term asks of every keypoint that the mass of its heatmap lie on pixels that changed
within the pair, on average over the batch: the keypoint of an animal that rests in one pair while
another moves is not pulled over to it, and one that never meets motion is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_NOISE_LEVELS = 4  # medians of the change that still count as noise
_LEAST_SHARE = 1e-12  # keeps the logarithm finite
_LEAST_CHANGE = 0.02  # of the grey range: compression and flicker below it are seen by nobody


def moving_mask(frame: Tensor, future: Tensor, size: tuple[int, int]) -> Tensor:
    """Where two frames (B, 3, H, W) in [0, 1] differ by more than noise: (B, 1, h, w), zeros and ones.

    The level of noise is the median over space of each pair, since animals cover less than half.
    """
    change = (future - frame).abs().mean(dim=1, keepdim=True)
    change = F.adaptive_avg_pool2d(change, size)
    noise = change.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    moved = (change > (_NOISE_LEVELS * noise).clamp_min(_LEAST_CHANGE)).to(change.dtype)
    # One cell further, so that the coat between two changed edges counts as well.
    return F.max_pool2d(moved, 3, stride=1, padding=1)


def focus_loss(heatmaps: Tensor, mask: Tensor) -> Tensor:
    """Minus the logarithm of the share of a keypoint's mass on what moved, over the batch; mean over K.

    Heatmaps (B, K, h, w) that sum to one, mask (B, 1, h, w) of :func:`moving_mask`.  Images in which
    nothing moved do not count.  The logarithm is taken of the batch's mean: its gradient is as strong
    for a keypoint whose mass elsewhere is nearly all as for one that has a tenth on the animal.
    """
    counts = mask.flatten(1).amax(dim=1)
    mass = (heatmaps * mask).sum(dim=(-2, -1))
    share = (mass * counts.unsqueeze(1)).sum(dim=0) / counts.sum().clamp_min(1)
    return -torch.where(counts.sum() > 0, share.clamp_min(_LEAST_SHARE), torch.ones_like(share)).log().mean()
