"""Label files of other tools -> frames with points in pixels; images are read when asked for.

SLEAP (.slp, .pkg.slp), COCO and Label Studio are read by sleap-io, the tables of DeepLabCut and Lightning
Pose by label_tables.py, numpy archives by label_npz.py.  What is wrong with a file is collected, so that all of
it can be told at once.
"""

import json
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.labels.archives import open_npz, split_part
from lightning_kp.labels.frames import OpenLabels
from lightning_kp.labels.json_files import open_coco, open_label_studio
from lightning_kp.labels.sleap import _open_sleap
from lightning_kp.labels.tables import _open_project, _open_table

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
