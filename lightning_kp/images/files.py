"""Image files: which there are in a folder, in which order, and their pixels as RGB."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError, VideoError

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
Image = NDArray[np.uint8]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order (frame 2 before frame 10)."""
    return sorted(filter(_is_image, folder.iterdir()), key=natural_key)


def natural_key(path: Path) -> list[Any]:
    """Sort key by which numbers inside names count as numbers."""
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", str(path))]


def read_image(path: Path) -> Image:
    """An image file as RGB (H, W, 3).  Raises DataError with its name."""
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as picture:
            pixels: Any = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read: {error}.", remedy="Extract this sequence again.") from error
    return np.asarray(pixels, dtype=np.uint8)


def as_rgb(picture: Any) -> Image:
    """An opened picture of any mode as RGB (H, W, 3); 16-bit grey is scaled to 8."""
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).clip(0, 65535)
        return np.repeat((wide // 257).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def _read_image(path: Path) -> Image:
    """Any image that Pillow reads, as RGB; 16-bit grey is scaled to 8."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(path) as picture:
            return as_rgb(ImageOps.exif_transpose(picture))
    except MemoryError:
        raise
    except Exception as error:  # its readers raise much else on damaged files, such as struct.error
        raise VideoError(f"{path} is no readable image: {error}.", remedy="Remove or replace it.") from error
