"""Terms on moving regions: every region has a keypoint near it, and heatmaps lie on them (ours; not part of 000).

Coverage: where one animal stands out more than another, all keypoints of a network trained from scratch go to it, and
none has a reason to leave.  The keypoints are therefore treated as a mixture of Gaussians and the moving pixels as its
samples: the negative log-likelihood pulls the nearest keypoint towards pixels that no keypoint explains.  It has no
effect on the keypoints of an animal at rest.

Focus: reconstruction alone leaves a keypoint on a wall where it is, since nothing there has a gradient.  This term
requires that the mass of every heatmap lies on pixels that changed within the pair, on average over the batch.  Hence a
keypoint on an animal that rests in one pair is not pulled to another animal that moves, but a keypoint that never meets
motion is.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import pixel_centres

_FLOOR = 1e-6  # likelihood of a pixel far from all keypoints: limits the pull of, say, a flickering lamp
_NOISE_LEVELS = 4  # changes up to this many medians count as noise
_MIN_SHARE = 1e-12  # keeps the logarithm finite
_MIN_CHANGE = 0.02  # of the grey range; compression artefacts and flicker below it are invisible


def coverage_loss(points: Tensor, mask: Tensor, sigma: float = 0.15) -> Tensor:
    """Mean over moving pixels of -log(mean over keypoints of exp(-d^2 / 2 sigma^2)), mean over images.

    Args:
        points: Keypoints (B, K, 2), normalised (x, y) in [-1, 1].
        mask: Moving pixels (B, 1, h, w), 1 where something moved and 0 elsewhere.
        sigma: Standard deviation of the Gaussians in normalised units (image half-width = 1).

    Returns:
        Scalar; images without moving pixels are left out, and without any others it is 0.

    A single moving pixel at a distance of 0.5 with sigma 0.5 costs 0.5^2 / (2 * 0.5^2):

    >>> coverage_loss(torch.tensor([[[0.5, 0.0]]]), torch.ones(1, 1, 1, 1), sigma=0.5)
    tensor(0.5000)
    """
    height, width = mask.shape[-2:]
    dx = pixel_centres(width, like=points) - points[..., :1]
    dy = pixel_centres(height, like=points) - points[..., 1:]
    scale = -0.5 / sigma**2
    exponent = (scale * dy**2).unsqueeze(-1) + (scale * dx**2).unsqueeze(-2)
    likelihood = torch.logsumexp(exponent, dim=1) - math.log(points.shape[1])
    loss = -torch.logaddexp(likelihood, likelihood.new_tensor(math.log(_FLOOR)))
    weight = mask.squeeze(1)
    per_image = (loss * weight).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1)).clamp_min(1)
    counts = weight.flatten(1).amax(dim=1)
    return (per_image * counts).sum() / counts.sum().clamp_min(1)


def moving_mask(frame: Tensor, future: Tensor, size: tuple[int, int]) -> Tensor:
    """Moving pixels of two frames (B, 3, H, W) in [0, 1] -> mask (B, 1, h, w) of zeros and ones.

    A pixel moves if it changes by more than noise. The noise level of a pair is the median change over space,
    because animals cover less than half of the image.

    Args:
        frame: Earlier frames (B, 3, H, W) in [0, 1].
        future: Later frames (B, 3, H, W) in [0, 1].
        size: Rows and columns of the mask, (h, w).

    The mask extends one pixel beyond the change, here in the fourth of five pixels:

    >>> frame = torch.zeros(1, 3, 1, 5)
    >>> future = frame.clone()
    >>> future[..., 3] = 1
    >>> moving_mask(frame, future, (1, 5))
    tensor([[[[0., 0., 1., 1., 1.]]]])
    """
    change = (future - frame).abs().mean(dim=1, keepdim=True)
    change = F.adaptive_avg_pool2d(change, size)
    noise = change.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    moved = (change > (_NOISE_LEVELS * noise).clamp_min(_MIN_CHANGE)).to(change.dtype)
    # Extend by one cell, so that the unchanged interior between two changed edges counts as well.
    return F.max_pool2d(moved, 3, stride=1, padding=1)


def focus_loss(heatmaps: Tensor, mask: Tensor) -> Tensor:
    """Negative logarithm of the share of a keypoint's mass on moving pixels; mean over keypoints.

    The share is averaged over the batch before the logarithm. Thus the gradient for a keypoint with almost no mass
    on the animal is as strong as for one that has a tenth of its mass there.

    Args:
        heatmaps: Heatmaps (B, K, h, w) that sum to one.
        mask: Moving pixels (B, 1, h, w) of :func:`moving_mask`.

    Returns:
        Scalar; images without moving pixels are left out, and without any others it is 0.

    >>> focus_loss(torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([[[[1.0, 0.0]]]]))  # -log 0.25
    tensor(1.3863)
    """
    counts = mask.flatten(1).amax(dim=1)
    mass = (heatmaps * mask).sum(dim=(-2, -1))
    share = (mass * counts.unsqueeze(1)).sum(dim=0) / counts.sum().clamp_min(1)
    return -torch.where(counts.sum() > 0, share.clamp_min(_MIN_SHARE), torch.ones_like(share)).log().mean()
