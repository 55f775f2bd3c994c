"""People in COCO-style keypoint files (COCO, CrowdPose, OCHuman and others) as scenes and crowds.

``kp crowds`` writes derived files in the same format: one image entry for each crowd, with ``crowd_box`` (left, top,
width, height) in pixels of the original image, and annotations in its coordinates that are ``in_crowd`` or not.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.images.files import Image
from lightning_kp.labels.archives import open_npz, split_part
from lightning_kp.labels.frames import find_file, image_reader
from lightning_kp.people.coco_checks import (
    MAX_NAMED,
    check_entries,
    check_scenes,
    image_size,
    numbers_of,
    outline_of,
)
from lightning_kp.people.crowds import OVERLAP, Crowd, Person, Scene, crowds_of
from lightning_kp.skeleton import check_mirror, mirror_from_names

BOX_SHARE = 0.53  # share of a box that a person covers, if the file has no area (from CrowdPose's evaluation)
BOX, MEMBER, LINKED = "crowd_box", "in_crowd", "crowd_overlap"  # keys of derived files


@dataclass(frozen=True)
class CocoPeople:
    """Scenes of a file with the ``names`` of their K keypoints; ``content`` is the parsed file."""

    names: tuple[str, ...]
    scenes: tuple[Scene, ...]
    content: dict[str, Any]

    def mirrored_by(self, mirror: Sequence[int]) -> "CocoPeople":
        """Return a copy with another mirror (K,).  Raises ConfigurationError if it does not pair the keypoints."""
        check_mirror(self.names, mirror)
        return replace(self, scenes=tuple(replace(each, mirror=tuple(mirror)) for each in self.scenes))

    @property
    def is_derived(self) -> bool:
        """Whether ``kp crowds`` wrote the file, which then lists the crowds."""
        return any(BOX in scene.facts for scene in self.scenes)

    def crowds(self, overlap: float = OVERLAP) -> list[Crowd]:
        """The crowds of all scenes: those listed in a derived file, else those linked by overlaps of boxes.

        Raises ConfigurationError if ``overlap`` is neither the default nor the one that a derived file was made with.
        """
        own = (self.content.get("info") or {}).get(LINKED)
        if self.is_derived and overlap not in (OVERLAP, own):
            raise ConfigurationError(
                f"An overlap of {overlap:g} was given, but the crowds in this file were made with an overlap of "
                f"{own or 'unknown size'}.",
                remedy="Leave the overlap out, or give the original file, from which kp crowds made this one.",
            )
        found = []
        for scene in self.scenes:
            if BOX not in scene.facts:
                found += crowds_of(scene, overlap)
                continue
            left, top, width, height = scene.facts[BOX]
            members = [person.is_labelled and person.facts.get(MEMBER, True) for person in scene.people]
            people = tuple(each for each, inside in zip(scene.people, members, strict=True) if inside)
            others = tuple(each for each, inside in zip(scene.people, members, strict=True) if not inside)
            found.append(Crowd(scene, (left, top, width, height), people, others))
        return found


def read_people(source: Path | str, folders: Sequence[Path] = ()) -> CocoPeople:
    """Read a COCO-style keypoint file, or ``labels.npz#PART`` (see :mod:`lightning_kp.labels.archives`).

    Images are looked for in ``folders`` and beside the file when they are read.  Raises DataError if the file has no
    keypoints, if an annotation has another number of keypoints than its category names, if an entry lacks a needed
    key, or if points lie outside their images.
    """
    path, part = split_part(source)
    try:
        content: dict[str, Any] = (
            _from_npz(path, part) if path.suffix == ".npz" else json.loads(path.read_text(encoding="utf-8"))
        )
        category = next(each for each in content["categories"] if each.get("keypoints"))
        images, annotations = list(content["images"]), list(content["annotations"])
    except DataError:  # of an archive; DataError is a ValueError, too
        raise
    except OSError as error:
        raise DataError(
            f"The labels {path} cannot be read: {error.strerror}.", remedy="Check the path of the file."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as error:
        raise DataError(
            f"{path} is not a COCO keypoint file ({type(error).__name__}: {error}).",
            remedy="Give a file with images, annotations and a category that names its keypoints.",
        ) from error
    for part, entries in (("categories", [category]), ("images", images), ("annotations", annotations)):
        check_entries(path, part, entries)
    names = tuple(map(str, category["keypoints"]))
    mirror, searched = mirror_from_names(names), [*folders, path.parent, path.parent / "images"]
    people: dict[Any, list[Person]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        if annotation.get("category_id") == category["id"] and annotation["image_id"] in people:
            people[annotation["image_id"]].append(_person(annotation, len(names), path))
    scenes = [
        Scene(_reader(image["file_name"], searched), image_size(image, searched, path), tuple(people[image["id"]]),
              mirror, image)
        for image in images
    ]  # fmt: skip
    check_scenes(path, scenes)
    return CocoPeople(names, tuple(scenes), content)


def chosen_crowds(
    people: CocoPeople, file: Path | str, overlap: float, most: int | None, option: str = "--"
) -> list[Crowd]:
    """The crowds of at most ``most`` people.

    Raises DataError if there are none; ``option`` is the start of option names in its message.
    """
    found = people.crowds(overlap)
    kept = [crowd for crowd in found if most is None or len(crowd.people) <= most]
    if not found:
        raise DataError(
            f"{file} has no crowds.",
            remedy=f"Lower {option}overlap (now {overlap:g}), or give another file.",
        )
    if not kept:
        raise DataError(
            f"{file} has {len(found)} crowd(s), but all of more than {most} people.",
            remedy=f"Raise {option}most.",
        )
    return kept


def missing_images(crowds: Iterable[Crowd], folders: Sequence[Path]) -> list[str]:
    """Names of the crowds' images that are in none of ``folders``."""
    names = dict.fromkeys(str(crowd.scene.facts["file_name"]) for crowd in crowds)
    return [name for name in names if find_file(name, folders, loose=True) is None]


def _from_npz(path: Path, part: str) -> dict[str, Any]:
    """Convert an archive to the content of a COCO file; boxes extend a tenth of their longer side beyond the points."""
    labels = open_npz(path, part, [path.parent])
    if labels.problems:
        raise DataError(
            f"{path}: {', '.join(labels.problems[:MAX_NAMED])}.", remedy="Put the images beside the archive."
        )
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(labels.frames, start=1):
        height, width = frame.read().shape[:2]
        images.append({"id": number, "file_name": frame.name, "height": height, "width": width})
        for points in frame.points_px:
            flat = np.where(np.isnan(points), 0, points)
            seen = np.where(np.isnan(points).any(axis=-1, keepdims=True), 0, 2)
            left, top, wide, high = _box_around(points)
            margin = 0.1 * max(wide, high)
            box = [left - margin, top - margin, wide + 2 * margin, high + 2 * margin]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                    "bbox": box, "area": box[2] * box[3], "num_keypoints": int((seen > 0).sum()),
                    "keypoints": np.concatenate((flat, seen), axis=1).ravel().tolist(),
                }
            )  # fmt: skip
    category = {"id": 1, "name": "animal", "keypoints": list(labels.names)}
    return {"categories": [category], "images": images, "annotations": annotations}


def _person(annotation: dict[str, Any], keypoints: int, path: Path) -> Person:
    flat = numbers_of(annotation, "keypoints", path)
    flat = flat if len(flat) else np.zeros(3 * keypoints)
    if len(flat) != 3 * keypoints:
        raise DataError(
            f"{path}: annotation {annotation.get('id')} has {len(flat) / 3:g} keypoints, its category {keypoints}.",
            remedy="Correct the file: every person needs all the keypoints that the category names.",
        )
    rows = flat.reshape(-1, 3)
    # iscrowd marks a region full of people, which is no person, even if it has points.
    labelled = (rows[:, 2:] > 0) & (not annotation.get("iscrowd"))
    points = np.where(labelled, rows[:, :2], np.nan)
    box, area = numbers_of(annotation, "bbox", path), annotation.get("area") or 0
    if (
        len(box) not in (0, 4)
        or not np.isfinite(box).all()
        or (box[2:] < 0).any()
        or not isinstance(area, (int, float))
        or not 0 <= area < np.inf
    ):
        raise DataError(
            f"{path}: annotation {annotation.get('id')} has bbox {box.tolist()} and area {str(area)[:60]}.",
            remedy="Correct the file: bbox is [left, top, width, height] and area a number; no size may be negative.",
        )
    left, top, width, height = box.tolist() or _box_around(points)
    area = float(area or BOX_SHARE * width * height)
    return Person((left, top, width, height), points, area, outline_of(annotation, path), annotation)


def _box_around(points: Any) -> tuple[float, ...]:
    if np.isnan(points).all():
        return 0.0, 0.0, 0.0, 0.0
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    return (*low.tolist(), *(high - low).tolist())


def _reader(name: str, folders: Sequence[Path]) -> Any:
    def read() -> Image:
        file = find_file(name, folders, loose=True)
        if file is None:
            raise DataError(
                f"The image {name} is missing.", remedy="Give its folder: --data.images=[FOLDER]."
            )
        return image_reader(file)()

    return read


def derived(people: CocoPeople, crowds: Sequence[Crowd], overlap: float = OVERLAP) -> dict[str, Any]:
    """Content of a derived file with ``crowds``, which :func:`read_people` can read."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, crowd in enumerate(crowds, start=1):
        facts = crowd.scene.facts
        images.append(facts | {"id": number, "original_id": facts["id"], BOX: list(crowd.box)})
        for inside, members in ((True, crowd.people), (False, crowd.others)):
            for person in members:
                new = {"id": len(annotations) + 1, "image_id": number, MEMBER: inside}
                annotations.append(person.facts | new)
    info = dict(people.content.get("info") or {}) | {
        "crowds": f"boxes linked by an overlap of {overlap:g} or more",
        LINKED: overlap,
    }
    known = people.content
    kept: dict[str, Any] = {name: known[name] for name in ("licenses", "categories") if name in known}
    return {"info": info, **kept, "images": images, "annotations": annotations}
