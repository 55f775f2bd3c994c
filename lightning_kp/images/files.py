"""Image files: which files are images, in which order a folder holds them, and their pixels as RGB."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
Image = NDArray[np.uint8]
"""Pixels (H, W, 3), RGB."""


def is_image(path: Path) -> bool:
    """Whether the file name has the suffix of an image and is not hidden.

    >>> is_image(Path("img01.PNG")), is_image(Path("._img01.png")), is_image(Path("labels.csv"))
    (True, False, False)
    """
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """List the images directly in a folder, in natural order (frame 2 before frame 10)."""
    return sorted(filter(is_image, folder.iterdir()), key=natural_key)


def natural_key(path: Path) -> list[Any]:
    """Sort key that compares the numbers inside names as numbers.

    >>> [path.name for path in sorted([Path("img10.png"), Path("img2.png")], key=natural_key)]
    ['img2.png', 'img10.png']
    """
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", str(path))]


def decode_image(path: Path, *, upright: bool = False) -> Image:
    """Read an image file of any mode as RGB (H, W, 3), uint8; 16-bit grey is scaled to 8 bits.

    ``upright`` applies the rotation that cameras note in EXIF data.  Raises whatever Pillow raises.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    with Pillow.open(path) as opened:
        picture: Any = ImageOps.exif_transpose(opened) if upright else opened
        if picture.mode.startswith("I"):
            wide = np.asarray(picture).clip(0, 65535)
            return np.repeat((wide // 257).astype(np.uint8)[..., None], 3, axis=2)
        return np.array(picture.convert("RGB"))


def read_image(
    path: Path,
    *,
    upright: bool = False,
    kind: type[DataError] = DataError,
    remedy: str = "Remove or replace it.",
) -> Image:
    """Read an image file as :func:`decode_image` does; raises an error of ``kind`` that names it and its ``remedy``."""
    try:
        return decode_image(path, upright=upright)
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow's readers raise much else, such as struct.error
        raise kind(f"{path} cannot be read as an image: {error}.", remedy=remedy) from error
