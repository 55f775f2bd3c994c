"""Which images a set holds: folders, patterns, list files and single files, and what is known of each image."""

import glob
import os
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.images.files import IMAGE_SUFFIXES, natural_key

STILL_SUFFIXES = IMAGE_SUFFIXES | {
    ".avif", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpx", ".j2k", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm",
    ".sgi", ".tga",
}  # fmt: skip
"""Suffixes of the images that a folder is searched for."""
LIST_SUFFIXES = (".txt", ".lst")
"""Suffixes of list files, which name one image in each line."""
NAMED = 3
"""Images that a message names; of more, their number is told."""
EdgeBox = tuple[float, float, float, float]
"""(left, top, right, bottom): edges in pixels of the upright image."""


class Still(NamedTuple):
    """A still image, or one box of it, of which a square is cut.

    Attributes:
        path: The file.
        name: Name in tables, relative to the deepest folder that holds all images, with ``/``.
        label: Its class; empty if unknown.
        split: ``train``, ``val`` or ``test`` where an official division says so; empty: a seed decides.
        box: What to cut out; None for the whole image.
        points_px: Labelled points (K, 2) in pixels of the upright image, NaN = not visible; None without labels.
        mirrored: Whether the square is mirrored; ``points_px`` then has left and right exchanged already.
    """

    path: str
    name: str
    label: str = ""
    split: str = ""
    box: EdgeBox | None = None
    points_px: NDArray[np.float64] | None = None
    mirrored: bool = False


def find_stills(sources: Sequence[str] | str, root: Path) -> list[Still]:
    """Find all images of ``sources``, sorted within each of them; folders below the common one are classes.

    Args:
        sources: Folders (searched with all their sub-folders), patterns (``birds/**/*.jpg``), list files (``.txt``,
            an image in each line, relative to the list's folder or to ``root``), and single images.
        root: Folder where relative paths start.

    Returns:
        The images; those that are given twice only once, with a warning.  The class of an image is the name of the
        folder that holds it directly below the deepest folder of all images; empty where there is none.

    Raises:
        DataError: A source does not exist or holds no image.
    """
    given = [sources] if isinstance(sources, str) else list(sources)
    found = [path for source in given for path in _of_source(source, root)]
    if not found:
        raise DataError(
            "No images were given.", remedy="Add --data.images=FOLDER, a pattern or a list of images."
        )
    paths = list(dict.fromkeys(found))
    if len(paths) < len(found):
        warnings.warn(f"{len(found) - len(paths)} image(s) are given twice and used once.", stacklevel=2)
    base = Path(os.path.commonpath([path.parent for path in paths]))
    return [_named(path, base) for path in paths]


def present(stills: Sequence[Still], root: Path) -> list[Still]:
    """The images whose files exist; warns of others.  Raises DataError if there are none."""
    exists = [Path(still.path).is_file() for still in stills]
    found = [still for still, is_there in zip(stills, exists, strict=True) if is_there]
    missing = [still.name for still, is_there in zip(stills, exists, strict=True) if not is_there]
    if not found:
        raise DataError(
            f"None of the {len(stills)} images of {root} exists, such as {some(missing)}.",
            remedy="Unpack the images there, or choose classes whose images are there.",
        )
    if missing:
        warnings.warn(f"{len(missing)} of {len(stills)} images are missing: {some(missing)}.", stacklevel=2)
    return found


def some(names: Sequence[str]) -> str:
    """The first names of a list, for a message.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def comparable(name: str) -> str:
    """A name as it is compared: accents composed, whatever the case."""
    return unicodedata.normalize("NFC", name).casefold()


def _named(path: Path, base: Path) -> Still:
    name = path.relative_to(base).as_posix()
    folder, separator, _ = name.partition("/")
    return Still(str(path), name, folder if separator else "")


def _of_source(source: str, root: Path) -> list[Path]:
    path = root / Path(source).expanduser()
    if path.is_dir():
        found = sorted(filter(_is_visible, path.rglob("*")), key=natural_key)
        return _some_images(found, path)
    if path.is_file():
        return _in_list(path, root) if path.suffix.lower() in LIST_SUFFIXES else [path.absolute()]
    if glob.has_magic(source):  # Path.glob refuses absolute patterns
        found = [Path(each) for each in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        return _some_images(sorted(filter(_is_still, found), key=natural_key), path)
    raise DataError(
        f"There is no file or folder {path}.",
        remedy="Give --data.images a folder, a pattern, a list file or an image; relative paths start at --data.root.",
    )


def _some_images(found: list[Path], source: Path) -> list[Path]:
    if not found:
        raise DataError(
            f"{source} holds no images.",
            remedy=f"Files with these suffixes are found: {' '.join(sorted(STILL_SUFFIXES))}.",
        )
    return [path.absolute() for path in found]


def _is_visible(path: Path) -> bool:
    return _is_still(path) and not path.parent.name.startswith(".")


def _is_still(path: Path) -> bool:
    return path.suffix.lower() in STILL_SUFFIXES and not path.name.startswith(".")


def _in_list(file: Path, root: Path) -> list[Path]:
    names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    found = {name: _first_file(name, (file.parent, root)) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise DataError(
            f"{file} names {len(missing)} image(s) that do not exist: {some(missing)}.",
            remedy=f"Paths in it start at {file.parent} or at --data.root.",
        )
    return [path for name in names if (path := found[name]) is not None]


def _first_file(name: str, folders: Sequence[Path]) -> Path | None:
    return next((path.absolute() for folder in folders if (path := folder / name).is_file()), None)
