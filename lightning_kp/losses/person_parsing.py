"""Losses of the person parser (000, section 3.5): parts (eq. 3.1), instances in a matched order (eq. 3.2).

Heatmaps are discs: 1 within ``radius`` pixels of a labelled point, else 0.  Binary cross-entropy is computed
from logits.  Pixels that do not count (people without labels) enter neither a sum nor its divisor N.

Where an image shows more instances than are asked for (curriculum), the steps asked for are matched with the
ones they fit best, and no all-zero step follows: that nobody is left would be untrue.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.geometry import full_precision, pixel_centres

STOP_STEPS = 2  # all-zero heatmaps after the last instance (eq. 3.2)


def discs(points: Tensor, confidence: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """Points (..., K, 2), confidence (..., K) -> targets (..., K, h, w), 1 within ``radius`` heatmap pixels."""
    height, width = size
    x = (pixel_centres(width, like=points) - points[..., :1]) * (width / 2)
    y = (pixel_centres(height, like=points) - points[..., 1:]) * (height / 2)
    near = x.square().unsqueeze(-2) + y.square().unsqueeze(-1) <= radius**2
    return (near & (confidence > 0)[..., None, None]).to(points.dtype)


def part_loss(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Eq. 3.1: logits and targets (B, K, h, w), pixels that count (B, h, w) -> mean over pixels and parts."""
    error = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return (error * counts.unsqueeze(1)).sum() / (logits.shape[1] * counts.sum()).clamp_min(1)


def steps_asked(number: Tensor, limit: int | None) -> tuple[Tensor, Tensor]:
    """Instances that are there (B,) -> instances asked for (B,), and steps that count (B,), stop steps included."""
    asked = number if limit is None else number.clamp_max(limit)
    return asked, torch.where(asked < number, asked, asked + STOP_STEPS)


def matched_targets(logits: Tensor, target: Tensor, there: Tensor, asked: Tensor, counts: Tensor) -> Tensor:
    """H of eq. 3.2: targets (B, I, K, h, w) in the order of the predictions (B, T, K, h, w): (B, T, K, h, w).

    ``there`` (B, I) says which targets are instances; of every image the first ``asked`` (B,) predictions are
    matched at the least total cross-entropy, the steps after them get zeros.
    """
    with torch.no_grad():
        # Cross-entropy of a step is softplus(z) - z h; summed over an assignment the first part is constant.
        with full_precision(logits):
            weighted = (logits.float() * counts[:, None, None]).flatten(2)
            cost = -(weighted @ target.float().flatten(2).transpose(1, 2)).cpu().numpy().astype(np.float64)
        index = torch.full(logits.shape[:2], target.shape[1], dtype=torch.long)
        for image, number in enumerate(asked.tolist()):
            present = torch.nonzero(there[image]).flatten().cpu().numpy()
            steps, chosen = linear_sum_assignment(cost[image, :number][:, present])
            index[image, steps] = torch.from_numpy(present[chosen])
        nobody = torch.zeros_like(target[:, :1])
        pool = torch.cat((target, nobody), dim=1)
        image_of = torch.arange(len(pool), device=pool.device).unsqueeze(1)
        return pool[image_of, index.to(pool.device)]


def person_loss(logits: Tensor, ordered: Tensor, steps: Tensor, counts: Tensor) -> Tensor:
    """Eq. 3.2 with matched targets, both (B, T, K, h, w): mean over each image's ``steps`` (B,), then over images.

    ``counts`` (B, h, w) as in :func:`part_loss`.
    """
    error = F.binary_cross_entropy_with_logits(logits.float(), ordered.float(), reduction="none")
    error = (error * counts[:, None, None]).sum(dim=(-3, -2, -1))
    active = torch.arange(logits.shape[1], device=logits.device) < steps.unsqueeze(1)
    pixels = logits.shape[2] * counts.sum(dim=(-2, -1)) * steps
    return ((error * active).sum(dim=1) / pixels.clamp_min(1)).mean()
