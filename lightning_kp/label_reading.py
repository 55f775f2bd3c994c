"""Label files of other tools -> frames with points in pixels; images are read when asked for.

SLEAP (.slp, .pkg.slp), COCO and Label Studio are read by sleap-io, the tables of DeepLabCut and Lightning
Pose by label_tables.py, numpy archives by label_npz.py.  What is wrong with a file is collected, so that all of
it can be told at once.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.label_frames import OpenFrame, OpenLabels, find_file, from_sleap_io, image_reader
from lightning_kp.label_json import open_coco, open_label_studio
from lightning_kp.label_npz import open_npz, split_part
from lightning_kp.label_tables import read_table

KINDS = (
    "a SLEAP file (.slp), a DeepLabCut project or its CollectedData csv, a Lightning Pose csv, COCO or "
    "Label Studio json, or a numpy archive (.npz)"
)


def open_labels(path: str | Path, root: str | Path | None = None) -> OpenLabels:
    """Read a label file, or the folder or config.yaml of a DeepLabCut project.

    Images and videos are looked for where the file says, then below ``root``, then beside the file.
    Raises DataError where the file cannot be read at all.
    """
    path, part = split_part(path)
    if not path.exists():
        raise DataError(f"There is no label file {path}.", remedy=f"Give {KINDS}.")
    places = [Path(root)] if root is not None else []
    if path.is_dir() or path.name == "config.yaml":
        return _open_project(path if path.is_dir() else path.parent, places)
    if path.suffix == ".h5" and path.with_suffix(".csv").exists():
        path = path.with_suffix(".csv")  # DeepLabCut writes both
    places += [path.parent, *list(path.parent.resolve().parents)[:2]]
    if path.suffix == ".csv" or path.suffix == ".h5":
        return _open_table(path, places)
    if path.suffix == ".npz":
        return open_npz(path, part, places)
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            read = open_coco if isinstance(content, dict) else open_label_studio
            return read(path, content, places)
        if path.suffix != ".slp":
            raise DataError(f"{path} is no label file that is known by its ending.", remedy=f"Give {KINDS}.")
        return _open_sleap(path, places)
    except DataError:
        raise
    except Exception as error:  # each of sleap-io's readers fails with its own kinds
        raise DataError(
            f"{path} cannot be read as labels ({type(error).__name__}: {error}).", remedy=f"Give {KINDS}."
        ) from error


def _open_project(folder: Path, places: list[Path]) -> OpenLabels:
    tables = sorted(folder.glob("labeled-data/*/CollectedData_*.csv"))
    with_csv = {table.parent for table in tables}
    tables += [
        h5 for h5 in sorted(folder.glob("labeled-data/*/CollectedData_*.h5")) if h5.parent not in with_csv
    ]
    if not tables:
        raise DataError(
            f"{folder} holds no labeled-data/*/CollectedData_*.csv.",
            remedy="Give a DeepLabCut project, or a label file.",
        )
    return join_labels(folder, [_open_table(table, [*places, folder, table.parent]) for table in tables])


def join_labels(path: Path, parts: Sequence[OpenLabels]) -> OpenLabels:
    """Several files as one, in the first one's order of names; a file with other names is a problem."""
    names = parts[0].names
    frames: list[OpenFrame] = []
    problems = [problem for part in parts for problem in part.problems]
    for part in parts:
        if set(part.names) != set(names):
            problems.append(
                f"{part.path} labels {', '.join(part.names)}, not {', '.join(names)}: unknown skeleton"
            )
            continue
        order = [part.names.index(name) for name in names]
        frames += [frame._replace(points_px=frame.points_px[:, order]) for frame in part.frames]
    problems += repeated_frames([[frame.source for frame in part.frames] for part in parts])
    return OpenLabels(path, names, frames, problems)


def repeated_frames(files: Sequence[Sequence[str]]) -> list[str]:
    """Of the sources of the frames of several files those that more than one labels, as problems."""
    counts = Counter(source for sources in files for source in set(sources) if source)
    return [f"{source} is labelled in {count} files" for source, count in counts.items() if count > 1]


def _open_table(path: Path, places: list[Path]) -> OpenLabels:
    table = read_table(path)
    problems = [
        f"{name} is labelled {count} times" for name, count in Counter(table.images).items() if count > 1
    ]
    is_one_folder = len({name.rpartition("/")[0] for name in table.images}) == 1
    frames = []
    for name, points in zip(table.images, table.points_px, strict=True):
        if np.isnan(points).all():
            continue
        # Beside its table an image may lie in a folder of any name.
        file = find_file(name, places) or (
            find_file(name, [path.parent], loose=True) if is_one_folder else None
        )
        if file is None:
            problems.append(f"{name} is missing")
        else:
            frames.append(OpenFrame(name, image_reader(file), points, str(file.resolve())))
    return OpenLabels(path, table.names, frames, [*table.problems, *problems])


def _open_sleap(path: Path, places: list[Path]) -> OpenLabels:
    import sleap_io as sio

    labels = sio.load_file(str(path), **({"open_videos": False} if path.suffix == ".slp" else {}))
    missing: list[str] = []
    absent: set[str] = set()
    for video in labels.videos:
        used = {
            frame.frame_idx for frame in labels.labeled_frames if frame.video is video and frame.instances
        }
        if not used:
            continue
        names = list(video.filename) if isinstance(video.filename, list) else [video.filename]
        files = [find_file(str(name), places) for name in names]
        wanted = used if len(names) > 1 else {0}
        gone = [names[i] for i in sorted(wanted) if i < len(names) and files[i] is None]
        missing += [f"{name} is missing" for name in gone]
        absent |= {str(Path(name).resolve()) for name in gone}
        found = [str(file or name) for file, name in zip(files, names, strict=True)]
        video.filename = found if isinstance(video.filename, list) else found[0]
    opened = from_sleap_io(path, labels, missing)
    # A video is told once, not with each of its frames.
    kept = [frame for frame in opened.frames if not _is_of(frame.source, absent)]
    return opened._replace(frames=kept)


def _is_of(source: str, files: set[str]) -> bool:
    """Whether a frame's source is one of the files, or a frame of one."""
    return source in files or source.rpartition(" frame ")[0] in files
