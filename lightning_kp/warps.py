"""Changing images and their points alike: quarter turns (exact), turns by any angle, and thin-plate splines."""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import at_least_float32, full_precision, pixel_centres, rotate_image, rotate_points

MASKED, RISING, MASK_SIDE = 10, 20, 128
"""Border of a loss mask in px: where it is 0, over what it rises, and the image side that both belong to."""
STEEPNESS = 0.4
"""Of the rise: tanh from -1 / 0.4 to 1 / 0.4 (Jakab et al. 2018)."""


class FreeTurn(NamedTuple):
    """Angles (B,) in radians, one per image, counter-clockwise on the screen like quarter turns."""

    angle: Tensor

    def matrix(self) -> Tensor:
        """Rotation matrices (B, 2, 2): the turned image shows at p what the image shows at ``matrix @ p``."""
        cosine, sine = self.angle.cos(), self.angle.sin()
        return torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)


Turn = int | FreeTurn
"""A number of quarter turns for all images, or one angle per image."""


def turn_image(image: Tensor, turn: Turn) -> Tensor:
    """Turn images (B, C, S, S) about their centre; corners that come into view repeat the border.

    >>> turn_image(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 1)[0, 0].tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    if isinstance(turn, int):
        return rotate_image(image, turn)
    image = at_least_float32(image)
    matrix = turn.matrix().to(image)
    back = torch.cat((matrix, torch.zeros_like(matrix[..., :1])), dim=-1)
    with full_precision(image):
        grid = F.affine_grid(back, list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def turn_points(points: Tensor, turn: Turn) -> Tensor:
    """Normalised points (B, N, ..., 2) of images -> where they lie after :func:`turn_image`; may be outside [-1, 1].

    >>> quarter = FreeTurn(torch.tensor([torch.pi / 2]))
    >>> turn_points(torch.tensor([[[0.0, 1.0]]]), quarter).round().int().tolist()  # the bottom goes to the right
    [[[1, 0]]]
    """
    if isinstance(turn, int):
        return rotate_points(points, turn)
    with full_precision(points):
        return (points.flatten(1, -2) @ turn.matrix().to(points)).view_as(points)


class Splines(NamedTuple):
    """Thin-plate splines T of B images, U(r) = r^2 log r, with n x n control points from -1 to 1 (003, 4.3.2.1).

    ``parameters`` (B, n * n, 2), normalised (x, y), control points row by row.  By default they are displacements: the
    classic spline, with its affine part, moves control point i by parameter i.  With ``free`` they are the weights of
    the kernels themselves, T(p) = p + sum of w_i U(|p - c_i|), without an affine part, as the text of 003 has it.
    ``shift`` (B, 2) moves the whole image in addition.

    T - id is linear in the parameters, so that :meth:`scaled` by 2 is the exactly doubled warp.  Kornia's
    ``get_tps_transform`` puts the kernels at the destinations; its warp is another one and does not double.
    """

    parameters: Tensor
    free: bool = False
    shift: Tensor | None = None

    @property
    def controls(self) -> int:
        """Number n of control points along each side.  Raises ConfigurationError if they fill no square."""
        number = self.parameters.shape[1]
        side = math.isqrt(number)
        if side < 2 or side * side != number:
            raise ConfigurationError(
                f"Thin-plate splines need n * n control points, n at least 2, got {number}.",
                remedy="Give parameters of the shape (B, n * n, 2).",
            )
        return side

    def scaled(self, factor: float) -> "Splines":
        """The splines that move every point ``factor`` times as far."""
        shift = None if self.shift is None else self.shift * factor
        return Splines(self.parameters * factor, self.free, shift)


def random_splines(
    images: int, controls: int, deviation: float, generator: torch.Generator, *, free: bool = False
) -> Splines:
    """Draw splines of ``images`` images with ``controls`` x ``controls`` parameters from N(0, ``deviation``)."""
    return Splines(deviation * torch.randn(images, controls**2, 2, generator=generator), free)


@dataclass(frozen=True)
class MixedSplines:
    """Draws splines with free kernel weights: small ones everywhere, and greater ones at random places.

    ``controls`` along each side; standard deviations: ``deviation`` of all weights, ``more`` of what is added to a
    random half of them, ``shift`` of the shift of the whole image, in normalised units.  Raises ConfigurationError for
    a number out of range.
    """

    controls: int
    deviation: float
    more: float
    shift: float

    def __post_init__(self) -> None:
        if self.controls < 2 or min(self.deviation, self.more, self.shift) < 0:
            raise ConfigurationError(
                f"The warp is {self}.",
                remedy="Give at least 2 control points a side, and deviations of at least 0.",
            )

    def draw(self, images: int, generator: torch.Generator) -> Splines:
        """Draw the splines of a batch."""
        shape = (images, self.controls**2, 2)
        first, second = (torch.randn(shape, generator=generator) for _ in range(2))
        half = torch.rand(shape, generator=generator) < 0.5
        weights = self.deviation * first + self.more * second * half
        return Splines(weights, free=True, shift=self.shift * torch.randn(images, 2, generator=generator))


def original_points(points: Tensor, splines: Splines) -> Tensor:
    """Points (B, N, 2) found in warped images -> where they lie in the originals, T(q), normalised.

    Images are warped backwards, so that this direction is exact; there is no closed form of the other one.
    Differentiable in the points and in the parameters.

    >>> moved = Splines(torch.zeros(1, 9, 2).index_fill_(1, torch.tensor([4]), 0.25))  # the central control point
    >>> original_points(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]), moved).round(decimals=4).tolist()
    [[[0.25, 0.25], [1.0, 1.0]]]
    """
    with full_precision(points):
        points = at_least_float32(points)
        return points + _offsets(_basis(points, splines.controls, splines.free), splines)


def warp_grid(size: tuple[int, int], splines: Splines, *, like: Tensor) -> Tensor:
    """Where each pixel of the warped images reads in the originals: (B, H, W, 2), normalised; ``size`` is (H, W).

    On the device of ``like`` and in its type, at least float32.
    """
    like = at_least_float32(like)
    points, basis = _pixel_basis(size, splines.controls, splines.free, like.dtype, like.device)
    with full_precision(like):
        moved: Tensor = points + _offsets(basis, splines)
        return moved.view(-1, *size, 2)


def warp_image(image: Tensor, splines: Splines) -> Tensor:
    """Images (B, C, H, W) -> warped images (B, C, H, W); what comes into view from outside repeats the border.

    The warped image shows at q what the image shows at T(q), see :func:`original_points`.
    """
    image = at_least_float32(image)
    grid = warp_grid((image.shape[-2], image.shape[-1]), splines, like=image)
    with full_precision(image):
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def border_mask(size: tuple[int, int], *, like: Tensor) -> Tensor:
    """Weights (1, 1, H, W) in [0, 1] that keep the border of an image out of a loss; ``size`` is (H, W).

    0 over 10 of 128 px, then rising over 20 of 128 px as a hyperbolic tangent, and 1 inside (Jakab et al. 2018).
    Warp the mask with the image, which moves what it leaves out.
    """
    rows, columns = (_rise(1 - pixel_centres(side, like=like).abs()) for side in size)
    return (rows.unsqueeze(1) * columns).view(1, 1, *size)


def _rise(distance: Tensor) -> Tensor:
    """Distances to the border, 1 = half of the image side -> weights."""
    start, length = 2 * MASKED / MASK_SIDE, 2 * RISING / MASK_SIDE
    progress = (distance - start) / length
    rising = 0.5 + 0.5 * torch.tanh((2 * progress - 1) / STEEPNESS)
    return torch.where(progress < 0, 0, torch.where(progress > 1, 1, rising))


@functools.lru_cache(maxsize=32)
def _pixel_basis(
    size: tuple[int, int], controls: int, free: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pixel centres (H * W, 2) and their basis (H * W, n * n): all warps of a batch are one product with it."""
    y, x = (pixel_centres(side, like=torch.zeros((), dtype=torch.float64)) for side in size)
    points = torch.cartesian_prod(y, x).flip(-1)
    return points.to(device, dtype), _basis(points, controls, free).to(device, dtype)


def _offsets(basis: Tensor, splines: Splines) -> Tensor:
    """How far points move, (B, P, 2), from their basis (P, n * n) or (B, P, n * n)."""
    parameters = splines.parameters.to(basis)
    if basis.ndim == 3:
        offsets = basis @ parameters
    else:  # one product for the whole batch, several times as fast as one for each image
        columns = parameters.transpose(0, 1).flatten(1)
        offsets = (basis @ columns).unflatten(1, (-1, 2)).transpose(0, 1)
    return offsets if splines.shift is None else offsets + splines.shift.to(basis).unsqueeze(1)


def _basis(points: Tensor, controls: int, free: bool) -> Tensor:
    """Points (..., 2) -> basis (..., n * n), with which T(p) - p = basis @ parameters."""
    centres = _control_points(controls).to(points)
    kernels = _kernel((points.unsqueeze(-2) - centres).square().sum(dim=-1))
    if free:
        return kernels
    solved = _displacement_solution(controls).to(points)
    affine = torch.cat((torch.ones_like(points[..., :1]), points), dim=-1)
    return torch.cat((kernels, affine), dim=-1) @ solved


def _kernel(square: Tensor) -> Tensor:
    """U(r) = r^2 log r of squared distances; 0, with a finite gradient, at r = 0."""
    return 0.5 * square * square.clamp_min(torch.finfo(square.dtype).tiny).log()


def _control_points(controls: int) -> Tensor:
    """The n x n control points (n * n, 2), (x, y), from -1 to 1, row by row; float64."""
    axis = torch.linspace(-1, 1, controls, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis).flip(-1)


@functools.lru_cache(maxsize=8)
def _displacement_solution(controls: int) -> Tensor:
    """Matrix (n * n + 3, n * n), float64: displacements of the control points -> kernel weights and affine part.

    The affine part is that of the displacement, rows 1, x, y.
    """
    centres = _control_points(controls)
    number = len(centres)
    affine = torch.cat((torch.ones_like(centres[:, :1]), centres), dim=1)
    system = torch.zeros(number + 3, number + 3, dtype=torch.float64)
    system[:number, :number] = _kernel(torch.cdist(centres, centres).square())
    system[:number, number:], system[number:, :number] = affine, affine.T
    solved: Tensor = torch.linalg.inv(system)
    return solved[:, :number]
