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
