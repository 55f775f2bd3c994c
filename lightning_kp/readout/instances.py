"""Grouping peaks of different keypoints into animals, within one image.

000, section 5.8 orders two look-alike flies by the y of their centroids, and leaves open how peaks of
different keypoints are grouped into flies.  Here (ours) the grouping has the least scatter: each keypoint in
turn serves as seed, the peaks of the other keypoints are assigned to its animals with the least squared
distance, the centres are recomputed, and the seed with the least final scatter is used.
"""

from itertools import permutations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.readout.peaks import stable_sort

MAX_ENUMERATED_ANIMALS = 4
"""Up to this many animals, all assignments (24) are tried at once; beyond, scipy solves each one."""
FAR = 10.0
"""Normalised coordinate of an animal without peaks, which so gets only peaks that no other animal needs."""
ROUNDS = 3
"""Rounds of assignment and centring; the second one rarely changes anything."""


def assign(cost: Tensor) -> Tensor:
    """Solve the assignment of least total cost for each matrix (..., I, I): the column (..., I) of each row.

    >>> assign(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).tolist()
    [1, 0]
    """
    animals = cost.shape[-1]
    if animals > MAX_ENUMERATED_ANIMALS:
        flat = cost.reshape(-1, animals, animals).double().cpu().numpy()
        columns = [linear_sum_assignment(each)[1] for each in flat]
        return torch.as_tensor(np.stack(columns), device=cost.device).view(cost.shape[:-1])
    choices = torch.tensor(list(permutations(range(animals))), device=cost.device)
    rows = torch.arange(animals, device=cost.device)
    return choices[cost[..., rows, choices].sum(dim=-1).argmin(dim=-1)]


def match_animals(points: Tensor, reference: Tensor) -> Tensor:
    """Points (B, I, K, 2) with each image's animals in the order of the nearest animals of ``reference``, alike."""
    cost = (reference.unsqueeze(2) - points.unsqueeze(1)).norm(dim=-1).mean(dim=-1)
    return reorder_animals(points, assign(cost))


def group_peaks(points: Tensor, weight: Tensor) -> Tensor:
    """Assign N peaks of each keypoint to N animals: points (B, N, K, 2) -> order (B, N, K) for :func:`reorder_peaks`.

    A peak of ``weight`` (B, N, K) 0 is absent and gets any animal that is left over.
    """
    with torch.no_grad():
        present = (weight > 0).to(points.dtype)
        # Seeds: the peaks of keypoint s are the centres of the animals, for all s in parallel.
        known = present.transpose(1, 2).unsqueeze(-1) > 0
        centres = torch.where(known, points.transpose(1, 2), FAR)  # (B, S, I, 2)
        each = points.unsqueeze(1).expand(-1, points.shape[2], -1, -1, -1)  # (B, S, N, K, 2)
        seen = present.unsqueeze(1).expand(each.shape[:-1])
        for _ in range(ROUNDS):
            apart = (centres[:, :, :, None, None] - each.unsqueeze(2)).square().sum(dim=-1)  # (B, S, I, N, K)
            cost = (apart * seen.unsqueeze(2)).permute(0, 1, 4, 2, 3)
            order = assign(cost).transpose(-1, -2)  # (B, S, I, K)
            assigned, counts = _gathered(each, order), seen.gather(2, order)
            total = counts.sum(dim=-1, keepdim=True)
            mean = (assigned * counts.unsqueeze(-1)).sum(dim=-2) / total.clamp_min(1)
            centres = torch.where(total > 0, mean, FAR)
        scatter = ((assigned - centres.unsqueeze(-2)).square().sum(dim=-1) * counts).sum(dim=(-1, -2))
        # A seed with an absent peak starts from a meaningless centre.
        whole = present.sum(dim=1) == points.shape[1]
        scatter = torch.where(whole | ~whole.any(dim=1, keepdim=True), scatter, torch.inf)
        best = scatter.argmin(dim=1)
        return order[torch.arange(points.shape[0], device=points.device), best]


def _gathered(values: Tensor, order: Tensor) -> Tensor:
    """Reorder values (..., N, K, D) along N by order (..., N, K)."""
    return values.gather(-3, order.unsqueeze(-1).expand(*order.shape, values.shape[-1]))


def reorder_peaks(values: Tensor, order: Tensor) -> Tensor:
    """Reorder the peaks of each keypoint by order (B, N, K); values are (B, N, K) or (B, N, K, D).

    >>> reorder_peaks(torch.tensor([[[1, 2], [3, 4]]]), torch.tensor([[[0, 1], [1, 0]]])).tolist()
    [[[1, 4], [3, 2]]]
    """
    return values.gather(1, order) if values.ndim == 3 else _gathered(values, order)


def order_by_height(points: Tensor, weight: Tensor) -> Tensor:
    """Order (B, I) of animals with points (B, I, K, 2) by the y of their centroids, topmost first (000, section 5.8).

    Absent keypoints (``weight`` (B, I, K) of 0) do not count; animals without keypoints come last.
    """
    present = (weight > 0).to(points.dtype)
    number = present.sum(dim=-1)
    height = (points[..., 1] * present).sum(dim=-1) / number.clamp_min(1)
    return stable_sort(torch.where(number > 0, height, torch.inf))[1]


def reorder_animals(values: Tensor, animals: Tensor) -> Tensor:
    """Reorder the animals of values (B, I, ...) by order (B, I)."""
    return values[torch.arange(values.shape[0], device=values.device).unsqueeze(1), animals]
