"""Resizing a frame into the square that a network sees, as planned by a Placement."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lightning_kp.geometry import Placement

FILL = 0
"""Grey value outside the frame.

A constant, because a replicated edge would smear an animal at the border into stripes that move with it:
motion that the frame does not have.
"""


def prepare(image: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Crop, resize with antialiasing and pad an image (H, W, 3) to (size, size, 3), both uint8 RGB."""
    left, top, right, bottom = placement.box
    height, width = placement.content
    # Torch reads the cropped view in place; a channels-last tensor takes the fast uint8 path.
    pixels = torch.from_numpy(image[top:bottom, left:right]).permute(2, 0, 1).unsqueeze(0)
    resized = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    return pad(resized[0].permute(1, 2, 0).numpy(), placement)


def pad(content: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Paste resized content (height, width, 3) into its square (size, size, 3), with :data:`FILL` as padding."""
    if placement.content == (placement.size, placement.size):
        return content
    (row, column), (height, width) = placement.offset, placement.content
    square = np.full((placement.size, placement.size, 3), FILL, dtype=np.uint8)
    square[row : row + height, column : column + width] = content
    return square
