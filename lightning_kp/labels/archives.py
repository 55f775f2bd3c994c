"""Labelled frames of several animals from a numpy archive: ``labels.npz``, or ``labels.npz#PART`` for a part of it.

Read are ``points`` (N, I, K, 2) in pixels with NaN = missing, ``path`` (N) of the images, ``node_names`` (K) and,
for parts, ``split`` (N).  Images lie where ``path`` says, below the archive's folder or in its ``images/``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_file, image_reader

KEYS = ("points", "path", "node_names")


def split_part(path: str | Path) -> tuple[Path, str]:
    """``labels.npz#train`` -> the file and the part's name, empty for all of it."""
    text = str(path)
    if ".npz#" not in text:
        return Path(path), ""
    file, _, part = text.rpartition("#")
    return Path(file), part


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The archive, with what cannot be read of it told as DataError; objects would need code that is run."""
    remedy = "Write it with numpy.savez, names and paths as text (numpy.array(names, dtype=str))."
    if not is_zipfile(path):  # numpy would take it for objects and advise to load them unsafely
        raise DataError(f"{path} is no numpy archive.", remedy=remedy)
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except DataError:
        raise
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise DataError(f"{path} holds what cannot be read: {error}.", remedy=remedy) from error


def open_npz(path: Path, part: str, places: list[Path]) -> OpenLabels:
    """Read an archive without executing anything in it.  Raises DataError for one that lacks a key or the part."""
    with _opened(path) as archive:
        missing = [key for key in KEYS if key not in archive] + ["split"] * (
            part != "" and "split" not in archive
        )
        if missing:
            raise DataError(
                f"{path} has no {', '.join(missing)}; it has {', '.join(archive.files)}.",
                remedy="Write points (N, I, K, 2), path (N), node_names (K) and split (N) with numpy.savez.",
            )
        points = np.asarray(archive["points"], np.float64)
        names, files = [str(name) for name in archive["node_names"]], [str(file) for file in archive["path"]]
        parts = [str(each) for each in archive["split"]] if part else [""] * len(files)
    if points.ndim != 4 or points.shape != (len(files), points.shape[1], len(names), 2):
        raise DataError(
            f"{path} has points {points.shape} for {len(files)} images and {len(names)} names.",
            remedy="points are (images, animals, names, 2).",
        )
    if part not in parts:
        raise DataError(f"{path} has no part {part}.", remedy=f"It has: {', '.join(sorted(set(parts)))}.")
    if len(parts) != len(files):
        raise DataError(
            f"{path} has {len(files)} images and says the part of {len(parts)}.",
            remedy="split names one for each image.",
        )
    if not np.isfinite(points[[each == part for each in parts]]).any():
        raise DataError(
            f"{path} holds no labelled point{f' in its part {part}' if part else ''}.",
            remedy="points are pixels; NaN stands for what is missing.",
        )
    folders = [*places, path.parent / "images"]
    frames, problems = [], []
    for name, here, of_image in zip(files, parts, points, strict=True):
        if here != part:
            continue
        file = find_file(name, folders)
        if file is None:
            problems.append(f"{name} is missing")
            continue
        labelled = of_image[~np.isnan(of_image).all(axis=(1, 2))]
        frames.append(OpenFrame(name, image_reader(file), labelled, str(file.resolve())))
    return OpenLabels(path, tuple(names), frames, problems)
