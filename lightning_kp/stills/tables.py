"""Tables about images: their classes and official parts, and boxes; matched with the images by name."""

import csv
import io
import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.stills.listing import EdgeBox, Still, comparable, some

SEPARATORS = (",", ";", "\t", "|")
EDGES = ("left", "top", "right", "bottom")
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Words for the parts of a set, in tables."""


class ImageNames:
    """Finds images by the names that a table gives them, also by paths of another computer.

    A name fits an image if one is the end of the other's path, whole folders at a time, in any case.
    """

    def __init__(self, stills: Sequence[Still]) -> None:
        self._paths = [_parts(still.path) for still in stills]
        self._depths = [len(_parts(still.name)) for still in stills]
        self._by_last: dict[str, list[int]] = defaultdict(list)
        for row, parts in enumerate(self._paths):
            self._by_last[parts[-1]].append(row)

    def rows(self, name: str) -> tuple[list[int], int]:
        """Positions of the images that fit ``name`` best, and how many parts of both paths agree.

        There is no position where no image fits, and several where it is unclear which one is meant.
        """
        parts = _parts(name)
        fitting: dict[int, int] = {}
        for row in self._by_last.get(parts[-1], []) if parts else []:
            common = _common_end(parts, self._paths[row])
            if common >= min(len(parts), self._depths[row]):
                fitting[row] = common
        longest = max(fitting.values(), default=0)
        return [row for row, common in fitting.items() if common == longest], longest


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table as texts by lower-case column name; any usual separator, with or without a byte-order mark.

    Raises DataError if the file cannot be read or lacks one of ``columns``.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check the path."
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what spreadsheets on Windows write
    for separator in SEPARATORS:
        reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        head = [cell.strip().lower() for cell in next(reader, [])]
        if set(columns) <= set(head):
            return [
                dict(zip(head, (cell.strip() for cell in row), strict=False)) for row in reader if any(row)
            ]
    first = text.splitlines()[0][:60] if text else ""
    raise DataError(
        f"{path} has no columns {', '.join(columns)} in its first line ({first!r}).",
        remedy=f"Write the first line as {','.join(columns)}.",
    )


def with_classes(stills: Sequence[Still], path: Path) -> list[Still]:
    """Give images the classes (and the parts, if there is a column ``split``) of a table with image and class.

    Warns of images without a row and of rows without an image.  Raises DataError for a row that could mean several
    images, for two rows that contradict each other, and for an unknown part.
    """
    rows = read_rows(path, ("image", "class"))
    placed = _rows_of_images(stills, rows, path)
    result = [still._replace(label="") for still in stills]
    for row, of_image in placed.items():
        known = {(each["class"], _split(each, path)) for each in of_image}
        if len(known) > 1:
            raise DataError(
                f"{path} gives {stills[row].name} {len(known)} classes or parts: "
                f"{some(sorted(' '.join(each).strip() for each in known))}.",
                remedy="Keep one row for each image.",
            )
        label, split = known.pop()
        result[row] = stills[row]._replace(label=label, split=split)
    missing = [still.name for still in result if not still.label]
    if missing:
        warnings.warn(f"{len(missing)} image(s) have no class in {path}: {some(missing)}.", stacklevel=2)
    empty = sorted({each["class"] for each in rows} - {still.label for still in result})
    if empty:
        warnings.warn(f"{len(empty)} class(es) of {path} have no image: {some(empty)}.", stacklevel=2)
    return result


def with_boxes(stills: Sequence[Still], path: Path) -> list[Still]:
    """One entry for each box of a table with image, left, top, right and bottom (edges in pixels).

    Images without a box, and boxes of no area, are left out with a warning.  Raises DataError if no box is left.
    """
    placed = _rows_of_images(stills, read_rows(path, ("image", *EDGES)), path)
    result, bad = [], []
    for row, still in enumerate(stills):
        boxes = [_box(each) for each in placed.get(row, [])]
        good = [box for box in boxes if box is not None]
        bad += [still.name] * (len(boxes) - len(good))
        for number, box in enumerate(good, start=1):
            name = still.name if number == 1 else f"{still.name}#{number}"
            result.append(still._replace(name=name, box=box))
    missing = [still.name for row, still in enumerate(stills) if row not in placed]
    if bad:
        warnings.warn(f"{len(bad)} box(es) in {path} have no area: {some(bad)}.", stacklevel=2)
    if missing:
        warnings.warn(
            f"{len(missing)} image(s) have no box in {path} and are left out: {some(missing)}.", stacklevel=2
        )
    if not result:
        raise DataError(f"{path} has no box for any of the images.", remedy="Check the names in it.")
    return result


def _rows_of_images(
    stills: Sequence[Still], rows: Sequence[dict[str, str]], path: Path
) -> dict[int, list[dict[str, str]]]:
    """The rows of a table by position of their image; warns of rows that fit no image.

    Where names with different folders fit one image, it is that of the name that agrees with its path for longer.
    """
    names = ImageNames(stills)
    fits = {name: names.rows(name) for name in dict.fromkeys(row["image"] for row in rows)}
    best: dict[int, int] = defaultdict(int)
    for name, (found, common) in fits.items():
        if len(found) > 1:
            raise DataError(
                f"{name} in {path} could be {' or '.join(stills[each].name for each in found[:2])}.",
                remedy="Write the name with its folder.",
            )
        for row in found:
            best[row] = max(best[row], common)
    place = {name: found[0] for name, (found, common) in fits.items() if found and common == best[found[0]]}
    _refuse_two_names(place, stills, path)
    unknown = [name for name in fits if name not in place]
    if rows and not place:
        raise DataError(
            f"None of the {len(rows)} rows of {path} names an image of this set, such as {stills[0].name}: "
            f"{some(unknown)}.",
            remedy="Write the names as they are below the folder of the images.",
        )
    if unknown:
        warnings.warn(f"{len(unknown)} name(s) in {path} fit no image: {some(unknown)}.", stacklevel=3)
    placed = defaultdict(list)
    for each in rows:
        if each["image"] in place:
            placed[place[each["image"]]].append(each)
    return placed


def _refuse_two_names(place: dict[str, int], stills: Sequence[Still], path: Path) -> None:
    """Raise DataError if two names of a table mean one image equally well, though their folders differ."""
    first: dict[int, str] = {}
    for name, row in place.items():
        if _parts(first.setdefault(row, name)) != _parts(name):
            raise DataError(
                f"{first[row]} and {name} in {path} would both be the image {stills[row].name}.",
                remedy="Write the names as they are below the folder of the images.",
            )


def _split(row: dict[str, str], path: Path) -> str:
    word = row.get("split", "").lower()
    if word and word not in SPLITS:
        raise DataError(
            f"{path} has the part {word!r} in its column split.", remedy="Use train, val or test."
        )
    return SPLITS.get(word, "")


def _box(row: dict[str, str]) -> EdgeBox | None:
    """The box of a row; None if its cells are no numbers or it has no area."""
    try:
        left, top, right, bottom = (float(row.get(edge, "")) for edge in EDGES)
    except ValueError:
        return None
    whole = all(map(math.isfinite, (left, top, right, bottom)))
    return (left, top, right, bottom) if whole and right > left and bottom > top else None


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in comparable(name).replace("\\", "/").split("/") if part not in ("", "."))


def _common_end(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """How many parts at the end of both paths agree."""
    common = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        common += 1
    return common
