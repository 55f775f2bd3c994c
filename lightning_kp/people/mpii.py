"""MPII Human Pose (Andriluka et al. 2014): the published .mat file and the widely used JSON conversion.

Both count pixels from 1.  A person's position is ``objpos`` (``center`` in JSON), their size ``scale``, in units of
200 px.  The crop is moved down by 15 px times ``scale`` and enlarged by a quarter, as in every published conversion, so
that feet stay inside.  Points are the 16 joints and the corners of the head box (metrics/protocols.HEAD_BOX).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.geometry import to_edges
from lightning_kp.metrics.protocols import HEAD_BOX, MPII
from lightning_kp.people.person_data import PlacedPerson

JOINTS = len(MPII.skeleton.names)
POINTS = JOINTS + len(HEAD_BOX)
UNIT_PX = 200.0
LOWER_PX, LARGER = 15.0, 1.25
FIRST_PX = 1.0  # number of the first pixel in MATLAB
REMEDY = "Use mpii_human_pose_v1_u12_1.mat as published."
JSON_KEYS = ("image", "center", "scale", "joints", "joints_vis")


class Located(NamedTuple):
    """A person as in a file, pixels from 1: ``points`` (18, 2), NaN = not labelled, ``centre`` (2,), ``scale``."""

    image: str
    points: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: float


def to_placed(person: Located, images: Path) -> PlacedPerson:
    """Convert a person to pixels from 0, with the crop given by position and scale; ``images`` is the folder."""
    lowered = person.centre - FIRST_PX + (0.0, LOWER_PX * person.scale)
    x, y = to_edges(lowered)
    side = UNIT_PX * LARGER * person.scale
    return PlacedPerson(images / person.image, person.points - FIRST_PX, (float(x), float(y)), side)


def read_json(path: Path, boxes: NDArray[np.float64] | None = None) -> list[Located]:
    """Read the people of a JSON conversion, in its order; ``boxes`` (N, 2, 2) are their head boxes.

    Raises DataError with file, row and key.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}.", remedy="Give train.json or valid.json of an MPII conversion."
        ) from error
    if not isinstance(rows, list):
        raise DataError(
            f"{path} holds a {type(rows).__name__}, not a list of people.",
            remedy=f"Each person needs the keys {', '.join(JSON_KEYS)}.",
        )
    if boxes is not None and len(boxes) != len(rows):
        raise DataError(
            f"{path} has {len(rows)} people, but gt_valid.mat has the head boxes of {len(boxes)}.",
            remedy="Use valid.json and gt_valid.mat of the same split.",
        )
    return [_from_json(path, n, row, None if boxes is None else boxes[n]) for n, row in enumerate(rows)]


def _from_json(path: Path, number: int, row: Any, box: NDArray[np.float64] | None) -> Located:
    if not isinstance(row, dict) or (missing := [key for key in JSON_KEYS if key not in row]):
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {number}: it is a {type(row).__name__}.",
                remedy=f"A person is an object with the keys {', '.join(JSON_KEYS)}.",
            )
        raise DataError(
            f"{path}, row {number}: {', '.join(missing)} is missing.", remedy=did_you_mean(missing[0], row)
        )
    points = np.full((POINTS, 2), np.nan)
    for key, shape in (("joints", (JOINTS, 2)), ("joints_vis", (JOINTS,)), ("center", (2,)), ("scale", ())):
        found = _numbers(row[key])
        if found is None or found.shape != shape:
            given = "it has values that are not numbers" if found is None else f"it has shape {found.shape}"
            raise DataError(
                f"{path}, row {number}, key {key}: {given}.", remedy=f"Give numbers of shape {shape}."
            )
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
    """Read the head boxes (N, 2, 2) of ``gt_valid.mat``: two corners (x, y) each."""
    content = _load(path)
    if "headboxes_src" not in content:
        found = ", ".join(name for name in content if not name.startswith("__"))
        raise DataError(
            f"{path} has no key headboxes_src; its keys are {found}.", remedy="Use gt_valid.mat as published."
        )
    boxes = np.asarray(content["headboxes_src"], float)
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 2):
        raise DataError(
            f"{path}, key headboxes_src has shape {boxes.shape}, but (2, 2, N) is needed.",
            remedy="Use gt_valid.mat as published.",
        )
    return boxes.transpose(2, 0, 1)


def read_official(path: Path) -> list[Located]:
    """Read the people with joints, position and scale in the training images of the published file, in its order.

    Raises DataError with file, key and row.
    """
    content = _load(path, squeeze_me=True, struct_as_record=False)
    release: Any = content.get("RELEASE")
    for key in ("annolist", "img_train"):
        if not hasattr(release, key):
            raise DataError(f"{path} has no key RELEASE.{key}.", remedy=REMEDY)
    training = np.atleast_1d(release.img_train)
    images = np.atleast_1d(release.annolist)
    if len(training) != len(images):
        raise DataError(
            f"{path}: RELEASE.img_train has {len(training)} rows, but RELEASE.annolist has {len(images)}.",
            remedy=REMEDY,
        )
    chosen = [row for row in range(len(images)) if training[row]]
    return [person for row in chosen for person in _people(path, row, images[row])]


def _people(path: Path, row: int, image: Any) -> Iterator[Located]:
    where = f"{path}, RELEASE.annolist({row + 1})"
    name = getattr(getattr(image, "image", None), "name", None)
    if not isinstance(name, str) or not hasattr(image, "annorect"):
        raise DataError(f"{where}: image.name or annorect is missing.", remedy=REMEDY)
    for number, rectangle in enumerate(np.atleast_1d(image.annorect)):
        parts = [getattr(rectangle, key, None) for key in ("annopoints", "objpos", "scale")]
        # People in the background have only a head box; an empty field is read as an empty array.
        if any(part is None or (isinstance(part, np.ndarray) and part.size == 0) for part in parts):
            continue
        yield Located(name, *_labelled(f"{where}.annorect({number + 1})", rectangle))


def _labelled(where: str, rectangle: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    points = np.full((POINTS, 2), np.nan)
    try:
        for point in np.atleast_1d(rectangle.annopoints.point):
            if not 0 <= int(point.id) < JOINTS:
                raise DataError(
                    f"{where}.annopoints: joint {point.id} is unknown; ids are 0 to {JOINTS - 1}.",
                    remedy=REMEDY,
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
            f"{where}: {error}.", remedy="A person needs x1, y1, x2, y2, scale, objpos and annopoints.point."
        ) from error
    return points, centre, scale


def _load(path: Path, **options: Any) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(str(path), **options)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}).", remedy="Download it again."
        ) from error
    return content
