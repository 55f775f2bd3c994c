"""Label files of other tools as frames with points in pixels; images are read on demand.

sleap-io reads SLEAP files (.slp, .pkg.slp), COCO and Label Studio; ``tables`` reads the tables of DeepLabCut and
Lightning Pose, ``archives`` numpy archives and MARS, and ``truth`` the ground truth of a rendered arena.  The
problems of a file are collected, so that one message can list them all.
"""

import json
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.labels.archives import is_mars, open_mars, open_npz, split_part
from lightning_kp.labels.frames import OpenLabels
from lightning_kp.labels.json_files import open_coco, open_label_studio
from lightning_kp.labels.sleap import open_sleap
from lightning_kp.labels.tables import open_project, open_table
from lightning_kp.labels.truth import is_truth, open_truth

KINDS = (
    "a SLEAP file (.slp), a DeepLabCut project or its CollectedData csv, a Lightning Pose csv, json of COCO, Label "
    "Studio or MARS, a numpy archive (.npz), or the .truth.npz of a rendered arena"
)


def open_labels(path: str | Path, root: str | Path | None = None) -> OpenLabels:
    """Open a label file, or the folder or config.yaml of a DeepLabCut project.

    Images and videos are looked for at the path in the file, then below ``root``, then beside the file.
    Raises DataError if the file cannot be read at all.
    """
    path, part = split_part(path)
    if not path.exists():
        raise DataError(f"There is no label file {path}.", remedy=f"Give {KINDS}.")
    if is_truth(path) and not part:
        return open_truth(path)
    folders = [Path(root)] if root is not None else []
    if path.is_dir() or path.name == "config.yaml":
        return open_project(path if path.is_dir() else path.parent, folders)
    if path.suffix == ".h5" and path.with_suffix(".csv").exists():
        path = path.with_suffix(".csv")  # DeepLabCut writes both
    folders += [path.parent, *list(path.parent.resolve().parents)[:2]]
    if path.suffix in (".csv", ".h5"):
        return open_table(path, folders)
    if path.suffix == ".npz":
        return open_npz(path, part, folders)
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return open_coco(path, content, folders)
            return (open_mars if is_mars(content) else open_label_studio)(path, content, folders)
        if path.suffix != ".slp":
            raise DataError(
                f"{path} is not a label file: its ending {path.suffix or '(none)'} is unknown.",
                remedy=f"Give {KINDS}.",
            )
        return open_sleap(path, folders)
    except DataError:
        raise
    except Exception as error:  # each of sleap-io's readers has its own exceptions
        raise DataError(
            f"{path} cannot be read as labels ({type(error).__name__}: {error}).", remedy=f"Give {KINDS}."
        ) from error
