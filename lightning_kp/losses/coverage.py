"""Coverage: every moving region has a keypoint near it (ours; not part of 000).

Where one animal stands out more than another, all keypoints of a network trained from scratch go to it, and none
has a reason to leave. This loss treats the keypoints as a mixture of Gaussians and the moving pixels as its
samples. The negative log-likelihood pulls the nearest keypoint towards pixels that no keypoint explains. It has no
effect on the keypoints of an animal at rest.
"""

import math

import torch
from torch import Tensor

from lightning_kp.geometry import pixel_centres

_FLOOR = 1e-6  # likelihood of a pixel far from all keypoints: limits the pull of, say, a flickering lamp


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
