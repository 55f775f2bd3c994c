"""What a COCO-style file may say of people that its pictures cannot show, told before anybody trains on it."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as run_lengths
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.labels.checks import TOLERANCE_PX
from lightning_kp.labels.frames import find_file
from lightning_kp.people.crowds import Crowd, Person, Scene

ID = (int, float, str)

SOME = 0.05  # share of the labelled people from which those outside of their pictures are no slips (ours)
AT_MOST = 4  # named in a message (ours)
CORNERS = 3  # of a polygon, at least


def outline_of(annotation: dict[str, Any], path: Path) -> Any:
    """The segmentation: polygons of at least three corners, or run lengths; None where there is none.

    Polygons of fewer corners cover nothing and are left out.  Raises DataError for anything else.
    """
    given = annotation.get("segmentation")
    if not given:
        return None
    if isinstance(given, dict):
        counts, size = given.get("counts"), given.get("size")
        whole = isinstance(size, list) and len(size) == 2 and all(isinstance(each, int) for each in size)
        if whole and isinstance(counts, str):
            return given
        if whole and isinstance(counts, list) and all(type(each) is int and each >= 0 for each in counts):
            return given
    elif isinstance(given, list) and all(_is_flat(each) for each in given):
        return [each for each in given if len(each) >= 2 * CORNERS] or None
    raise DataError(
        f"{path}: annotation {annotation.get('id')}, key segmentation: {str(given)[:60]}.",
        remedy="Mend the file; it is a list of polygons, [[x, y, x, y, ...], ...], or run lengths with counts and "
        "size. Without one the box stands for it.",
    )


def _is_flat(polygon: Any) -> bool:
    numbers = isinstance(polygon, list) and all(isinstance(each, int | float) for each in polygon)
    return numbers and len(polygon) % 2 == 0 and bool(np.isfinite(polygon).all())


def check_scenes(path: Path, scenes: Sequence[Scene]) -> None:
    """Raises DataError for run lengths of other pictures, or where labelled points are no pixels of their pictures.

    A few people outside are a slip of the annotators, and told as a warning.
    """
    for scene in scenes:
        for person in scene.people:
            _check_run_lengths(path, scene, person)
    labelled = [(scene, person) for scene in scenes for person in scene.people if person.is_labelled]
    if not labelled:
        return
    if max(float(np.nanmax(person.points)) for _, person in labelled) <= 1:
        raise DataError(
            f"{path}: all labelled points lie between 0 and 1, which are shares of the pictures.",
            remedy="Points and boxes are pixels from the upper left corner: multiply by width and height.",
        )
    outside = [(scene, person) for scene, person in labelled if _is_outside(scene, person)]
    if not outside:
        return
    shown = "; ".join(_described(*each) for each in outside[:AT_MOST])
    said = f"{path}: of {len(labelled)} labelled people {len(outside)} lie outside of their pictures: {shown}"
    more = ", and others" if len(outside) > AT_MOST else ""
    if len(outside) > SOME * len(labelled):
        raise DataError(
            f"{said}{more}.",
            remedy="Points are x, y, visibility and boxes left, top, width, height, in pixels of the picture.",
        )
    warnings.warn(f"{said}{more}.", stacklevel=2)


def _check_run_lengths(path: Path, scene: Scene, person: Person) -> None:
    outline = person.outline
    if not isinstance(outline, dict):
        return
    height, width = scene.size
    counts = outline["counts"]
    plain = isinstance(counts, list)
    told = ""
    if tuple(outline["size"]) == scene.size and plain and sum(counts) == height * width:
        return
    if tuple(outline["size"]) == scene.size and not plain:
        try:
            run_lengths.decode({"size": outline["size"], "counts": counts.encode()})
            return
        except (RuntimeError, ValueError) as error:
            told = f" ({error})"
    of = f", {sum(counts)} pixels of" if plain else " of"
    raise DataError(
        f"{path}: annotation {person.facts.get('id')} has run lengths{of} a picture of "
        f"{outline['size'][1]}x{outline['size'][0]}; {scene.facts.get('file_name')} is {width}x{height}{told}.",
        remedy="Mend the file; size is height and width of the picture, counts the lengths of its runs.",
    )


def _is_outside(scene: Scene, person: Person) -> bool:
    """No labelled point in the picture, or no part of the box."""
    limit = np.array(scene.size[::-1]) - 0.5 + TOLERANCE_PX
    known = person.points[np.isfinite(person.points).all(axis=-1)]
    inside = ((known >= -0.5 - TOLERANCE_PX) & (known <= limit)).all(axis=-1)
    left, top, width, height = person.box
    meets = left <= limit[0] and top <= limit[1] and left + width >= 0 and top + height >= 0
    return not (inside.any() and meets)


def _described(scene: Scene, person: Person) -> str:
    known = person.points[np.isfinite(person.points).all(axis=-1)]
    x, y = known[0]
    box = ", ".join(f"{each:g}" for each in person.box)
    height, width = scene.size
    return (
        f"annotation {person.facts.get('id')}, a point at ({x:g}, {y:g}), box [{box}], in {width}x{height} of "
        f"{scene.facts.get('file_name')}"
    )


def check_pictures(crowds: Iterable[Crowd], folders: Sequence[Path], file: Path) -> None:
    """Raises DataError for pictures that cannot be opened, or are not as large as the file says."""
    from PIL import Image as Pictures

    wrong: dict[str, str] = {}
    checked: set[str] = set()
    for crowd in crowds:
        name = str(crowd.scene.facts["file_name"])
        found = None if name in checked else find_file(name, folders, loose=True)
        checked.add(name)
        if found is None:
            continue
        try:
            with Pictures.open(found) as picture:
                size = picture.height, picture.width
        except OSError as error:
            wrong[name] = f"cannot be opened ({error})"
            continue
        if size != crowd.scene.size:
            height, width = crowd.scene.size
            wrong[name] = f"is {size[1]}x{size[0]}, and {width}x{height} in the file"
    if wrong:
        shown = "; ".join(f"{name} {problem}" for name, problem in list(wrong.items())[:AT_MOST])
        more = ", and others" if len(wrong) > AT_MOST else ""
        raise DataError(
            f"{len(wrong)} pictures of {file.name} are not as it says: {shown}{more}.",
            remedy="Give the pictures that were labelled; points of others lie in wrong places. A picture that its "
            "EXIF data turn is read as it is stored.",
        )


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
