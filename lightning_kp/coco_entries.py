"""What entries of COCO-style keypoint files hold, or else which file, entry and key is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.label_frames import find_file

ID = (int, float, str)
# What entries cannot do without; all else may be left out.
NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    "categories": {"id": ID},
    "images": {"id": ID, "file_name": (str,)},
    "annotations": {"image_id": ID},
}


def check_entries(path: Path, part: str, entries: Sequence[Any]) -> None:
    """Raises DataError for the first entry that lacks a key, or has something else there."""
    for number, entry in enumerate(entries):
        for key, kinds in NEEDED[part].items():
            if not (isinstance(entry, dict) and isinstance(entry.get(key), kinds)):
                given = entry.get(key, "missing") if isinstance(entry, dict) else f"missing in {entry!r}"
                raise DataError(
                    f"{path}: {part}, entry {number}, key {key}: {str(given)[:60]}.",
                    remedy=f"Mend the file; each of {part} is an object with {' and '.join(NEEDED[part])}.",
                )


def picture_size(image: dict[str, Any], places: Sequence[Path], path: Path) -> tuple[int, int]:
    """Height and width of a picture as its entry says; read from the picture where it does not."""
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return height, width
    from PIL import Image as Pictures

    file = find_file(image["file_name"], places, loose=True)
    try:
        if file is None:
            raise FileNotFoundError("it is missing")
        with Pictures.open(file) as picture:
            return picture.height, picture.width
    except OSError as error:
        raise DataError(
            f"{path}: image {image['id']} has no key height and width, and {image['file_name']} tells none: {error}.",
            remedy="Add both keys, or put the picture beside the file, in images/ there, or in one of --data.images.",
        ) from error


def numbers_of(annotation: dict[str, Any], key: str, path: Path) -> NDArray[np.float64]:
    """The list below a key; empty where there is none."""
    given = annotation.get(key)
    try:
        found = np.array([] if given is None else given, dtype=np.float64)
    except (ValueError, TypeError):
        found = np.zeros(())
    if found.ndim != 1:
        raise DataError(
            f"{path}: annotation {annotation.get('id')}, key {key}: {str(given)[:60]}.",
            remedy="Mend the file; a list of numbers is needed.",
        )
    return found
