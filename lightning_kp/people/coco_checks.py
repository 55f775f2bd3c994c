"""Checks of COCO-style keypoint files: entries, points outside of images, segmentations, image sizes."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as run_lengths
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.geometry import from_edges
from lightning_kp.images.files import image_size as size_of
from lightning_kp.labels.checks import TOLERANCE_PX
from lightning_kp.labels.frames import find_file
from lightning_kp.people.crowds import Crowd, Person, Scene

ID = (int, float, str)

MAX_OUTSIDE = (
    0.05  # share of the labelled people outside of their images that is still accepted, with a warning (ours)
)
MAX_NAMED = 4  # entries named in one message (ours)
MIN_CORNERS = 3  # of a polygon


def outline_of(annotation: dict[str, Any], path: Path) -> Any:
    """Segmentation of an annotation: a list of polygons, or run lengths; None if it has none.

    Polygons of fewer than three corners cover no area and are left out.  Raises DataError for other content.
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
        return [each for each in given if len(each) >= 2 * MIN_CORNERS] or None
    raise DataError(
        f"{path}: annotation {annotation.get('id')} has segmentation {str(given)[:60]}.",
        remedy="Correct the file: segmentation is a list of polygons, [[x, y, x, y, ...], ...], or run lengths with "
        "counts and size. Without it, the bounding box is used.",
    )


def _is_flat(polygon: Any) -> bool:
    numbers = isinstance(polygon, list) and all(isinstance(each, int | float) for each in polygon)
    return numbers and len(polygon) % 2 == 0 and bool(np.isfinite(polygon).all())


def check_scenes(path: Path, scenes: Sequence[Scene]) -> None:
    """Check the run lengths and the labelled points of all scenes against the size of their images.

    Up to 5 % of people outside of their images may be mistakes of annotators and cause only a warning.  Raises
    DataError for more, for points given as shares of the image, and for run lengths of other sizes.
    """
    for scene in scenes:
        for person in scene.people:
            _check_run_lengths(path, scene, person)
    labelled = [(scene, person) for scene in scenes for person in scene.people if person.is_labelled]
    if not labelled:
        return
    if max(float(np.nanmax(person.points)) for _, person in labelled) <= 1:
        raise DataError(
            f"{path}: all labelled points lie between 0 and 1, so they seem to be shares of the image, not pixels.",
            remedy="Points and boxes must be in pixels from the upper left corner: multiply by width and height.",
        )
    outside = [(scene, person) for scene, person in labelled if _is_outside(scene, person)]
    if not outside:
        return
    shown = "; ".join(_described(*each) for each in outside[:MAX_NAMED])
    more = "; and others" if len(outside) > MAX_NAMED else ""
    problem = f"{path}: {len(outside)} of {len(labelled)} labelled people lie outside of their images: {shown}{more}."
    if len(outside) > MAX_OUTSIDE * len(labelled):
        raise DataError(
            problem,
            remedy="Points must be x, y, visibility, and boxes left, top, width, height, in pixels of the image.",
        )
    warnings.warn(problem, stacklevel=2)


def _check_run_lengths(path: Path, scene: Scene, person: Person) -> None:
    """Raise DataError if the run lengths of a person, when there are any, do not fill their image."""
    outline = person.outline
    if not isinstance(outline, dict):
        return
    height, width = scene.size
    counts = outline["counts"]
    is_compressed = isinstance(counts, str)
    reason = ""
    if tuple(outline["size"]) == scene.size and not is_compressed and sum(counts) == height * width:
        return
    if tuple(outline["size"]) == scene.size and is_compressed:
        try:
            run_lengths.decode({"size": outline["size"], "counts": counts.encode()})
            return
        except (RuntimeError, ValueError) as error:
            reason = f" ({error})"
    length = "" if is_compressed else f" of {sum(counts)} pixels"
    raise DataError(
        f"{path}: annotation {person.facts.get('id')} has run lengths{length} for an image of "
        f"{outline['size'][1]}x{outline['size'][0]}; {scene.facts.get('file_name')} is {width}x{height}{reason}.",
        remedy="Correct the file: size must be height and width of the image, and counts the lengths of its runs.",
    )


def _is_outside(scene: Scene, person: Person) -> bool:
    """Whether no labelled point lies in the image, or the box does not touch it."""
    limit = from_edges(np.array(scene.size[::-1])) + TOLERANCE_PX
    known = person.points[np.isfinite(person.points).all(axis=-1)]
    inside = ((known >= from_edges(0) - TOLERANCE_PX) & (known <= limit)).all(axis=-1)
    left, top, width, height = person.box
    meets = left <= limit[0] and top <= limit[1] and left + width >= 0 and top + height >= 0
    return not (inside.any() and meets)


def _described(scene: Scene, person: Person) -> str:
    known = person.points[np.isfinite(person.points).all(axis=-1)]
    x, y = known[0]
    box = ", ".join(f"{each:g}" for each in person.box)
    height, width = scene.size
    return (
        f"annotation {person.facts.get('id')}, with a point at ({x:g}, {y:g}) and box [{box}], in "
        f"{scene.facts.get('file_name')} of {width}x{height}"
    )


def check_images(crowds: Iterable[Crowd], folders: Sequence[Path], file: Path) -> None:
    """Raise DataError for images that cannot be opened, or whose size differs from the one in the file."""
    wrong: dict[str, str] = {}
    checked: set[str] = set()
    for crowd in crowds:
        name = str(crowd.scene.facts["file_name"])
        found = None if name in checked else find_file(name, folders, loose=True)
        checked.add(name)
        if found is None:
            continue
        try:
            size = size_of(found)
        except OSError as error:
            wrong[name] = f"cannot be opened ({error})"
            continue
        if size != crowd.scene.size:
            height, width = crowd.scene.size
            wrong[name] = f"is {size[1]}x{size[0]}, but {width}x{height} in the file"
    if wrong:
        shown = "; ".join(f"{name} {problem}" for name, problem in list(wrong.items())[:MAX_NAMED])
        more = "; and others" if len(wrong) > MAX_NAMED else ""
        raise DataError(
            f"{len(wrong)} image(s) of {file.name} do not match the file: {shown}{more}.",
            remedy="Use the images that were labelled, not resized ones, or the points are in wrong places. Images are "
            "read as stored: a rotation in their EXIF data is ignored.",
        )


# Keys that every entry needs, with their types; all other keys are optional.
NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    "categories": {"id": ID},
    "images": {"id": ID, "file_name": (str,)},
    "annotations": {"image_id": ID},
}


def check_entries(path: Path, part: str, entries: Sequence[Any]) -> None:
    """Raise DataError for the first entry that lacks a needed key, or has a value of another type there."""
    for number, entry in enumerate(entries):
        for key, kinds in NEEDED[part].items():
            if not (isinstance(entry, dict) and isinstance(entry.get(key), kinds)):
                given = entry.get(key, "missing") if isinstance(entry, dict) else f"missing in {entry!r}"
                raise DataError(
                    f"{path}: {part}, entry {number}, key {key}: {str(given)[:60]}.",
                    remedy=f"Correct the file: each of {part} is an object with {' and '.join(NEEDED[part])}.",
                )


def image_size(image: dict[str, Any], folders: Sequence[Path], path: Path) -> tuple[int, int]:
    """Height and width of an image, from its entry or, if it has none, from the image itself."""
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return height, width
    file = find_file(image["file_name"], folders, loose=True)
    try:
        if file is None:
            raise FileNotFoundError("it is missing")
        return size_of(file)
    except OSError as error:
        raise DataError(
            f"{path}: image {image['id']} has no height and width, and {image['file_name']} cannot be read: {error}.",
            remedy="Add both keys, or put the image beside the file, into its images/, or into one of --data.images.",
        ) from error


def numbers_of(annotation: dict[str, Any], key: str, path: Path) -> NDArray[np.float64]:
    """Values (N,) of a key; empty if the annotation does not have it.  Raises DataError unless they are numbers."""
    given = annotation.get(key)
    try:
        found = np.array([] if given is None else given, dtype=np.float64)
    except (ValueError, TypeError):
        found = np.zeros(())
    if found.ndim != 1:
        raise DataError(
            f"{path}: annotation {annotation.get('id')} has {key} {str(given)[:60]}.",
            remedy=f"Correct the file: {key} must be a list of numbers.",
        )
    return found
