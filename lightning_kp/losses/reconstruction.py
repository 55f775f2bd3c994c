"""Reconstruction losses: perceptual (000, eq. 5.1), and pixel plus structure for training from scratch."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from torch import Tensor

# Typical size of each term (pixels, then relu1_2 to relu5_2) in the reference code.
REFERENCE_SCALES = (100.0, 1.6, 2.3, 1.8, 2.8, 100.0)


def feature_errors(prediction: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean squared error per level of two feature lists: (levels,)."""
    # Not (p - t).square(): autocast computes mse_loss in 32 bits, and squares overflow in 16.
    return torch.stack([F.mse_loss(p, t) for p, t in zip(prediction, target, strict=True)])


def perceptual_loss(
    errors: Tensor, scales: Sequence[float] = REFERENCE_SCALES, *, saturate: bool = False
) -> Tensor:
    """Sum of per-level errors (levels,), each divided by its typical scale (eq. 5.1 leaves the weights open).

    ``saturate`` takes the reference code's divisor 0.99 scale + 0.01 error, with gradient, under
    which a term cannot exceed 100.
    """
    scale = errors.new_tensor(scales)
    return (errors / (0.99 * scale + 0.01 * errors if saturate else scale)).sum()


def explained_error(prediction: Tensor, target: Tensor, floor: float = 1e-6) -> Tensor:
    """Mean squared error divided by the target's variance over the batch: 1 = as good as its mean.

    A difference image is nearly black: without the division the loss starts at 1e-3 and the other
    terms drown it.
    """
    variance = target.detach().var().clamp_min(floor)
    return (prediction - target).square().mean() / variance


def structural_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Pixel error in units of the target's variance, plus a fifth of one minus SSIM (ours).

    Images (B, C, H, W) of at least 7 pixels a side.
    """
    similarity: Tensor = ssim(prediction, target, data_range=1.0, win_size=7, nonnegative_ssim=True)
    return explained_error(prediction, target) + 0.2 * (1 - similarity)
