"""Spatiotemporal differences between two frames, the reconstruction targets of B-KinD (000, 5.4)."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError

Target = Literal["ssim", "absolute", "raw", "image"]

_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for images in [0, 1]


def gaussian_window(size: int, sigma: float, *, like: Tensor) -> Tensor:
    """A Gaussian of ``size`` taps that sums to one: (size,)."""
    offset = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    window = (-(offset**2) / (2 * sigma**2)).exp()
    return window / window.sum()


def _smooth(images: Tensor, window: Tensor) -> Tensor:
    """Separable filter without padding, each channel on its own."""
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

    Gaussian window of ``window`` taps, sigma 1.5, borders repeated; the mean over the channels.
    The reference code leaves out the luminance term and blurs the result with sigma 1; this is
    ``luminance=False, blur_sigma=1.0`` (000 names all three terms, and no blur).
    """
    half = window // 2
    margin = half if blur_sigma is None else 2 * half
    # Variances do not change with the origin; around 0.5 they lose fewer digits to cancellation.
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
    """|I(t+T) - I(t)| (000, 5.4): (B, C, H, W)."""
    return (future - frame).abs()


def raw_difference(frame: Tensor, future: Tensor) -> Tensor:
    """I(t+T) - I(t) (000, 5.4): (B, C, H, W)."""
    return future - frame


def difference_target(target: Target, frame: Tensor, future: Tensor) -> Tensor:
    """The reconstruction target by name, (B, 3, H, W); ``image`` is the future frame itself."""
    match target:
        case "ssim":
            return ssim_difference(frame, future).expand(-1, 3, -1, -1)
        case "absolute":
            return absolute_difference(frame, future)
        case "raw":
            return raw_difference(frame, future)
        case "image":
            return future
    raise ConfigurationError(
        f"There is no reconstruction target '{target}'.", remedy=f"Choose of {', '.join(get_args(Target))}."
    )
