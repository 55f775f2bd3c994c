"""Spatiotemporal differences between two frames, the reconstruction targets of B-KinD (000, 5.4)."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError

Target = Literal["ssim", "absolute", "raw", "image"]

_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for images in [0, 1]


def gaussian_window(size: int, sigma: float, *, like: Tensor) -> Tensor:
    """A Gaussian window (size,) that sums to one; ``sigma`` in taps, type and device of ``like``."""
    offset = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    window = (-(offset**2) / (2 * sigma**2)).exp()
    return window / window.sum()


def _smooth(images: Tensor, window: Tensor) -> Tensor:
    """Filter images (B, C, H, W) with a separable window (T,), without padding and channel by channel."""
    channels, size = images.shape[1], len(window)
    rows = window.view(1, 1, size, 1).expand(channels, 1, size, 1)
    columns = window.view(1, 1, 1, size).expand(channels, 1, 1, size)
    return F.conv2d(F.conv2d(images, rows, groups=channels), columns, groups=channels)


def ssim_difference(
    frame: Tensor,
    future: Tensor,
    *,
    luminance: bool = True,
    blur_sigma: float | None = None,
    window: int = 11,
) -> Tensor:
    """One minus the local structural similarity of images (B, C, H, W) in [0, 1]: (B, 1, H, W), in [0, 2].

    Gaussian window of ``window`` taps with sigma 1.5, border pixels repeated, averaged over the channels.
    The reference code omits the luminance term and blurs the result with sigma 1, which is
    ``luminance=False, blur_sigma=1.0`` here (000 has all three terms and no blur).

    >>> image = torch.rand(1, 3, 16, 16)
    >>> ssim_difference(image, image).abs().max().item() < 1e-3
    True
    """
    half = window // 2
    margin = half if blur_sigma is None else 2 * half
    # Variances do not depend on the origin; around 0.5 they lose fewer digits to cancellation.
    x, y = (F.pad(image - 0.5, (margin,) * 4, mode="replicate") for image in (frame, future))
    stacked = torch.cat((x, y, x * x + y * y, x * y), dim=1)
    smooth = _smooth(stacked, gaussian_window(window, 1.5, like=x))
    mean_x, mean_y, squares, products = smooth.split(x.shape[1], dim=1)
    covariance = products - mean_x * mean_y
    variances = squares - mean_x**2 - mean_y**2
    similarity = (2 * covariance + _C2) / (variances + _C2)
    if luminance:
        light_x, light_y = mean_x + 0.5, mean_y + 0.5
        similarity = similarity * (2 * light_x * light_y + _C1) / (light_x**2 + light_y**2 + _C1)
    difference: Tensor = 1 - similarity.mean(dim=1, keepdim=True)
    if blur_sigma is not None:
        difference = _smooth(difference, gaussian_window(window, blur_sigma, like=x))
    return difference


def absolute_difference(frame: Tensor, future: Tensor) -> Tensor:
    """|I(t+T) - I(t)| (B, C, H, W), in [0, 1] for frames (B, C, H, W) in [0, 1] (000, 5.4)."""
    return (future - frame).abs()


def raw_difference(frame: Tensor, future: Tensor) -> Tensor:
    """I(t+T) - I(t) (B, C, H, W), in [-1, 1] for frames (B, C, H, W) in [0, 1] (000, 5.4)."""
    return future - frame


def difference_target(target: Target, frame: Tensor, future: Tensor, *, reference: bool = False) -> Tensor:
    """Reconstruction target (B, 3, H, W) by name, of frames (B, 3, H, W) in [0, 1]; ``image`` is the future frame.

    ``reference`` computes ``ssim`` as the reference code does: without luminance, and blurred with sigma 1.  Raises
    ConfigurationError for an unknown name.
    """
    match target:
        case "ssim":
            blur = 1.0 if reference else None
            return ssim_difference(frame, future, luminance=not reference, blur_sigma=blur).expand(
                -1, 3, -1, -1
            )
        case "absolute":
            return absolute_difference(frame, future)
        case "raw":
            return raw_difference(frame, future)
        case "image":
            return future
    raise ConfigurationError(
        f"There is no reconstruction target '{target}'.", remedy=f"Choose {', '.join(get_args(Target))}."
    )
