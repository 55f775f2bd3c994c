"""Rotating images and their points together, by quarter turns (exact) or by any angle (resampled)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import at_least_float32, full_precision, rotate_image, rotate_points


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
