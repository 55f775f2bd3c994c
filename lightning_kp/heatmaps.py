"""Heatmap mathematics: logits -> heatmaps -> points, moments and peaks; points -> Gaussian maps.

Source: 000, sections 4.4 (eq. 4.1) and 5.4 (eq. 5.5).  Unlike the reference code, -1 and +1 are the
outer edges of the image and not the centres of its border pixels (see geometry.py).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.keypoints import Keypoints


class Moments(NamedTuple):
    """Mean, spread and peak of heatmaps: ``points`` (B, K, 2), ``covariance`` (B, K, 3), ``peak`` (B, K).

    ``covariance`` holds (var x, var y, cov xy) in normalised units (000, eq. 5.5); ``peak`` is the
    greatest value of the heatmap (B-KinD's confidence), in (0, 1].
    """

    points: Tensor
    covariance: Tensor
    peak: Tensor


def spatial_softmax(logits: Tensor) -> Tensor:
    """Logits (B, K, h, w) -> heatmaps (B, K, h, w) that sum to one over h, w; always in float32."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.flatten(2).softmax(dim=-1).view_as(logits)


def expectation(heatmaps: Tensor) -> Tensor:
    """Heatmaps (B, K, h, w) that sum to one -> mean points (B, K, 2), the soft-argmax."""
    height, width = heatmaps.shape[-2:]
    # Products and sums, no matmul: autocast would round a matmul's coordinates to 16 bits.
    x = (heatmaps.sum(dim=-2) * pixel_centres(width, like=heatmaps)).sum(dim=-1)
    y = (heatmaps.sum(dim=-1) * pixel_centres(height, like=heatmaps)).sum(dim=-1)
    return torch.stack((x, y), dim=-1)


def moments(heatmaps: Tensor) -> Moments:
    """Mean, covariance and peak of heatmaps (B, K, h, w) that sum to one (000, eq. 5.5)."""
    height, width = heatmaps.shape[-2:]
    points = expectation(heatmaps)
    x = pixel_centres(width, like=heatmaps) - points[..., :1]
    y = pixel_centres(height, like=heatmaps) - points[..., 1:]
    var_x = (heatmaps.sum(dim=-2) * x**2).sum(dim=-1)
    var_y = (heatmaps.sum(dim=-1) * y**2).sum(dim=-1)
    cov_xy = ((heatmaps * x.unsqueeze(-2)).sum(dim=-1) * y).sum(dim=-1)
    return Moments(points, torch.stack((var_x, var_y, cov_xy), dim=-1), heatmaps.flatten(2).amax(dim=-1))


def to_keypoints(heatmaps: Tensor) -> Keypoints:
    """Heatmaps (B, K, h, w) -> one instance of keypoints (I = 1), confidence = peak."""
    return Keypoints(expectation(heatmaps).unsqueeze(1), heatmaps.flatten(2).amax(dim=-1).unsqueeze(1))


def render_gaussians(
    points: Tensor, size: tuple[int, int], sigma: float, *, amplitude: float = 1.0
) -> Tensor:
    """Points (B, K, 2) -> isotropic Gaussian maps (B, K, h, w) with the given peak ``amplitude``.

    ``sigma`` is a standard deviation in normalised units (image half-width = 1).  The exponential
    is separable: only h + w of them are computed per map.
    """
    height, width = size
    x = pixel_centres(width, like=points) - points[..., :1]
    y = pixel_centres(height, like=points) - points[..., 1:]
    scale = -0.5 / sigma**2
    return amplitude * (scale * y**2).exp().unsqueeze(-1) * (scale * x**2).exp().unsqueeze(-2)


def reference_amplitude(variance: float) -> float:
    """Peak of 000's eq. 4.1: the normaliser of a one-dimensional Gaussian, 1 / sqrt(2 pi v)."""
    return 1.0 / math.sqrt(2 * math.pi * variance)


def top_peaks(heatmaps: Tensor, count: int, *, separation: int = 1) -> Keypoints:
    """The ``count`` highest local maxima of each heatmap (B, K, h, w), as Keypoints (B, I, K, 2).

    A pixel is a peak when nothing within ``separation`` pixels is higher.  Missing peaks have
    confidence 0 and lie at the image centre.
    """
    window = 2 * separation + 1
    highest = F.max_pool2d(heatmaps, window, stride=1, padding=separation)
    peaks = torch.where(heatmaps == highest, heatmaps, torch.zeros_like(heatmaps))
    confidence, index = peaks.flatten(2).topk(count, dim=-1)
    width = heatmaps.shape[-1]
    x = pixel_centres(width, like=heatmaps)[index % width]
    y = pixel_centres(heatmaps.shape[-2], like=heatmaps)[index // width]
    points = torch.stack((x, y), dim=-1) * (confidence > 0).unsqueeze(-1)
    return Keypoints(points.transpose(1, 2), confidence.transpose(1, 2))
