"""Boxes to crop before resizing: one for all frames, or a csv file with a box per frame and animal."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.video.reader import VideoInfo

Box = tuple[int, int, int, int]
"""(left, top, right, bottom): edges in pixels of the displayed frame."""
Boxes = Sequence[int] | str | Path | None
"""None, one box (left, top, right, bottom) in pixels, a csv file with a box per frame, or ``follow``.

The file has the columns ``frame,left,top,right,bottom``: frames from 0, edges in pixels of the displayed frame.  The
column ``video`` (file name with or without suffix) is needed if the file serves several videos, the column ``animal``
(from 1) if it has boxes of several animals; ``FILE#2`` stands for the boxes of animal 2.  A frame without a row takes
the last box before it.  ``follow`` is a square that follows the animal, see following.py.
"""
FOLLOW = "follow"
COLUMNS = ("frame", "left", "top", "right", "bottom")


def boxes_per_animal(boxes: Boxes) -> tuple[Boxes, ...]:
    """Split a file with boxes of several animals into (FILE#1, FILE#2, ...); other boxes are returned as one.

    Raises DataError for a file that cannot be read.
    """
    if not isinstance(boxes, (str, Path)) or boxes == FOLLOW:
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


def read_boxes(boxes: str | Path, info: VideoInfo) -> dict[int, Box]:
    """Read the boxes of one video, and of one animal, from a csv file: {frame: box}, one for each row.

    Raises DataError for a file that cannot be read, lacks a column or a row for the video, or has boxes of several
    animals of which none is chosen.
    """
    path, animal = _file_and_animal(boxes)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"The boxes in {path} lack the column(s) {', '.join(missing)}.",
                    remedy=f"Its first line must be: {','.join(COLUMNS)} (plus `video` if it serves several videos).",
                )
            rows = [(line, row) for line, row in enumerate(reader, start=2) if _is_of_video(row, info)]
            animals = {row.get("animal") or "1" for _, row in rows}
            if animal is None and len(animals) > 1:
                raise DataError(
                    f"{path} has boxes of {len(animals)} animals, but one is needed here.",
                    remedy=f"Choose one by its number, for example {path}#{min(animals)}",
                )
            rows = [(line, row) for line, row in rows if animal in (None, row.get("animal") or "1")]
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    table = dict(_parse(path, line, row) for line, row in rows)
    if not table:
        raise DataError(
            f"{path} has no box for the video {info.name}.",
            remedy="Check its column `video`, and the number of the animal if you gave one.",
        )
    return table


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
    return DataError(
        f"The boxes in {path} cannot be read: {reason}.",
        remedy="Check --data.boxes; `kp inspect VIDEO --boxes boxes.csv` writes such a file.",
    )


def _is_of_video(row: dict[str, str], info: VideoInfo) -> bool:
    return row.get("video", info.name) in (info.name, info.path.name)


def _parse(path: Path, line: int, row: dict[str, str]) -> tuple[int, Box]:
    try:
        frame, left, top, right, bottom = (round(float(row[column])) for column in COLUMNS)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}, line {line}: {', '.join(COLUMNS)} must be five numbers.",
            remedy="Correct the row, or remove it: a frame without a row takes the box before it.",
        ) from error
    return frame, (left, top, right, bottom)


@dataclass(frozen=True, eq=False)
class AnimalBoxes:
    """Boxes of the animals I in the T frames of one video.

    ``boxes`` (T, I, 4): left, top, right and bottom edges in whole pixels of the displayed frames.  ``found`` (T, I):
    whether each animal was found in the frame; where it was not it keeps its last box.  ``time_s`` (T,): times of the
    frames in seconds.
    """

    info: VideoInfo
    boxes: NDArray[np.int64]
    found: NDArray[np.bool_]
    time_s: NDArray[np.float64]

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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(boxes_to_csv(found), encoding="utf-8")


def boxes_to_csv(found: Sequence[AnimalBoxes]) -> str:
    """Boxes as csv text: one row for each animal and each frame in which its box has moved."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "video", "animal"))
    for each in found:
        moved = np.ones(each.boxes.shape[:2], dtype=bool)
        moved[1:] = (each.boxes[1:] != each.boxes[:-1]).any(axis=-1)
        for frame, animal in np.argwhere(moved).tolist():
            writer.writerow((frame, *each.boxes[frame, animal].tolist(), each.info.path.name, animal + 1))
    return text.getvalue()
