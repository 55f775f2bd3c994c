"""Square patches of an image: cut out at any place, size and angle, and resized for the network."""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.geometry import from_edges
from lightning_kp.images.resize import FILL


class Patch(NamedTuple):
    """A square of an image to be cut out.

    ``centre`` (x, y) and ``side`` are in pixels of the image, counted from its outer edge; ``angle`` in radians turns
    the square clockwise on the screen; ``flip`` mirrors what it shows.
    """

    centre: tuple[float, float]
    side: float
    angle: float = 0.0
    flip: bool = False


class Cut(NamedTuple):
    """A patch as the network sees it.

    ``image`` (C, size, size) uint8; ``side`` of the square in pixels of the original image; ``matrix`` (2, 2) and
    ``shift`` (2,), float64, map its pixels to normalised points of the patch: matrix @ px + shift.
    """

    image: Tensor
    side: float
    matrix: Tensor
    shift: Tensor

    def place(self, points_px: Tensor) -> Tensor:
        """Pixels (..., 2) of the original image -> normalised points (..., 2) of the patch."""
        return points_px @ self.matrix.T.to(points_px) + self.shift.to(points_px)


def cut_patch(image: NDArray[np.uint8], patch: Patch, size: int) -> Cut:
    """Cut a patch out of an image (H, W, C) and resize it to (C, size, size) with antialiasing.

    Whatever lies outside the image is black.

    >>> cut_patch(np.full((8, 8, 3), 255, np.uint8), Patch((4.0, 4.0), 4.0), size=2).image.shape
    torch.Size([3, 2, 2])
    """
    cosine, sine = math.cos(patch.angle), math.sin(patch.angle)
    margin = abs(cosine) + abs(sine)  # a turned square needs a larger upright one
    extent = max(1, round(patch.side * margin))
    left, top = (round(middle - extent / 2) for middle in patch.centre)
    pixels = max(1, round(size * margin))
    upright = _resize(_crop(image, left, top, extent), pixels)
    zoom = pixels / size
    turn = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    mirror = torch.diag(torch.tensor([-1.0 if patch.flip else 1.0, 1.0], dtype=torch.float64))
    matrix = mirror @ turn * (2 / extent) * zoom
    shift = -matrix @ from_edges(torch.tensor([left + extent / 2, top + extent / 2], dtype=torch.float64))
    if patch.angle == 0:
        turned = upright.flip(-1) if patch.flip else upright
    else:
        back = torch.cat((torch.linalg.inv(mirror @ turn) / zoom, torch.zeros(2, 1)), dim=1).float()
        grid = F.affine_grid(back.unsqueeze(0), [1, 1, size, size], align_corners=False)
        turned = F.grid_sample(upright.float().unsqueeze(0), grid, align_corners=False)[0].round().byte()
    return Cut(turned, extent / zoom, matrix, shift)


def _crop(image: NDArray[np.uint8], left: int, top: int, extent: int) -> NDArray[np.uint8]:
    """Cut a square (extent, extent, C) out of an image (H, W, C), black outside it."""
    height, width = image.shape[:2]
    square = np.full((extent, extent, image.shape[2]), FILL, np.uint8)
    x, y = slice(max(0, left), min(width, left + extent)), slice(max(0, top), min(height, top + extent))
    if x.stop > x.start and y.stop > y.start:
        square[y.start - top : y.stop - top, x.start - left : x.stop - left] = image[y, x]
    return square


def _resize(square: NDArray[np.uint8], side: int) -> Tensor:
    """Resize a square (extent, extent, C) to (C, side, side) with antialiasing."""
    pixels = torch.from_numpy(square).permute(2, 0, 1).unsqueeze(0)
    if len(square) == side:
        return pixels[0].contiguous()
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)[0]
