"""Boxes to crop before resizing: one for all frames, or a csv file with a box per frame and animal."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.files import write_whole
from lightning_kp.video.reader import VideoInfo

Box = tuple[int, int, int, int]
"""(left, top, right, bottom): edges in pixels of the displayed frame."""
Boxes = Sequence[int] | str | Path | None
"""None, one box (left, top, right, bottom) in pixels, a csv file with a box per frame, or ``follow``.

The file has the columns ``frame,left,top,right,bottom``: frames from 0, edges in pixels of the displayed frame.  The
column ``video`` (file name with or without suffix) is needed if the file serves several videos, the column ``animal``
(from 1) if it has boxes of several animals; ``FILE#2`` stands for the boxes of animal 2.  A frame without a row takes
the last one before it.  Further columns may say whether the animal is seen in the frame (``seen``, 1 or 0), and where
its body is (``x,y,var_x,var_y,cov_xy``: centre in pixels from the frame's edges and covariance of its pixels); by the
latter an animal is hidden in the squares of the others.

``follow`` is a square that follows the one animal of a video, ``follow:3`` a square for each of three, see
following.py; ``follow:3#2`` stands for the squares of animal 2.
"""
FOLLOW = "follow"
FOLLOWING = re.compile(rf"{FOLLOW}(?::(?P<animals>\d+))?(?:#(?P<animal>\d+))?")
MAX_ANIMALS = 20
"""Most animals that are followed (ours): a crowd whose members always touch has no separate regions."""
COLUMNS = ("frame", "left", "top", "right", "bottom")
BODY_COLUMNS = ("x", "y", "var_x", "var_y", "cov_xy")


class Ellipse(NamedTuple):
    """Where the body of an animal is in a frame.

    ``centre`` (x, y) in pixels of the frame, counted from its edges; ``covariance`` (var x, var y, cov xy) of the
    body's pixels, in square pixels.
    """

    centre: tuple[float, float]
    covariance: tuple[float, float, float]


class Row(NamedTuple):
    """A row of a file of boxes: the box, whether the animal is seen, and its body where that is known."""

    box: Box
    seen: bool = True
    body: Ellipse | None = None


def follow(animals: int) -> str:
    """Boxes that follow so many animals.  Raises ConfigurationError for less than 1 or more than MAX_ANIMALS.

    >>> follow(1), follow(2)
    ('follow', 'follow:2')
    """
    if not 1 <= animals <= MAX_ANIMALS:
        raise ConfigurationError(
            f"A square for each of {animals} animals cannot be found.",
            remedy=f"Give 1 to {MAX_ANIMALS} animals, or none of these squares (--data.boxes=null).",
        )
    return FOLLOW if animals == 1 else f"{FOLLOW}:{animals}"


def followed_animals(boxes: Boxes) -> int:
    """Number of animals that squares follow; 0 for boxes that follow none.

    >>> followed_animals("follow"), followed_animals("follow:2#1"), followed_animals("boxes.csv")
    (1, 2, 0)
    """
    if not isinstance(boxes, str) or (found := FOLLOWING.fullmatch(boxes)) is None:
        return 0
    number = int(found["animals"] or 1)
    follow(number)  # refuses a wrong number
    return number


def boxes_per_animal(boxes: Boxes) -> tuple[Boxes, ...]:
    """Split boxes of several animals into (FILE#1, FILE#2, ...) or (follow:2#1, follow:2#2); others stay one.

    Raises DataError for a file that cannot be read.
    """
    if (number := followed_animals(boxes)) > 1 and "#" not in str(boxes):
        return tuple(f"{boxes}#{animal + 1}" for animal in range(number))
    if not isinstance(boxes, (str, Path)) or number:
        return (boxes,)
    path, animal = _file_and_animal(boxes)
    if animal is not None:
        return (boxes,)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            animals = {row.get("animal") or "1" for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if len(animals) < 2:
        return (boxes,)
    return tuple(f"{path}#{name}" for name in sorted(animals, key=lambda name: (len(name), name)))


def box_file(boxes: str | Path) -> Path:
    """Path of the csv file, without the number of an animal as in FILE#2."""
    return _file_and_animal(boxes)[0]


def _file_and_animal(boxes: str | Path) -> tuple[Path, str | None]:
    """Split FILE#2 into the path and the number of the animal; None where no number is given."""
    name, separator, animal = str(boxes).rpartition("#")
    return (Path(name), animal) if separator and animal.isdigit() else (Path(boxes), None)


def read_boxes(boxes: str | Path, info: VideoInfo) -> tuple[dict[int, Row], list[dict[int, Row]]]:
    """Read the boxes of one video from a csv file: those of one animal, and those of each other one.

    Each is a Row by number of the frame, for the frames that have one.  Raises DataError for a file that cannot be
    read, lacks a column or a row for the video, or has boxes of several animals of which none is chosen.
    """
    path, animal = _file_and_animal(boxes)
    by_animal = _rows_by_animal(path, info)
    if animal is None and len(by_animal) > 1:
        raise DataError(
            f"{path} has boxes of {len(by_animal)} animals, but one is needed here.",
            remedy=f"Choose one by its number, for example {path}#{min(by_animal)}",
        )
    table = by_animal.get(animal) if animal is not None else next(iter(by_animal.values()), None)
    if not table:
        raise DataError(
            f"{path} has no box for the video {info.name}.",
            remedy="Check its column `video`, and the number of the animal if you gave one.",
        )
    return table, [each for each in by_animal.values() if each is not table]


def _rows_by_animal(path: Path, info: VideoInfo) -> dict[str, dict[int, Row]]:
    tables: dict[str, dict[int, Row]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"The boxes in {path} lack the column(s) {', '.join(missing)}.",
                    remedy=f"Its first line must be: {','.join(COLUMNS)} (plus `video` if it serves several videos).",
                )
            for line, row in enumerate(reader, start=2):
                if _is_of_video(row, info):
                    frame, parsed = _parse(path, line, row)
                    tables.setdefault(row.get("animal") or "1", {})[frame] = parsed
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    return tables


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
    return DataError(
        f"The boxes in {path} cannot be read: {reason}.",
        remedy="Check --data.boxes; `kp inspect VIDEO --boxes boxes.csv` writes such a file.",
    )


def _is_of_video(row: dict[str, str], info: VideoInfo) -> bool:
    return row.get("video", info.name) in (info.name, info.path.name)


def _parse(path: Path, line: int, row: dict[str, str]) -> tuple[int, Row]:
    try:
        frame, left, top, right, bottom = (round(float(row[column])) for column in COLUMNS)
        given = [float(row[column]) for column in BODY_COLUMNS if row.get(column)]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}, line {line}: {', '.join(COLUMNS)} must be five numbers, and those of a body, too.",
            remedy="Correct the row, or remove it: a frame without a row takes the box before it.",
        ) from error
    body = Ellipse((given[0], given[1]), (given[2], given[3], given[4])) if len(given) == 5 else None
    return frame, Row((left, top, right, bottom), row.get("seen") != "0", body)


@dataclass(frozen=True, eq=False)
class AnimalBoxes:
    """Boxes of the animals I in the T frames of one video.

    ``boxes`` (T, I, 4): left, top, right and bottom edges in whole pixels of the displayed frames.  ``found`` (T, I):
    whether each animal was found in the frame; where it was not it keeps its last box.  ``time_s`` (T,): times of the
    frames in seconds.  ``centre`` (T, I, 2): (x, y) of each animal in pixels of the frames, counted from the frame's
    edges; ``covariance`` (T, I, 3): (var x, var y, cov xy) of the pixels of its body, in square pixels.  Both are NaN
    where the animal was not found, and the latter where animals were not followed by their bodies.
    """

    info: VideoInfo
    boxes: NDArray[np.int64]
    found: NDArray[np.bool_]
    time_s: NDArray[np.float64]
    centre: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def seen(self) -> NDArray[np.float64]:
        """Share of frames, 0 to 1, in which each animal was found, (I,)."""
        return np.asarray(self.found.mean(axis=0), dtype=np.float64)

    def unseen_stretches(self, animal: int = 0, *, least_s: float = 0.5) -> list[tuple[float, float]]:
        """First and last time, in seconds, of each stretch of ``least_s`` or longer without this animal."""
        return stretches(~self.found[:, animal], self.time_s, least_s)

    @property
    def side_px(self) -> int:
        """Side of the squares in pixels; frames smaller than the squares limit it."""
        return int((self.boxes[0, 0, 2:] - self.boxes[0, 0, :2]).max())


def stretches(
    condition: NDArray[np.bool_], time_s: NDArray[np.float64], least_s: float
) -> list[tuple[float, float]]:
    """First and last time of each run of frames for which a condition (T,) holds, if they are ``least_s`` apart.

    >>> stretches(np.array([True, True, False, True]), np.array([0.0, 0.5, 1.0, 1.5]), 0.5)
    [(0.0, 0.5)]
    """
    change = np.diff(condition.astype(np.int8), prepend=0, append=0)
    first, last = np.flatnonzero(change > 0), np.flatnonzero(change < 0) - 1
    times = zip(time_s[first].tolist(), time_s[last].tolist(), strict=True)
    return [(start, end) for start, end in times if end - start >= least_s]


def write_boxes(found: Sequence[AnimalBoxes], path: Path) -> None:
    """Write a csv file for the option ``data.boxes``, as :func:`boxes_to_csv` makes it."""
    write_whole(path, boxes_to_csv(found))


def boxes_to_csv(found: Sequence[AnimalBoxes]) -> str:
    """Boxes as csv text: one row for each animal and each frame in which its box has moved or its body is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    has_bodies = any(np.isfinite(each.covariance).any() for each in found)
    writer.writerow((*COLUMNS, "video", "animal", "seen", *(BODY_COLUMNS if has_bodies else ())))
    for each in found:
        changes = np.ones(each.boxes.shape[:2], dtype=bool)
        changes[1:] = (each.boxes[1:] != each.boxes[:-1]).any(axis=-1) | (each.found[1:] != each.found[:-1])
        known = np.asarray(np.isfinite(each.covariance).all(axis=-1))
        for frame, animal in np.argwhere(changes | known).tolist():
            row = [frame, *each.boxes[frame, animal].tolist(), each.info.path.name, animal + 1]
            row.append(int(each.found[frame, animal]))
            if known[frame, animal]:
                body = (*each.centre[frame, animal].tolist(), *each.covariance[frame, animal].tolist())
                row += [f"{value:.2f}" for value in body]
            writer.writerow(row)
    return text.getvalue()
