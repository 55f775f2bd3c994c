"""Reconstruction losses: perceptual (000, eq. 5.1), and pixels plus SSIM for training from scratch (ours)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from torch import Tensor

# Typical size of each term (pixels, then relu1_2 to relu5_2) in the reference code.
REFERENCE_SCALES = (100.0, 1.6, 2.3, 1.8, 2.8, 100.0)


def feature_errors(prediction: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean squared error per level of two feature lists: maps (B, C_i, h_i, w_i) -> errors (levels,).

    Raises ValueError if the lists differ in length.

    >>> feature_errors([torch.zeros(2), torch.ones(3)], [torch.ones(2), torch.ones(3)])
    tensor([1., 0.])
    """
    # Not (p - t).square(): autocast computes mse_loss in 32 bits, while squares overflow in 16.
    return torch.stack([F.mse_loss(p, t) for p, t in zip(prediction, target, strict=True)])


def perceptual_loss(
    errors: Tensor, scales: Sequence[float] = REFERENCE_SCALES, *, saturate: bool = False
) -> Tensor:
    """Sum of per-level errors (levels,), each divided by its typical scale (eq. 5.1 leaves the weights open).

    ``saturate`` uses the divisor of the reference code, 0.99 scale + 0.01 error, with gradient; then no term can
    exceed 100. The result is a scalar.

    >>> perceptual_loss(torch.tensor([2.0, 3.0]), scales=(4.0, 1.0))  # 2 / 4 + 3 / 1
    tensor(3.5000)
    """
    scale = errors.new_tensor(scales)
    return (errors / (0.99 * scale + 0.01 * errors if saturate else scale)).sum()


def explained_error(prediction: Tensor, target: Tensor, floor: float = 1e-6) -> Tensor:
    """Mean squared error divided by the variance of the target over the batch; 1 = no better than its mean.

    A difference image is nearly black. Without the division the loss would start at 1e-3, and the other terms would
    dominate it.

    Args:
        prediction: Images (B, C, H, W).
        target: Images (B, C, H, W); no gradient reaches the variance.
        floor: Lower limit of the variance.

    Returns:
        Scalar.

    >>> explained_error(torch.zeros(2), torch.tensor([-1.0, 1.0]))  # 1 / 2, the unbiased variance
    tensor(0.5000)
    """
    variance = target.detach().var().clamp_min(floor)
    return (prediction - target).square().mean() / variance


def structural_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Pixel error in units of the target's variance, plus a fifth of one minus SSIM (ours).

    Images (B, C, H, W) in [0, 1], at least 7 px a side -> scalar.

    >>> image = torch.rand(1, 1, 8, 8)
    >>> structural_loss(image, image).item()
    0.0
    """
    similarity: Tensor = ssim(prediction, target, data_range=1.0, win_size=7, nonnegative_ssim=True)
    return explained_error(prediction, target) + 0.2 * (1 - similarity)
