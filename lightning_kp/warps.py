"""Turning images and points alike, by quarter turns (exact) or by any angle (resampled)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import full_precision, rotate_image, rotate_points, widened


class FreeTurn(NamedTuple):
    """An angle in radians per image (B,), counter-clockwise on the screen as quarter turns are."""

    angle: Tensor

    def matrix(self) -> Tensor:
        """(B, 2, 2): a turned image shows at p what the image has at ``matrix @ p``."""
        cosine, sine = self.angle.cos(), self.angle.sin()
        return torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)


Turn = int | FreeTurn
"""A number of quarter turns, or any angle."""


def turn_image(image: Tensor, turn: Turn) -> Tensor:
    """Images (B, C, S, S), turned about their centre; corners that come into view repeat the border."""
    if isinstance(turn, int):
        return rotate_image(image, turn)
    image = widened(image)
    matrix = turn.matrix().to(image)
    back = torch.cat((matrix, torch.zeros_like(matrix[..., :1])), dim=-1)
    with full_precision(image):
        grid = F.affine_grid(back, list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def turn_points(points: Tensor, turn: Turn) -> Tensor:
    """Where points (B, ..., 2), normalised, of the image lie in the turned one; may be outside [-1, 1]."""
    if isinstance(turn, int):
        return rotate_points(points, turn)
    with full_precision(points):
        return (points.flatten(1, -2) @ turn.matrix().to(points)).view_as(points)
