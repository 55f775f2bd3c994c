"""Rotation equivariance: keypoints turn with the image (000, eq. 5.2)."""

import torch
from torch import Tensor

from lightning_kp.heatmaps import reference_amplitude, render_gaussians
from lightning_kp.warps import Turn, turn_points

REFERENCE_VARIANCE = 0.001


def rotation_loss(
    points: Tensor,
    rotated: Tensor,
    turn: Turn,
    size: tuple[int, int],
    *,
    variance: float = REFERENCE_VARIANCE,
    amplitude: float | None = None,
) -> Tensor:
    """Mean squared error between the Gaussian maps of two sets of points.

    ``points`` (B, K, 2) of the upright image are turned and serve as pseudo labels (no gradient);
    ``rotated`` (B, K, 2) are those found in the turned image.  Turning the points turns their maps
    exactly, so no map is resampled.  Points that a turn by any angle takes out of view do not count.
    ``amplitude`` is the peak of a map; None takes eq. 4.1's normaliser.
    """
    target, found = (
        _maps(each, size, variance, amplitude) for each in (_wanted(points, rotated, turn), rotated)
    )
    return (found - target).square().mean()


def rotation_of_animals(
    points: Tensor,
    rotated: Tensor,
    turn: Turn,
    size: tuple[int, int],
    *,
    variance: float = REFERENCE_VARIANCE,
    amplitude: float | None = None,
) -> Tensor:
    """The same for animals that share their keypoints' heatmaps: points and ``rotated`` (B, I, K, 2).

    A map is the maximum over its animals, so that their order plays no part.
    """
    target, found = (
        _maps(each, size, variance, amplitude).amax(dim=1)
        for each in (_wanted(points, rotated, turn), rotated)
    )
    return (found - target).square().mean()


def _wanted(points: Tensor, rotated: Tensor, turn: Turn) -> Tensor:
    turned = turn_points(points.detach(), turn)
    seen = turned.abs().amax(dim=-1, keepdim=True) <= 1
    return torch.where(seen, turned, rotated.detach())


def _maps(points: Tensor, size: tuple[int, int], variance: float, amplitude: float | None) -> Tensor:
    peak = reference_amplitude(variance) if amplitude is None else amplitude
    return render_gaussians(points, size, variance**0.5, amplitude=peak)
