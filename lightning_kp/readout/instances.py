"""Peaks of different keypoints -> animals, within one image.

000, section 5.8 orders two look-alike flies by the y of their centroids, and does not say how peaks of
different keypoints become a fly.  Here (ours) the grouping is the one of least scatter: every keypoint in
turn serves as seed, the peaks of the others are given to its animals by the assignment of least squared
distance, centres are taken anew, and the seed with the least scatter in the end wins.
"""

from itertools import permutations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.readout.peaks import stable_sort

ENUMERATED = 4  # animals up to which all assignments are tried at once (24 of them)
FAR = 10.0  # normalised: where an animal waits that has no peak yet, so that it takes only what others leave
ROUNDS = 3  # of assigning and centring; the second rarely changes anything


def assign(cost: Tensor) -> Tensor:
    """The assignment of least total cost for each matrix (..., I, I): the column of each row (..., I)."""
    animals = cost.shape[-1]
    if animals > ENUMERATED:
        flat = cost.reshape(-1, animals, animals).double().cpu().numpy()
        columns = [linear_sum_assignment(each)[1] for each in flat]
        return torch.as_tensor(np.stack(columns), device=cost.device).view(cost.shape[:-1])
    choices = torch.tensor(list(permutations(range(animals))), device=cost.device)
    rows = torch.arange(animals, device=cost.device)
    return choices[cost[..., rows, choices].sum(dim=-1).argmin(dim=-1)]


def group(points: Tensor, weight: Tensor) -> Tensor:
    """Which peak of each keypoint belongs to each animal: points (B, N, K, 2) -> order (B, N, K).

    ``weight`` (B, N, K): a peak of weight 0 is absent and goes where room is left.  Use the result with
    :func:`reordered`.
    """
    with torch.no_grad():
        present = (weight > 0).to(points.dtype)
        # Seeds: the peaks of keypoint s are the centres of the animals, for all s at once.
        known = present.transpose(1, 2).unsqueeze(-1) > 0
        centres = torch.where(known, points.transpose(1, 2), FAR)  # (B, S, I, 2)
        each = points.unsqueeze(1).expand(-1, points.shape[2], -1, -1, -1)  # (B, S, N, K, 2)
        seen = present.unsqueeze(1).expand(each.shape[:-1])
        for _ in range(ROUNDS):
            apart = (centres[:, :, :, None, None] - each.unsqueeze(2)).square().sum(dim=-1)  # (B, S, I, N, K)
            cost = (apart * seen.unsqueeze(2)).permute(0, 1, 4, 2, 3)
            order = assign(cost).transpose(-1, -2)  # (B, S, I, K)
            mine, counts = _taken(each, order), seen.gather(2, order)
            total = counts.sum(dim=-1, keepdim=True)
            mean = (mine * counts.unsqueeze(-1)).sum(dim=-2) / total.clamp_min(1)
            centres = torch.where(total > 0, mean, FAR)
        scatter = ((mine - centres.unsqueeze(-2)).square().sum(dim=-1) * counts).sum(dim=(-1, -2))
        # A seed of which an animal has no peak starts from a place that means nothing.
        whole = present.sum(dim=1) == points.shape[1]
        scatter = torch.where(whole | ~whole.any(dim=1, keepdim=True), scatter, torch.inf)
        best = scatter.argmin(dim=1)
        return order[torch.arange(points.shape[0], device=points.device), best]


def _taken(values: Tensor, order: Tensor) -> Tensor:
    """Values (..., N, K, D) rearranged along N by order (..., N, K)."""
    return values.gather(-3, order.unsqueeze(-1).expand(*order.shape, values.shape[-1]))


def reordered(values: Tensor, order: Tensor) -> Tensor:
    """Values (B, N, K) or (B, N, K, D) with the peaks of every keypoint rearranged by order (B, N, K)."""
    return values.gather(1, order) if values.ndim == 3 else _taken(values, order)


def order_by_height(points: Tensor, weight: Tensor) -> Tensor:
    """The paper's rule: animals (B, I, K, 2) in the order of their centroids' y, the uppermost first: (B, I).

    Absent keypoints (``weight`` (B, I, K) of 0) do not count, animals without any come last.
    """
    present = (weight > 0).to(points.dtype)
    number = present.sum(dim=-1)
    height = (points[..., 1] * present).sum(dim=-1) / number.clamp_min(1)
    return stable_sort(torch.where(number > 0, height, torch.inf))[1]


def rearranged(values: Tensor, animals: Tensor) -> Tensor:
    """Values (B, I, ...) with the animals in the given order (B, I)."""
    return values[torch.arange(values.shape[0], device=values.device).unsqueeze(1), animals]
