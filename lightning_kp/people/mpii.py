"""MPII Human Pose as published (``mpii_human_pose_v1_u12_1.mat``) and as the widely used JSON conversion.

Andriluka et al. 2014.  Both count pixels from 1.  A person's place is ``objpos`` (``center``), the size ``scale``
is of 200 px; the crop is moved down by 15 px and enlarged by a quarter, as every published conversion has it, so
that feet stay inside.  Points are the 16 joints and the corners of the head box (pose_protocols.HEAD_BOX).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.metrics.protocols import HEAD_BOX, MPII
from lightning_kp.people.person_data import Person

JOINTS = len(MPII.skeleton.names)
POINTS = JOINTS + len(HEAD_BOX)
UNIT_PX = 200.0
LOWER_PX, LARGER = 15.0, 1.25
FIRST_PX = 1.0  # Matlab's first pixel
JSON_KEYS = ("image", "center", "scale", "joints", "joints_vis")


class Located(NamedTuple):
    """A person as a file has it, 1-based: ``points`` (18, 2) with NaN, ``centre``, ``scale``."""

    image: str
    points: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: float


def to_person(found: Located, images: Path) -> Person:
    """The crop that a file's place and scale ask for."""
    lowered = found.centre - FIRST_PX + (0.0, LOWER_PX * found.scale)
    x, y = lowered + 0.5  # a centre between edges, not a number of a pixel
    side = UNIT_PX * LARGER * found.scale
    return Person(images / found.image, found.points - FIRST_PX, (float(x), float(y)), side)


def read_json(path: Path, boxes: NDArray[np.float64] | None = None) -> list[Located]:
    """People of a JSON conversion, in its order; ``boxes`` (N, 2, 2) are head boxes of the same people.

    Raises DataError with file, row and key.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}.", remedy="It is train.json or valid.json."
        ) from error
    if not isinstance(rows, list):
        raise DataError(
            f"{path} holds a {type(rows).__name__}, not a list of people.",
            remedy=f"Each of them has the keys {', '.join(JSON_KEYS)}.",
        )
    if boxes is not None and len(boxes) != len(rows):
        raise DataError(
            f"{path} has {len(rows)} people, the head boxes beside it are of {len(boxes)}.",
            remedy="valid.json and gt_valid.mat have to be of one split.",
        )
    return [_from_json(path, n, row, None if boxes is None else boxes[n]) for n, row in enumerate(rows)]


def _from_json(path: Path, number: int, row: Any, box: NDArray[np.float64] | None) -> Located:
    if not isinstance(row, dict) or (missing := [key for key in JSON_KEYS if key not in row]):
        lacking = ", ".join(missing) if isinstance(row, dict) else "everything"
        known = list(row) if isinstance(row, dict) else []
        hint = did_you_mean(missing[0], known) if known else "A person is a mapping."
        raise DataError(f"{path}, row {number}: it lacks {lacking}.", remedy=hint)
    points = np.full((POINTS, 2), np.nan)
    for key, shape in (("joints", (JOINTS, 2)), ("joints_vis", (JOINTS,)), ("center", (2,)), ("scale", ())):
        found = _numbers(row[key])
        if found is None or found.shape != shape:
            given = "no numbers" if found is None else f"shape {found.shape}"
            raise DataError(f"{path}, row {number}, key {key}: {given}; {shape} is needed.")
    labelled = np.asarray(row["joints_vis"], float) > 0
    points[:JOINTS][labelled] = np.asarray(row["joints"], float)[labelled]
    if box is not None:
        points[JOINTS:] = box
    return Located(str(row["image"]), points, np.asarray(row["center"], float), float(row["scale"]))


def _numbers(value: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None


def read_head_boxes(path: Path) -> NDArray[np.float64]:
    """Head boxes (N, 2, 2) of ``gt_valid.mat``: N times two corners (x, y)."""
    content = _load(path)
    if "headboxes_src" not in content:
        found = ", ".join(name for name in content if not name.startswith("__"))
        raise DataError(f"{path} has no key headboxes_src (it has: {found}).")
    boxes = np.asarray(content["headboxes_src"], float)
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 2):
        raise DataError(f"{path}, key headboxes_src: its shape is {boxes.shape}; (2, 2, N) is needed.")
    return boxes.transpose(2, 0, 1)


def read_official(path: Path) -> list[Located]:
    """People with joints, place and scale in the training images of the published file, in its order.

    Raises DataError with file, key and row.
    """
    content = _load(path, squeeze_me=True, struct_as_record=False)
    release: Any = content.get("RELEASE")
    for key in ("annolist", "img_train"):
        if not hasattr(release, key):
            raise DataError(
                f"{path} has no key RELEASE.{key}.", remedy="Use mpii_human_pose_v1_u12_1.mat as published."
            )
    training = np.atleast_1d(release.img_train)
    images = np.atleast_1d(release.annolist)
    if len(training) != len(images):
        raise DataError(
            f"{path}: RELEASE.img_train has {len(training)} rows, RELEASE.annolist {len(images)}."
        )
    chosen = [row for row in range(len(images)) if training[row]]
    return [person for row in chosen for person in _people(path, row, images[row])]


def _people(path: Path, row: int, image: Any) -> Iterator[Located]:
    where = f"{path}, RELEASE.annolist({row + 1})"
    name = getattr(getattr(image, "image", None), "name", None)
    if not isinstance(name, str) or not hasattr(image, "annorect"):
        raise DataError(f"{where}: it has no image.name or no annorect.")
    for number, rectangle in enumerate(np.atleast_1d(image.annorect)):
        parts = [getattr(rectangle, key, None) for key in ("annopoints", "objpos", "scale")]
        # A person in the background has a head box alone; an empty field reads as an empty array.
        if any(part is None or (isinstance(part, np.ndarray) and part.size == 0) for part in parts):
            continue
        yield Located(name, *_labelled(f"{where}.annorect({number + 1})", rectangle))


def _labelled(where: str, rectangle: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    points = np.full((POINTS, 2), np.nan)
    try:
        for point in np.atleast_1d(rectangle.annopoints.point):
            if not 0 <= int(point.id) < JOINTS:
                raise DataError(
                    f"{where}.annopoints: there is no joint {point.id}; ids are 0 to {JOINTS - 1}."
                )
            points[int(point.id)] = float(point.x), float(point.y)
        centre = np.array([rectangle.objpos.x, rectangle.objpos.y], float)
        scale = float(rectangle.scale)
        points[JOINTS:] = [
            [float(rectangle.x1), float(rectangle.y1)], [float(rectangle.x2), float(rectangle.y2)],
        ]  # fmt: skip
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{where}: {error}.", remedy="A person has x1, y1, x2, y2, scale, objpos and annopoints.point."
        ) from error
    return points, centre, scale


def _load(path: Path, **options: Any) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(str(path), **options)
    except Exception as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error
    return content
