"""Rotation equivariance: keypoints turn with the image (000, eq. 5.2)."""

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_kp.geometry import QUARTER_TURNS
from lightning_kp.heatmaps import reference_amplitude, render_gaussians
from lightning_kp.warps import FreeTurn, Turn, turn_points

Rotations = Literal["all", "one", "any"]
REFERENCE_VARIANCE = 0.001  # of the Gaussian maps, in normalised units squared


def drawn_turns(
    rotations: Rotations, images: int, generator: torch.Generator | None = None
) -> tuple[Turn, ...]:
    """Turns of one step: all three quarter turns, ``one`` of them, or ``any`` angle for each image.

    Without a generator, as in validation, they are always the same: the quarter turns, or the angles half-way between.
    """
    if rotations == "any" and generator is None:
        return tuple(FreeTurn(torch.full((images,), turn * math.pi / 4)) for turn in (1, 3, 5))
    if rotations == "any":
        return (FreeTurn(2 * math.pi * torch.rand(images, generator=generator)),)
    if rotations == "all" or generator is None:
        return QUARTER_TURNS
    return (QUARTER_TURNS[int(torch.randint(len(QUARTER_TURNS), (), generator=generator))],)


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

    The points of the upright image are turned and serve as pseudo labels. Turning the points turns their maps
    exactly, so that no map is resampled. Points that a turn by any angle moves out of view do not count.

    Args:
        points: Points (B, K, 2) of the upright image, normalised (x, y); they get no gradient.
        rotated: Points (B, K, 2) found in the turned image, normalised (x, y).
        turn: Quarter turns, or any angle per image, counter-clockwise.
        size: Rows and columns of the maps, (h, w).
        variance: Variance of the Gaussians in normalised units squared.
        amplitude: Peak of a map; None uses the normaliser of eq. 4.1.

    Returns:
        Scalar.

    A counter-clockwise quarter turn maps (x, y) to (y, -x):

    >>> points, turned = torch.tensor([[[0.5, 0.25]]]), torch.tensor([[[0.25, -0.5]]])
    >>> rotation_loss(points, turned, 1, (8, 8)).item()
    0.0
    """
    target, found = (
        _maps(each, size, variance, amplitude) for each in (_pseudo_labels(points, rotated, turn), rotated)
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
    """Variant of :func:`rotation_loss` for animals that share heatmaps: points and ``rotated`` (B, I, K, 2).

    The map of a keypoint is the maximum over the animals, so that their order does not matter.

    >>> points = torch.tensor([[[[0.5, 0.25]], [[0.0, 0.0]]]])
    >>> turned = torch.tensor([[[[0.0, 0.0]], [[0.25, -0.5]]]])
    >>> rotation_of_animals(points, turned, 1, (8, 8)).item()
    0.0
    """
    target, found = (
        _maps(each, size, variance, amplitude).amax(dim=1)
        for each in (_pseudo_labels(points, rotated, turn), rotated)
    )
    return (found - target).square().mean()


def _pseudo_labels(points: Tensor, rotated: Tensor, turn: Turn) -> Tensor:
    """Turned points (B, ..., 2) without gradient; out of view, the points of the turned image themselves."""
    turned = turn_points(points.detach(), turn)
    seen = turned.abs().amax(dim=-1, keepdim=True) <= 1
    return torch.where(seen, turned, rotated.detach())


def _maps(points: Tensor, size: tuple[int, int], variance: float, amplitude: float | None) -> Tensor:
    peak = reference_amplitude(variance) if amplitude is None else amplitude
    return render_gaussians(points, size, variance**0.5, amplitude=peak)
