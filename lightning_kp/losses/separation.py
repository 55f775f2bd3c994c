"""Separation loss: keypoints push each other apart (000, eq. 5.3; Zhang et al. 2018).

Eq. 5.3 is a sum over pairs, which grows with the square of the number of keypoints. The losses here are its mean over
K x K, as in the reference code, so that one weight holds for any number of keypoints.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_kp.geometry import QUARTER_TURNS

REFERENCE_SIGMA = 0.08  # normalised units; not stated in the paper


def separation_loss(points: Tensor, sigma: float = REFERENCE_SIGMA) -> Tensor:
    """Mean over the K x K pairs of exp(-|p_i - p_j|^2 / 2 sigma^2), in which i = j counts as 0; mean over the batch.

    The reference code multiplies it by 0.05. Times K^2 it is the sum of eq. 5.3.

    Args:
        points: Points (B, K, 2), normalised (x, y).
        sigma: sigma_s of eq. 5.3 in normalised units (image half-width = 1).

    Returns:
        Scalar in [0, 1).

    >>> separation_loss(torch.zeros(1, 2, 2))  # two keypoints at one place: 2 exp(0) / 2^2
    tensor(0.5000)
    """
    # Differences in place of torch.cdist, whose gradient is not defined for coincident points.
    squared = (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(dim=-1)
    closeness = (-squared / (2 * sigma**2)).exp()
    off_diagonal = 1 - torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
    return (closeness * off_diagonal).mean()


def separation_of_animals(points: Tensor, sigma: float = REFERENCE_SIGMA) -> Tensor:
    """Variant of :func:`separation_loss` for animals that share heatmaps: points (B, I, K, 2) -> scalar.

    Different keypoints push each other apart, whichever animals they belong to, so that the order of the animals
    does not matter. Peaks of one keypoint are separate already, each in its own window. The sum over pairs is
    divided by K^2 and by the number of animals I, so that animals far apart have the mean of their own losses.

    >>> separation_of_animals(torch.zeros(1, 2, 2, 2))  # 8 ordered pairs of different keypoints / (2^2 * 2 animals)
    tensor(1.)
    """
    animals, keypoints = points.shape[1:3]
    squared = (points[:, :, :, None, None] - points[:, None, None]).square().sum(dim=-1)
    different = 1 - torch.eye(keypoints, dtype=points.dtype, device=points.device)
    closeness = (-squared / (2 * sigma**2)).exp() * different.unsqueeze(1)
    return closeness.sum(dim=(1, 2, 3, 4)).mean() / (animals * keypoints**2)


def separation_over_turns(
    upright: Tensor,
    rotated: Sequence[Tensor],
    sigma: float,
    loss: Callable[[Tensor, float], Tensor] = separation_loss,
) -> Tensor:
    """Mean separation loss of the upright frames and their three quarter turns, or its expectation.

    Args:
        upright: Points of the upright frames, (B, K, 2) or (B, I, K, 2), normalised (x, y).
        rotated: Points of the same shape for each turned copy; with one random turn this copy stands for all
            three, and without copies the loss is that of the upright frames.
        sigma: sigma_s of eq. 5.3 in normalised units.
        loss: Loss of one set of points.

    Returns:
        Scalar.

    >>> together, apart = torch.zeros(1, 2, 2), torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]])
    >>> separation_over_turns(together, [apart], sigma=0.08)  # 0.5 / 4 + 3 * 0 / 4
    tensor(0.1250)
    """
    total = loss(upright, sigma)
    if not rotated:
        return total
    share = 1 / (1 + len(QUARTER_TURNS))
    return share * total + (1 - share) * loss(torch.cat(tuple(rotated)), sigma)
