"""Behaviour as bouts and as one label per frame, and csv files of bouts.

A file has one bout per line, with the columns behaviour, start_frame, stop_frame (both frames belong to the bout),
or behaviour, start_s, stop_s in seconds.  A file of several recordings, animals or raters also has the columns video,
animal and rater.  The headings of BORIS and of DLCAnalyzer are accepted, too.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.behaviour.clock import Clock
from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.files import writing_text

Labels = NDArray[np.int64]
UNLABELLED = -1
MAJORITY = "majority"
NOT_AVAILABLE = ("", "na", "nan", "n/a", "none")
# Our heading first, then those of BORIS ("Start (s)") and DLCAnalyzer ("from", "Experimenter").
HEADINGS = {
    "behaviour": ("behaviour", "behavior", "type", "category"),
    "start_frame": ("start_frame", "start"),
    "stop_frame": ("stop_frame", "stop"),
    "start_s": ("start_s", "start (s)", "from"),
    "stop_s": ("stop_s", "stop (s)", "to"),
    "video": ("video", "media file", "media file name", "media file path", "media file(s)"),
    "kind": ("behavior type", "behaviour type"),
    "animal": ("animal", "subject"),
    "rater": ("rater", "experimenter", "observer", "annotator"),
}


class Bout(NamedTuple):
    """One behaviour from frame ``start`` to frame ``stop``, both included; ``confidence`` in [0, 1], 1 for labels."""

    behaviour: str
    start: int
    stop: int
    confidence: float = 1.0


def to_bouts(labels: Labels, names: Sequence[str], *, skip: Sequence[str] = ()) -> list[Bout]:
    """Convert one label per frame to bouts.

    Args:
        labels: Labels (N,) as positions in ``names``; UNLABELLED frames belong to no bout.
        names: Names of the behaviours.
        skip: Behaviours to leave out.
    """
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
    """Convert bouts to one label per frame.

    Args:
        bouts: Bouts; behaviours outside of ``names`` are ignored.  Where bouts overlap, the shorter one counts.
        frames: Number of frames N.
        names: Names of the behaviours.
        background: Behaviour of the frames without a bout; None leaves them UNLABELLED.

    Returns:
        Labels (N,) as positions in ``names``.
    """
    labels = np.full(frames, UNLABELLED if background is None else names.index(background), np.int64)
    for bout in sorted(bouts, key=lambda bout: bout.start - bout.stop):
        if bout.behaviour in names:
            labels[max(bout.start, 0) : bout.stop + 1] = names.index(bout.behaviour)
    return labels


def majority(votes: Sequence[Labels]) -> Labels:
    """Labels (N,) that more than half of the raters agree on; UNLABELLED without such a majority."""
    table = np.stack(votes)
    winner = np.full(table.shape[1], UNLABELLED, np.int64)
    for label in np.unique(table):
        winner[(table == label).sum(axis=0) * 2 > len(table)] = label
    return winner


def write_bouts(
    path: Path, bouts: Iterable[Bout], fps: float, video: str, times_s: NDArray[np.float64] | None = None
) -> Path:
    """Write bouts as a csv file that :func:`read_bouts` reads.

    Args:
        path: The file; its folder is created.
        bouts: The bouts.
        fps: Frames per second; 0 = unknown, which leaves the columns of seconds empty.
        video: Name of the recording.
        times_s: Times (N,) of all frames in seconds, for a varying frame rate.

    Returns:
        ``path``.  A bout starts at the time of its first frame and stops one frame after that of its last.
    """
    with writing_text(path) as file:
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
    path: Path,
    fps: float,
    *,
    video: str = "",
    animal: str = "",
    rater: str = "",
    times_s: NDArray[np.float64] | None = None,
) -> dict[str, list[Bout]]:
    """Read the bouts of a csv file, by rater.

    Seconds are rounded to the nearest frame.  A file with headings only has no bouts, which is valid: an animal
    may do nothing.  A point event (``NA`` as its stop) is a bout of one frame.

    Args:
        path: The file.
        fps: Frames per second, needed for columns of seconds; 0 = unknown.
        times_s: Times (N,) of all frames in seconds, which then count instead of ``fps``.
        video: Read only the bouts of this recording, if given.
        animal: Read only the bouts of this animal, if given.
        rater: Read only the bouts of this rater, if given; MAJORITY reads all raters.

    Returns:
        Bouts by rater; the rater is "" in a file without that column.

    Raises:
        DataError: The file, or one of its lines, cannot be read, or it has none of these bouts.
    """
    headings, lines = _table(path)
    columns = _columns(path, headings, fps)
    clock = Clock.of(times_s, fps)
    found: dict[str, list[Bout]] = {}
    videos: set[str] = set()
    for number, line in enumerate(lines, start=2):
        cell = {name: (line[column] or "").strip() for name, column in columns.items()}
        if _is_other(cell.get("animal"), animal) or _is_other(cell.get("video"), video, stem=True):
            continue
        if rater and rater != MAJORITY and cell.get("rater", rater) != rater:
            continue
        bout = _bout(path, number, cell, clock)
        found.setdefault(cell.get("rater", ""), []).extend([] if bout is None else [bout])
        videos.add(cell.get("video", ""))
    _refuse_two_videos(path, sorted(videos - {""}), video)
    if not found and lines:
        raters = Counter((line[columns["rater"]] or "") for line in lines) if "rater" in columns else {}
        raise _no_bouts(path, {"video": video, "animal": animal, "rater": rater}, raters)
    return found


def _table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Headings and lines of a csv file; its columns may also be separated by tabs or semicolons."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            table = csv.DictReader(file, delimiter=max(",\t;", key=first.count))
            return list(table.fieldnames or ()), list(table)
    except OSError as error:
        raise DataError(f"The file of behaviour labels {path} cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a table of bouts: {error}.", remedy="Give a csv file.") from error


def _no_bouts(path: Path, wanted: dict[str, str], raters: Iterable[str]) -> DataError:
    rater, known = wanted["rater"], list(raters)
    given = [f"{name} {value}" for name, value in wanted.items() if value]
    hint = did_you_mean(rater, known) if rater and known else "Check video, animal and rater."
    return DataError(f"{path} has no bouts of {', '.join(given)}.", remedy=hint)


def _columns(path: Path, headings: list[str], fps: float) -> dict[str, str]:
    """Headings of the file by our name of the column."""
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
            remedy="It needs the columns behaviour, start_frame, stop_frame, or behaviour, start_s, stop_s.",
        )
    if not in_frames and not fps > 0:
        raise DataError(
            f"{path} gives times in seconds, but the frame rate is unknown.", remedy="Give it: --data.fps=30"
        )
    return found


def _bout(path: Path, line: int, cell: dict[str, str], clock: Clock) -> Bout | None:
    """The bout of a line; None if it lies within a pause of the recording."""
    unit = "frame" if "start_frame" in cell and "stop_frame" in cell else "s"
    first_cell, last_cell = cell[f"start_{unit}"], cell[f"stop_{unit}"]
    if last_cell.lower() in NOT_AVAILABLE and first_cell.lower() not in NOT_AVAILABLE:
        if cell.get("kind", "").upper() == "STATE":
            raise DataError(
                f"{path}, line {line}: {cell['behaviour']} starts at {first_cell} and has no stop.",
                remedy="Give the time at which it stops, or remove the line.",
            )
        last_cell = first_cell
    try:
        if unit == "frame":
            first, last = float(first_cell), float(last_cell)
        else:
            start_s, stop_s = float(first_cell), float(last_cell)
            if start_s <= stop_s and clock.is_paused(start_s, stop_s):
                return None
            first, last = clock.frame_at(start_s), clock.frame_at(stop_s) - 1
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{path}, line {line}: {error}.", remedy="Start and stop have to be numbers."
        ) from error
    start, stop = _frames(path, line, first, last)
    if stop < start - 1 or start < 0:
        raise DataError(
            f"{path}, line {line}: {cell['behaviour']} goes from frame {start} to frame {stop}.",
            remedy="A bout starts at frame 0 or later and stops after it starts.",
        )
    return Bout(cell["behaviour"], start, max(stop, start))


def _refuse_two_videos(path: Path, given: Sequence[str], wanted: str) -> None:
    """Raise DataError if lines of two videos of one name, in different folders, would be taken for one recording."""
    folders = {PureWindowsPath(name).parts[::-1]: name for name in given}
    for one, name in folders.items():
        for other, second in folders.items():
            if wanted and one[: len(other)] != other[: len(one)]:
                raise DataError(
                    f"{path} has bouts of {name} and of {second}, and both are called {wanted}.",
                    remedy="Write one file of bouts for each video, or give the videos different names.",
                )


def _frames(path: Path, line: int, first: float, last: float) -> tuple[int, int]:
    if not (float(first).is_integer() and float(last).is_integer()):
        raise DataError(
            f"{path}, line {line}: {first:g} and {last:g} are not frame numbers.",
            remedy="Name columns of seconds start_s and stop_s.",
        )
    return int(first), int(last)


def _is_other(given: str | None, wanted: str, *, stem: bool = False) -> bool:
    """Whether a cell names something other than ``wanted``; an empty or missing cell stands for all."""
    if not given or not wanted:
        return False
    if not stem:
        return given != wanted
    path = PureWindowsPath(given)  # reads both kinds of slashes
    return path.stem != wanted and path.name not in (wanted, Path(wanted).stem)
