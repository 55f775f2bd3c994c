"""Separation loss: keypoints push each other apart (000, eq. 5.3; Zhang et al. 2018)."""

import torch
from torch import Tensor

REFERENCE_SIGMA = 0.08  # normalised units; not stated in the paper


def separation_loss(points: Tensor, sigma: float = REFERENCE_SIGMA) -> Tensor:
    """Sum over ordered pairs i != j of exp(-|p_i - p_j|^2 / 2 sigma^2), mean over the batch.

    Points (B, K, 2), normalised.  Each pair counts twice, as in eq. 5.3.  The reference code takes
    the mean over K^2 and multiplies by 0.05.
    """
    # Differences, not torch.cdist: its gradient at coincident points is not defined.
    squared = (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(dim=-1)
    closeness = (-squared / (2 * sigma**2)).exp()
    off_diagonal = 1 - torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
    return (closeness * off_diagonal).sum(dim=(1, 2)).mean()


def separation_of_animals(points: Tensor, sigma: float = REFERENCE_SIGMA) -> Tensor:
    """The same for animals that share their keypoints' heatmaps: points (B, I, K, 2), mean over the animals.

    Different keypoints push each other apart, whichever animal they lie on, so that the order of the
    animals plays no part; peaks of one keypoint are apart already, each in a window of its own.
    """
    animals, keypoints = points.shape[1:3]
    squared = (points[:, :, :, None, None] - points[:, None, None]).square().sum(dim=-1)
    different = 1 - torch.eye(keypoints, dtype=points.dtype, device=points.device)
    closeness = (-squared / (2 * sigma**2)).exp() * different.unsqueeze(1)
    return closeness.sum(dim=(1, 2, 3, 4)).mean() / animals
