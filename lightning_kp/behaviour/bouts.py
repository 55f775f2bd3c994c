"""Behaviour as bouts (from frame to frame) and as one label per frame, and the csv files of bouts.

A file has one bout per line, with the columns behaviour, start_frame, stop_frame (both belong to the bout),
or start_s, stop_s in seconds; and, where one file serves several, video, animal and rater.  The headings
of BORIS and of DLCAnalyzer are understood too.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError, did_you_mean

Labels = NDArray[np.int64]
UNLABELLED = -1
MAJORITY = "majority"
# Our heading first; the others are those of BORIS ("Start (s)") and DLCAnalyzer ("from", "Experimenter").
HEADINGS = {
    "behaviour": ("behaviour", "behavior", "type", "category"),
    "start_frame": ("start_frame", "start"),
    "stop_frame": ("stop_frame", "stop"),
    "start_s": ("start_s", "start (s)", "from"),
    "stop_s": ("stop_s", "stop (s)", "to"),
    "video": ("video", "media file"),
    "animal": ("animal", "subject"),
    "rater": ("rater", "experimenter", "observer", "annotator"),
}


class Bout(NamedTuple):
    """Frames ``start`` to ``stop``, both included, of one behaviour; ``confidence`` is 1 for labels."""

    behaviour: str
    start: int
    stop: int
    confidence: float = 1.0


def to_bouts(labels: Labels, names: Sequence[str], *, skip: Sequence[str] = ()) -> list[Bout]:
    """Runs of equal labels (N,), without those named in ``skip`` and without unlabelled frames."""
    if not len(labels):
        return []
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = np.concatenate(([0], edges)).astype(int)
    stops = np.concatenate((edges - 1, [len(labels) - 1])).astype(int)
    runs = [(int(labels[start]), start, stop) for start, stop in zip(starts, stops, strict=True)]
    return [
        Bout(names[label], int(start), int(stop))
        for label, start, stop in runs
        if label != UNLABELLED and names[label] not in skip
    ]


def to_labels(bouts: Iterable[Bout], frames: int, names: Sequence[str], background: str | None) -> Labels:
    """One label (N,) per frame: the position in ``names``; other frames have that of ``background``.

    Where bouts overlap the shorter one counts.  Without a background such frames are UNLABELLED.
    """
    labels = np.full(frames, UNLABELLED if background is None else names.index(background), np.int64)
    for bout in sorted(bouts, key=lambda bout: bout.start - bout.stop):
        if bout.behaviour in names:
            labels[max(bout.start, 0) : bout.stop + 1] = names.index(bout.behaviour)
    return labels


def majority(votes: Sequence[Labels]) -> Labels:
    """The label that more than half of the raters give each frame (R x (N,)); UNLABELLED where none has."""
    table = np.stack(votes)
    winner = np.full(table.shape[1], UNLABELLED, np.int64)
    for label in np.unique(table):
        winner[(table == label).sum(axis=0) * 2 > len(table)] = label
    return winner


def write_bouts(
    path: Path, bouts: Iterable[Bout], fps: float, video: str, times_s: NDArray[np.float64] | None = None
) -> Path:
    """Write bouts; :func:`read_bouts` reads them.  Seconds are those of the first and after the last frame.

    ``times_s`` of all frames, where the time between them varies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("video", "behaviour", "start_frame", "stop_frame", "start_s", "stop_s", "confidence"))
        for bout in bouts:
            seconds: tuple[Any, Any] = ("", "")
            if fps > 0 and times_s is not None:
                seconds = (float(times_s[bout.start]), float(times_s[bout.stop]) + 1 / fps)
            elif fps > 0:
                seconds = (bout.start / fps, (bout.stop + 1) / fps)
            row = (video, bout.behaviour, bout.start, bout.stop, *seconds, round(bout.confidence, 4))
            table.writerow(row)
    return path


def read_bouts(
    path: Path, fps: float, *, video: str = "", animal: str = "", rater: str = ""
) -> dict[str, list[Bout]]:
    """Bouts by rater ("" where the file names none); only those of ``video``, ``animal`` and ``rater`` if given.

    Seconds are rounded to the nearest frame.  A file of headings alone has no bout, which is no fault: an animal
    may do nothing.  Raises DataError, naming file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            lines, headings = list(table), list(table.fieldnames or ())
    except OSError as error:
        raise DataError(f"There is no file of behaviour labels {path} ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no table of bouts: {error}.", remedy="Give a csv file.") from error
    columns = _columns(path, headings, fps)
    found: dict[str, list[Bout]] = {}
    for number, line in enumerate(lines, start=2):
        cell = {name: (line[column] or "").strip() for name, column in columns.items()}
        if _is_other(cell.get("animal"), animal) or _is_other(cell.get("video"), video, stem=True):
            continue
        if rater and rater != MAJORITY and cell.get("rater", rater) != rater:
            continue
        found.setdefault(cell.get("rater", ""), []).append(_bout(path, number, cell, fps))
    if not found and lines:
        known = Counter((line[columns["rater"]] or "") for line in lines) if "rater" in columns else {}
        hint = did_you_mean(rater, known) if rater and known else "Check video, animal and rater."
        raise DataError(f"{path} has no bout of {video or rater or animal or 'anything'}.", remedy=hint)
    return found


def _columns(path: Path, headings: list[str], fps: float) -> dict[str, str]:
    """Our name of a column -> its heading in the file."""
    by_lower = {heading.strip().lower(): heading for heading in headings if heading}
    found = {
        name: by_lower[alias]
        for name, aliases in reversed(HEADINGS.items())
        for alias in reversed(aliases)
        if alias in by_lower
    }
    in_frames = {"start_frame", "stop_frame"} <= found.keys()
    in_seconds = {"start_s", "stop_s"} <= found.keys()
    if "behaviour" not in found or not (in_frames or in_seconds):
        raise DataError(
            f"{path} has the columns {', '.join(headings) or 'none'}.",
            remedy="It needs behaviour, start_frame, stop_frame, or behaviour, start_s, stop_s.",
        )
    if not in_frames and not fps > 0:
        raise DataError(
            f"{path} counts seconds, and the frame rate is not known.", remedy="Give it: --data.fps=30"
        )
    return found


def _bout(path: Path, line: int, cell: dict[str, str], fps: float) -> Bout:
    try:
        if "start_frame" in cell and "stop_frame" in cell:
            first, last = float(cell["start_frame"]), float(cell["stop_frame"])
        else:
            first, last = round(float(cell["start_s"]) * fps), round(float(cell["stop_s"]) * fps) - 1
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}, line {line}: {error}.", remedy="Start and stop are numbers.") from error
    start, stop = _frames(path, line, first, last)
    if stop < start - 1 or start < 0:
        raise DataError(f"{path}, line {line}: {cell['behaviour']} goes from frame {start} to {stop}.")
    return Bout(cell["behaviour"], start, max(stop, start))


def _frames(path: Path, line: int, first: float, last: float) -> tuple[int, int]:
    if not (float(first).is_integer() and float(last).is_integer()):
        raise DataError(
            f"{path}, line {line}: {first:g} to {last:g} are no numbers of frames.",
            remedy="Call columns of seconds start_s and stop_s.",
        )
    return int(first), int(last)


def _is_other(given: str | None, wanted: str, *, stem: bool = False) -> bool:
    """Whether a cell names something else; an empty cell, or none, stands for all."""
    if not given or not wanted:
        return False
    return given not in (wanted, *((Path(wanted).stem,) if stem else ())) and (
        not stem or Path(given).stem != wanted
    )
