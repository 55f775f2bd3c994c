"""Labelled frames of several animals in files of their own: numpy archives, and the json of MARS.

A numpy archive is ``labels.npz``, or ``labels.npz#PART`` for a part of it.  It holds ``points`` (N, I, K, 2) in pixels,
NaN = missing, ``path`` (N) of the images, ``node_names`` (K) and, for parts, ``split`` (N).  Images are looked for at
``path``, below the archive's folder and in its ``images/``.

MARS (Segalin et al. 2021; data.caltech.edu, MARS_keypoints_top.json and raw_images_top/) is a list of frames::

    {"filename": "MARS_top_00000.jpg", "width": 1024, "height": 570,
     "coords": {"black": {"x": [7 numbers], "y": [7 numbers]}, "white": ...}}

The file does not name the points.  Their order is that of CalMS21, whose points MARS found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.labels.frames import (
    OpenFrame,
    OpenLabels,
    Points,
    find_files,
    image_reader,
    scale_factors,
    scaled_points,
)

KEYS = ("points", "path", "node_names")
MARS_MICE = ("black", "white")
MARS_POINTS = ("nose", "left_ear", "right_ear", "neck", "left_hip", "right_hip", "tail_base")


def split_part(path: str | Path) -> tuple[Path, str]:
    """Split ``labels.npz#train`` into the file and the name of the part; the name is empty for the whole file."""
    text = str(path)
    if ".npz#" not in text:
        return Path(path), ""
    file, _, part = text.rpartition("#")
    return Path(file), part


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the archive; errors become DataError.  Pickled objects are refused: loading them would run code."""
    remedy = "Write it with numpy.savez, names and paths as text (numpy.array(names, dtype=str))."
    if not is_zipfile(path):  # numpy would take it for pickled objects and advise loading them unsafely
        raise DataError(f"{path} is not a numpy archive.", remedy=remedy)
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except DataError:
        raise
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise DataError(f"{path} holds an array that cannot be read: {error}.", remedy=remedy) from error


def _refuse_repeated(path: Path, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path} has several points called {', '.join(repeated)}.",
            remedy="Write node_names with a name of its own for each point.",
        )


def open_npz(path: Path, part: str, folders: list[Path]) -> OpenLabels:
    """Open an archive, or one ``part`` of it, without running code from it.

    Raises DataError for a missing key or part, for shapes that do not match, and for a part without labelled points.
    """
    with _opened(path) as archive:
        missing = [key for key in KEYS if key not in archive] + ["split"] * (
            part != "" and "split" not in archive
        )
        if missing:
            raise DataError(
                f"{path} has no {', '.join(missing)}; its keys are {', '.join(archive.files)}.",
                remedy="Write points (N, I, K, 2), path (N), node_names (K) and split (N) with numpy.savez.",
            )
        points = np.asarray(archive["points"], np.float64)
        names, files = [str(name) for name in archive["node_names"]], [str(file) for file in archive["path"]]
        parts = [str(each) for each in archive["split"]] if part else [""] * len(files)
    _refuse_repeated(path, names)
    if points.ndim != 4 or points.shape != (len(files), points.shape[1], len(names), 2):
        raise DataError(
            f"{path} has points of shape {points.shape} for {len(files)} images and {len(names)} names.",
            remedy="The shape of points must be (images, animals, names, 2).",
        )
    if part not in parts:
        raise DataError(
            f"{path} has no part {part}.", remedy=f"Its parts are: {', '.join(sorted(set(parts)))}."
        )
    if len(parts) != len(files):
        raise DataError(
            f"{path} has {len(files)} images, but its split has {len(parts)} entries.",
            remedy="Write one entry of split for each image.",
        )
    if not np.isfinite(points[[each == part for each in parts]]).any():
        raise DataError(
            f"{path} has no labelled point{f' in part {part}' if part else ''}.",
            remedy="Write points in pixels, and NaN for missing ones only.",
        )
    chosen = [each for each, part_of_image in enumerate(parts) if part_of_image == part]
    found = find_files([files[each] for each in chosen], [*folders, path.parent / "images"])
    frames = []
    for name, points_px in ((files[each], points[each]) for each in chosen):
        if (file := found.by_name[name]) is None:
            continue
        labelled = points_px[~np.isnan(points_px).all(axis=(1, 2))]
        frames.append(OpenFrame(name, image_reader(file), labelled, str(file.resolve())))
    return OpenLabels(path, tuple(names), frames, found.problems)


def is_mars(content: list[Any]) -> bool:
    """Whether the content of a json file is a list of MARS's frames."""
    return bool(content) and isinstance(content[0], dict) and {"filename", "coords"} <= content[0].keys()


def open_mars(path: Path, content: list[dict[str, Any]], folders: list[Path]) -> OpenLabels:
    """Open a json file of MARS with the views of the top: the black mouse comes first, the white one second.

    Images are looked for below ``folders`` and in their ``raw_images_top/``.  A frame without the seven points of a
    mouse is a problem.
    """
    searched = [each for folder in folders for each in (folder, folder / "raw_images_top")]
    found = find_files([str(entry["filename"]) for entry in content], searched)
    frames, problems = [], found.problems
    for entry in content:
        if (file := found.by_name[str(entry["filename"])]) is None:
            continue
        try:
            points_px = np.stack([_mouse(entry["coords"], mouse) for mouse in MARS_MICE])
            factors = scale_factors(file, entry.get("width"), entry.get("height"))
        except ValueError as error:
            problems.append(f"{entry['filename']}: {error}")
            continue
        scaled = scaled_points(points_px, factors)
        frames.append(OpenFrame(file.name, image_reader(file), scaled, str(file.resolve())))
    return OpenLabels(path, MARS_POINTS, frames, problems)


def _mouse(coords: dict[str, Any], mouse: str) -> Points:
    """Points (7, 2) of one mouse in pixels.  Raises ValueError if there are others."""
    given = coords.get(mouse) or {}
    lists = [np.asarray(given.get(axis, ()), np.float64) for axis in ("x", "y")]
    if any(each.shape != (len(MARS_POINTS),) for each in lists):
        raise ValueError(f"the {mouse} mouse has {len(lists[0])} points, but {len(MARS_POINTS)} are needed")
    return np.stack(lists, axis=-1)
