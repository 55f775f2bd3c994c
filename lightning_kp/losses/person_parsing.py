"""Losses of the person parser (000, section 3.5): parts (eq. 3.1), instances in a matched order (eq. 3.2).

Target heatmaps are discs: 1 within ``radius`` pixels of a labelled point, else 0. Binary cross entropy is computed
from logits. Pixels that do not count (people without labels) contribute neither to a sum nor to its divisor N.

If an image shows more instances than the curriculum requests, the requested steps are matched with the instances
that they fit best. No all-zero step follows, because instances are left.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.geometry import full_precision, pixel_centres

STOP_STEPS = 2  # all-zero heatmaps after the last instance (eq. 3.2)


def discs(points: Tensor, confidence: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """Points -> target heatmaps (..., K, h, w): 1 within ``radius`` of the point, else 0.

    Args:
        points: Points (..., K, 2), normalised (x, y).
        confidence: Confidence (..., K); points of confidence 0 have no disc.
        size: Rows and columns of the heatmaps, (h, w).
        radius: Radius of a disc in heatmap pixels.

    >>> discs(torch.zeros(1, 2), torch.ones(1), (1, 4), radius=1.0)  # centre between pixels 1 and 2
    tensor([[[0., 1., 1., 0.]]])
    """
    height, width = size
    x = (pixel_centres(width, like=points) - points[..., :1]) * (width / 2)
    y = (pixel_centres(height, like=points) - points[..., 1:]) * (height / 2)
    near = x.square().unsqueeze(-2) + y.square().unsqueeze(-1) <= radius**2
    return (near & (confidence > 0)[..., None, None]).to(points.dtype)


def counted_pixels(counts: Tensor, target: Tensor) -> Tensor:
    """Reduce the pixels that count, (B, H, W) bool, to the size of the targets (B, I, K, h, w): weights (B, h, w).

    A heatmap pixel counts if all its image pixels do. Pixels of a disc always count: the bounding box of an
    unannotated person without an outline may cover a labelled one.

    >>> counts = torch.tensor([[[True, True, True, False]]])
    >>> counted_pixels(counts, torch.zeros(1, 1, 1, 1, 2))
    tensor([[[1., 0.]]])
    """
    size = (target.shape[-2], target.shape[-1])
    left_out = F.adaptive_max_pool2d((~counts).float().unsqueeze(1), size)[:, 0]
    return (1 - left_out).maximum(target.amax(dim=(1, 2)))


def part_loss(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Eq. 3.1: binary cross entropy of logits and targets (B, K, h, w), mean over parts and counted pixels.

    ``counts`` (B, h, w) is 1 for pixels that count and 0 for others. The result is a scalar.

    >>> part_loss(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), torch.tensor([[[1.0, 0.0]]]))  # log 2
    tensor(0.6931)
    """
    error = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return (error * counts.unsqueeze(1)).sum() / (logits.shape[1] * counts.sum()).clamp_min(1)


def requested_steps(number: Tensor, limit: int | None) -> tuple[Tensor, Tensor]:
    """Instances per image (B,) -> requested instances (B,), and steps that count (B,), stop steps included.

    ``limit`` is the highest number of instances to request; None requests all.

    >>> requested_steps(torch.tensor([1, 3]), limit=2)  # two stop steps follow where no instance is left
    (tensor([1, 2]), tensor([3, 2]))
    """
    requested = number if limit is None else number.clamp_max(limit)
    return requested, torch.where(requested < number, requested, requested + STOP_STEPS)


def matched_targets(
    logits: Tensor, target: Tensor, present: Tensor, requested: Tensor, counts: Tensor
) -> Tensor:
    """H of eq. 3.2: the targets in the order of the predictions.

    The first ``requested`` predictions of every image are matched with instances so that the total cross entropy
    is smallest; the steps after them get all-zero targets.

    Args:
        logits: Predictions (B, T, K, h, w) of T steps.
        target: Targets (B, I, K, h, w).
        present: Which targets are instances, (B, I) bool.
        requested: Number of requested instances (B,).
        counts: Pixels that count, (B, h, w), 0 or 1.

    Returns:
        Targets (B, T, K, h, w).

    The first step fits the second instance, and the second step the first one:

    >>> target = torch.eye(2).view(1, 2, 1, 1, 2)
    >>> logits = 8 * target.flip(1) - 4
    >>> present, counts = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 1, 2)
    >>> matched_targets(logits, target, present, torch.tensor([2]), counts).flatten(2).tolist()
    [[[0.0, 1.0], [1.0, 0.0]]]
    """
    with torch.no_grad():
        # The cross entropy of a step is softplus(z) - z h; its first part is the same for every assignment.
        with full_precision(logits):
            weighted = (logits.float() * counts[:, None, None]).flatten(2)
            cost = -(weighted @ target.float().flatten(2).transpose(1, 2)).cpu().numpy().astype(np.float64)
        index = torch.full(logits.shape[:2], target.shape[1], dtype=torch.long)
        for image, number in enumerate(requested.tolist()):
            instances = torch.nonzero(present[image]).flatten().cpu().numpy()
            steps, chosen = linear_sum_assignment(cost[image, :number][:, instances])
            index[image, steps] = torch.from_numpy(instances[chosen])
        all_zero = torch.zeros_like(target[:, :1])
        pool = torch.cat((target, all_zero), dim=1)
        image_of = torch.arange(len(pool), device=pool.device).unsqueeze(1)
        return pool[image_of, index.to(pool.device)]


def person_loss(logits: Tensor, ordered: Tensor, steps: Tensor, counts: Tensor) -> Tensor:
    """Eq. 3.2: binary cross entropy with matched targets, mean over the steps of each image, then over images.

    Args:
        logits: Predictions (B, T, K, h, w).
        ordered: Targets (B, T, K, h, w) of :func:`matched_targets`.
        steps: Steps that count in each image, (B,).
        counts: Pixels that count, (B, h, w), 0 or 1.

    Returns:
        Scalar.

    >>> zeros = torch.zeros(1, 2, 1, 1, 1)
    >>> person_loss(zeros, zeros, torch.tensor([1]), torch.ones(1, 1, 1))  # log 2
    tensor(0.6931)
    """
    error = F.binary_cross_entropy_with_logits(logits.float(), ordered.float(), reduction="none")
    error = (error * counts[:, None, None]).sum(dim=(-3, -2, -1))
    active = torch.arange(logits.shape[1], device=logits.device) < steps.unsqueeze(1)
    pixels = logits.shape[2] * counts.sum(dim=(-2, -1)) * steps
    return ((error * active).sum(dim=1) / pixels.clamp_min(1)).mean()
