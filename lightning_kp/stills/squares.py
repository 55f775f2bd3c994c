"""The square of a still image that a network sees: the whole image, or a box with a margin."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.geometry import Fit, Region, place
from lightning_kp.images.files import PAGED_SUFFIXES, Image, decode_image
from lightning_kp.images.resize import prepare
from lightning_kp.stills.listing import EdgeBox, Still

ANIMATED_SUFFIXES = PAGED_SUFFIXES | {".gif", ".avif"}
"""Suffixes of files whose several pictures are times or pages; those of a JPEG are previews."""
SMALLEST_PX = 4
"""Shorter side of the smallest image that shows anything (ours)."""
WHITE = (255, 255, 255)
"""What transparent images are laid onto, as pages and viewers do."""


@dataclass(frozen=True)
class SquareSettings:
    """How an image becomes a square of ``size`` px.

    ``fit`` as in :func:`lightning_kp.geometry.place`, for whole images; boxes get squares of ``margin`` times their
    longer side.  Raises ConfigurationError for a number out of range.
    """

    size: int
    fit: Fit = "pad"
    margin: float = 1.25

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.margin <= 10:
            raise ConfigurationError(
                f"size is {self.size} and margin is {self.margin}.",
                remedy="Give a --data.size of at least 1 and a --data.margin above 0 and up to 10, such as 1.25.",
            )


class Square(NamedTuple):
    """``pixels`` (3, S, S) uint8; the ``region`` of the upright image they show; its ``size_px`` (height, width)."""

    pixels: Tensor
    region: Region
    size_px: tuple[int, int]


def read_square(still: Still, settings: SquareSettings) -> Square:
    """Read an image file and make its square.  Raises DataError for a file that is not a picture of some size."""
    image = read_still(Path(still.path))
    if still.box is None:
        placement = place((image.shape[0], image.shape[1]), settings.size, settings.fit)
        pixels = torch.from_numpy(prepare(image, placement).copy()).permute(2, 0, 1)
        region = placement.region
    else:
        pixels, region = _cut(image, still.box, settings)
    if still.mirrored:
        pixels = pixels.flip(-1)
    return Square(pixels, region, (image.shape[0], image.shape[1]))


def read_still(path: Path) -> Image:
    """Read an image of any mode upright, as RGB (H, W, 3) uint8; transparent ones lie on white.

    Raises DataError for what is no image, holds several pictures or has less than :data:`SMALLEST_PX` px.
    """
    try:
        image = _opaque(path)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's readers raise much else, such as struct.error
        raise DataError(f"{path} cannot be read as an image: {error}.") from error
    if min(image.shape[:2]) < SMALLEST_PX:
        raise DataError(f"{path} has only {image.shape[1]}x{image.shape[0]} px.")
    return image


def _opaque(path: Path) -> Image:
    from PIL import Image as Pictures
    from PIL import ImageOps

    with Pictures.open(path) as opened:
        pictures = getattr(opened, "n_frames", 1) if path.suffix.lower() in ANIMATED_SUFFIXES else 1
        if pictures > 1:
            raise DataError(f"{path} holds {pictures} pictures.")
        if opened.has_transparency_data:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
            page = Pictures.new("RGBA", upright.size, (*WHITE, 255))
            return np.array(Pictures.alpha_composite(page, upright).convert("RGB"))
    return decode_image(path, upright=True)


def _cut(image: Image, box: EdgeBox, settings: SquareSettings) -> tuple[Tensor, Region]:
    """Cut the square around a box out of an image and resize it; the border is repeated outside the image."""
    height, width = image.shape[:2]
    left, right = (min(max(edge, 0.0), float(width)) for edge in (box[0], box[2]))
    top, bottom = (min(max(edge, 0.0), float(height)) for edge in (box[1], box[3]))
    if right <= left or bottom <= top:
        raise DataError(f"The box {box} lies outside the image of {width}x{height} px.")
    side = max(1, round(settings.margin * max(right - left, bottom - top)))
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    rows = np.clip(np.arange(y, y + side), 0, height - 1)
    columns = np.clip(np.arange(x, x + side), 0, width - 1)
    square = torch.from_numpy(image[rows[:, None], columns]).permute(2, 0, 1).unsqueeze(0)
    sides = (settings.size, settings.size)
    pixels = F.interpolate(square, sides, mode="bilinear", antialias=True)[0].contiguous()
    return pixels, Region(x, y, x + side, y + side)
