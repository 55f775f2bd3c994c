"""Coverage: everything that moved has a keypoint near it (ours; not part of 000).

Where one animal stands out more than another, every keypoint of a network from scratch goes to the
first and none has a reason to leave.  Read the keypoints as a mixture of Gaussians and the moving
pixels as its samples: the negative log-likelihood pulls the nearest keypoint to pixels that none
explains, and leaves a keypoint alone whose animal rests.
"""

import math

import torch
from torch import Tensor

from lightning_kp.geometry import pixel_centres

_FLOOR = 1e-6  # likelihood of a pixel far from all: bounds what a flickering lamp can pull


def coverage_loss(points: Tensor, mask: Tensor, sigma: float = 0.15) -> Tensor:
    """Mean over moving pixels of -log(mean over keypoints of exp(-d^2 / 2 sigma^2)), mean over images.

    Points (B, K, 2) and ``sigma`` normalised; mask (B, 1, h, w), ones where something moved.  Images
    in which nothing moved do not count.
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
