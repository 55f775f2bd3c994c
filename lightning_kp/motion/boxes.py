"""Where to crop: one box for everything, or a table with a box for each frame."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.video.reader import VideoInfo

Floats = NDArray[np.float64]

Box = tuple[int, int, int, int]
Boxes = Sequence[int] | str | Path | None
"""None, one box (left, top, right, bottom) in pixels, a csv file with a box for each frame, or ``follow``.

The file has the columns ``frame,left,top,right,bottom`` (edges in pixels of the displayed frame,
frames from 0) and, if it serves several videos, ``video`` (file name with or without suffix), if it
has boxes of several animals, ``animal`` (from 1).  ``FILE#2`` names those of animal 2.  A frame without a row
takes the last box before it.  ``follow`` is a square that goes with the animal, see following.py.
"""
FOLLOW = "follow"
COLUMNS = ("frame", "left", "top", "right", "bottom")


def per_animal(boxes: Boxes) -> tuple[Boxes, ...]:
    """The boxes of each animal: FILE#1, FILE#2, ... of a file that has several, else what was given.

    Raises DataError for a file that cannot be read.
    """
    if not isinstance(boxes, (str, Path)) or boxes == FOLLOW:
        return (boxes,)
    path, animal = _parts(boxes)
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
    """The file itself, of FILE#2 too."""
    return _parts(boxes)[0]


def _parts(boxes: str | Path) -> tuple[Path, str | None]:
    """The file, and the animal that follows a #."""
    name, mark, animal = str(boxes).rpartition("#")
    return (Path(name), animal) if mark and animal.isdigit() else (Path(boxes), None)


def _read(boxes: str | Path, info: VideoInfo) -> dict[int, Box]:
    path, animal = _parts(boxes)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column {', '.join(missing)}.",
                    remedy=f"Its first line must be: {','.join(COLUMNS)} (and `video` for several videos).",
                )
            rows = [(number, row) for number, row in enumerate(reader, start=2) if _is_about(row, info)]
            animals = {row.get("animal") or "1" for _, row in rows}
            if animal is None and len(animals) > 1:
                raise DataError(
                    f"{path} has boxes of {len(animals)} animals.",
                    remedy=f"Choose one: {path}#{min(animals)}",
                )
            rows = [each for each in rows if animal in (None, each[1].get("animal") or "1")]
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    table = dict(_parse(path, number, row) for number, row in rows)
    if not table:
        raise DataError(f"{path} has no box for the video {info.name}.", remedy="Check its `video` column.")
    return table


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else "it is no text"
    return DataError(
        f"The boxes in {path} cannot be read: {reason}.",
        remedy="Check --data.boxes; `kp inspect VIDEO --boxes boxes.csv` writes such a file.",
    )


def _is_about(row: dict[str, str], info: VideoInfo) -> bool:
    return row.get("video", info.name) in (info.name, info.path.name)


def _parse(path: Path, number: int, row: dict[str, str]) -> tuple[int, Box]:
    try:
        frame, left, top, right, bottom = (round(float(row[column])) for column in COLUMNS)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}, line {number}: not five numbers.", remedy="Leave rows of unknown frames out."
        ) from error
    return frame, (left, top, right, bottom)


@dataclass(frozen=True, eq=False)
class AnimalBoxes:
    """``boxes`` (N, I, 4) as left, top, right, bottom in whole pixels of the displayed frames; ``seen`` the
    share of frames in which each animal was found (I,), the others keep the last box.
    """  # noqa: D205

    info: VideoInfo
    boxes: NDArray[np.int64]
    seen: Floats

    @property
    def side_px(self) -> int:
        """Side of the squares, smaller only in smaller frames."""
        return int((self.boxes[0, 0, 2:] - self.boxes[0, 0, :2]).max())


def write_boxes(found: Sequence[AnimalBoxes], path: Path) -> None:
    """A csv file for ``data.boxes``: one row per animal and frame in which its box has moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_table(found), encoding="utf-8")


def as_table(found: Sequence[AnimalBoxes]) -> str:
    """The same as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "video", "animal"))
    for each in found:
        moved = np.ones(each.boxes.shape[:2], dtype=bool)
        moved[1:] = (each.boxes[1:] != each.boxes[:-1]).any(axis=-1)
        for frame, animal in np.argwhere(moved).tolist():
            writer.writerow((frame, *each.boxes[frame, animal].tolist(), each.info.path.name, animal + 1))
    return text.getvalue()
