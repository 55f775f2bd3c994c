"""Image files: which files are images, in which order a folder holds them, and their pixels as RGB."""

import contextlib
import functools
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.images.depth import Span, span_of, to_eight_bits

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
PAGED_SUFFIXES = frozenset((".png", ".tif", ".tiff", ".webp"))
"""Suffixes of files that may hold several pictures."""
DEEP_SUFFIXES = frozenset((".png", ".tif", ".tiff"))
"""Suffixes of files that may hold more than 8 bits."""
ORIENTATION, LYING = 0x0112, 5
"""The EXIF entry of a camera's rotation, and the first of its values that exchange height and width."""
SAMPLED_FILES, SAMPLED_PAGES = 64, 8
"""Files of a folder, and pictures of a file, that tell which values are black and white (ours)."""
T = TypeVar("T")
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


def decode_image(path: Path, *, upright: bool = False, page: int = 0) -> Image:
    """Read an image file of any mode as RGB (H, W, 3), uint8.

    More than 8 bits are scaled by one rule for all images of the folder (:func:`deep_span`).  ``upright`` applies the
    rotation that cameras note in EXIF data; ``page`` is the number of the picture in a file of several.  Raises
    whatever Pillow raises.
    """
    with _pillow(path) as opened:
        if page:
            opened.seek(page)
        return _rgb(opened, path, upright=upright)


def decode_pages(path: Path) -> Iterator[tuple[Image, float]]:
    """Yield every picture of a file upright as RGB (H, W, 3), with its duration in seconds (0 = unknown)."""
    with _pillow(path) as opened:
        for page in range(getattr(opened, "n_frames", 1)):
            opened.seek(page)
            image = _rgb(opened, path, upright=True)
            yield image, float(opened.info.get("duration") or 0) / 1000


def page_count(path: Path) -> int:
    """Number of pictures in an image file; 1 for a file that cannot be read."""
    if path.suffix.lower() not in PAGED_SUFFIXES:
        return 1
    try:
        with _pillow(path) as opened:
            return int(getattr(opened, "n_frames", 1))
    except Exception:  # noqa: BLE001  (reported when the image itself is read)
        return 1


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file in pixels, upright, without decoding it.  Raises whatever Pillow raises."""
    with _pillow(path) as opened:
        # Pillow turns the size of a TIFF by itself.
        is_lying = opened.format != "TIFF" and opened.getexif().get(ORIENTATION, 1) >= LYING
        width, height = opened.size
        return (width, height) if is_lying else (height, width)


def deep_span(path: Path) -> Span:
    """Which values are black and white in the images of more than 8 bits in the folder of ``path``.

    Found from a sample of the folder's images, so that all of them are scaled alike; a warning tells it, once.
    """
    folder = path.parent.resolve()
    return _span_in(folder, folder.stat().st_mtime_ns) or _span_of_files([path]) or Span(0, 65535, 16)


@functools.lru_cache(maxsize=256)
def _span_in(folder: Path, changed_ns: int) -> Span | None:
    """The span in a folder, as long as nothing was added to it (``changed_ns``)."""
    files = [path for path in images_in(folder) if path.suffix.lower() in DEEP_SUFFIXES]
    span = _span_of_files(_spread(files, SAMPLED_FILES))
    if span is not None:
        warnings.warn(f"{folder}: images of more than 8 bits are scaled; {span}.", stacklevel=2)
    return span


def _span_of_files(paths: Sequence[Path]) -> Span | None:
    return span_of(values for path in paths for values in _deep_samples(path))


def _deep_samples(path: Path) -> Iterator[NDArray[Any]]:
    """Some pictures of a file that have more than 8 bits; none of a file that cannot be read."""
    with contextlib.suppress(Exception), _pillow(path) as opened:
        for page in _spread(range(getattr(opened, "n_frames", 1)), SAMPLED_PAGES):
            opened.seek(page)
            if (values := _deep_values(opened, path)) is not None:
                yield values


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spread, with the first and the last one."""
    step = max(1, -(-(len(items) - 1) // max(1, most - 1)))
    return [*items[:-1:step], *items[-1:]]


def _pillow(path: Path) -> Any:
    from PIL import Image as Pillow

    return Pillow.open(path)


def _rgb(opened: Any, path: Path, *, upright: bool) -> Image:
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(opened) if upright else opened
    values = _deep_values(turned, path, of=opened)
    if values is None:
        return np.array(turned.convert("RGB"))
    eight = to_eight_bits(values, deep_span(path))
    return np.repeat(eight[..., None], 3, axis=2) if eight.ndim == 2 else eight


def _deep_values(picture: Any, path: Path, of: Any = None) -> NDArray[Any] | None:
    """Values (H, W) or (H, W, 3) of a picture with more than 8 bits, else None; ``of``: the file as it was opened."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return np.asarray(picture)
    stored = picture if of is None else of
    if not _has_deep_colours(stored, path):
        return None
    if getattr(stored, "n_frames", 1) > 1 or (picture is not stored and picture.size != stored.size):
        raise ValueError(
            "colours of 16 bits are read from single, upright pictures only; convert it to 8 bits"
        )
    import av

    with av.open(
        str(path)
    ) as container:  # Pillow would keep the upper 8 bits, which are 0 in data of 12 bits
        return next(container.decode(video=0)).to_ndarray(format="rgb48le")


def _has_deep_colours(stored: Any, path: Path) -> bool:
    """Whether a file holds colours of 16 bits, which Pillow opens as colours of 8 bits."""
    if stored.format == "TIFF":
        bits = stored.tag_v2.get(258, ())  # BitsPerSample
        return len(bits) > 1 and max(bits) > 8
    if stored.format != "PNG":
        return False
    with path.open("rb") as file:
        header = file.read(26)  # bit depth and colour type follow the size in the first chunk
    return header[24:25] == b"\x10" and header[25] != 0


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
