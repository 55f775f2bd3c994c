"""Turned and scaled squares cut out of an image."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.images.resize import FILL


class View(NamedTuple):
    """A square of the picture: ``centre`` and ``side`` in px (edges), turned by ``angle`` rad, mirrored or not."""

    centre: tuple[float, float]
    side: float
    angle: float = 0.0
    flip: bool = False


class Cut(NamedTuple):
    """A view as the network sees it, (C, size, size) uint8; ``side`` in px; normalised = matrix @ px + shift."""

    image: Tensor
    side: float
    matrix: Tensor
    shift: Tensor

    def place(self, points_px: Tensor) -> Tensor:
        """Pixels (..., 2) of the picture -> normalised points of the view."""
        return points_px @ self.matrix.T.to(points_px) + self.shift.to(points_px)


def cut_out(picture: NDArray[np.uint8], view: View, size: int) -> Cut:
    """Cut a view out of a picture (H, W, C) and resize it with antialiasing; what lies outside is black."""
    cosine, sine = math.cos(view.angle), math.sin(view.angle)
    margin = abs(cosine) + abs(sine)  # a turned square needs a larger upright one
    extent = max(1, round(view.side * margin))
    left, top = (round(middle - extent / 2) for middle in view.centre)
    pixels = max(1, round(size * margin))
    upright = _resize(_crop(picture, left, top, extent), pixels)
    zoom = pixels / size
    turn = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    mirror = torch.diag(torch.tensor([-1.0 if view.flip else 1.0, 1.0], dtype=torch.float64))
    matrix = mirror @ turn * (2 / extent) * zoom
    shift = matrix @ torch.tensor([0.5 - left - extent / 2, 0.5 - top - extent / 2], dtype=torch.float64)
    if view.angle == 0:
        image = upright.flip(-1) if view.flip else upright
    else:
        back = torch.cat((torch.linalg.inv(mirror @ turn) / zoom, torch.zeros(2, 1)), dim=1).float()
        grid = F.affine_grid(back.unsqueeze(0), [1, 1, size, size], align_corners=False)
        image = F.grid_sample(upright.float().unsqueeze(0), grid, align_corners=False)[0].round().byte()
    return Cut(image, extent / zoom, matrix, shift)


def _crop(picture: NDArray[np.uint8], left: int, top: int, extent: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    square = np.full((extent, extent, picture.shape[2]), FILL, np.uint8)
    x, y = slice(max(0, left), min(width, left + extent)), slice(max(0, top), min(height, top + extent))
    if x.stop > x.start and y.stop > y.start:
        square[y.start - top : y.stop - top, x.start - left : x.stop - left] = picture[y, x]
    return square


def _resize(square: NDArray[np.uint8], side: int) -> Tensor:
    pixels = torch.from_numpy(square).permute(2, 0, 1).unsqueeze(0)
    if len(square) == side:
        return pixels[0].contiguous()
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)[0]
