"""Tables of labels as DeepLabCut and Lightning Pose write them (CollectedData, csv or h5).

They are not read by sleap-io, which leaves out the frames of missing images and then pairs labels with the
images of their neighbours.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_file, image_reader, join_labels

REMEDY = "Its first rows must be scorer, (individuals,) bodyparts, coords, as in DeepLabCut's CollectedData."


class LabelTable(NamedTuple):
    """Content of a table: ``images`` (N) as the file names them, ``points_px`` (N, I, K, 2), ``names`` (K).

    Points are pixels (x, y), NaN = not labelled; ``problems`` lists the cells that could not be read.
    """

    images: list[str]
    points_px: NDArray[np.float64]
    names: tuple[str, ...]
    problems: list[str]


def read_table(path: Path) -> LabelTable:
    """Read a csv or h5 table of labels; cells that are not numbers are listed as problems.

    Raises DataError if the file is not such a table.
    """
    try:
        rows = _rows_of_h5(path) if path.suffix == ".h5" else _rows_of_csv(path)
        if rows[0][0] != "scorer":
            raise ValueError("its first row is not the scorer")
        depth = next(number for number, row in enumerate(rows) if row[0] == "coords") + 1
        first = rows[depth - 1].index("x")
        return _parse(rows[:depth], rows[depth:], first)
    except (
        OSError,
        UnicodeDecodeError,
        ValueError,
        IndexError,
        StopIteration,
        KeyError,
        ImportError,
    ) as error:
        raise DataError(
            f"{path} is not a table of labels ({error or 'it has no row coords'}).", remedy=REMEDY
        ) from error


def _rows_of_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [row for row in csv.reader(file) if any(cell.strip() for cell in row)]


def _rows_of_h5(path: Path) -> list[list[str]]:
    import pandas as pd

    frame = pd.read_hdf(path)
    levels = [
        [str(name), *map(str, frame.columns.get_level_values(str(name)))] for name in frame.columns.names
    ]
    index = ["/".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in frame.index]
    values = frame.to_numpy(dtype=np.float64)
    return [*levels, *([name, *map(str, row)] for name, row in zip(index, values, strict=True))]


def _parse(header: Sequence[list[str]], body: Sequence[list[str]], first: int) -> LabelTable:
    labels = {row[0]: row[first:] for row in header}
    parts, coords = labels["bodyparts"], labels["coords"]
    animals = labels.get("individuals", [""] * len(parts))
    names, individuals = list(dict.fromkeys(parts)), list(dict.fromkeys(animals))
    points = np.full((len(body), len(individuals), len(names), 2), np.nan)
    images, problems = [], []
    for number, row in enumerate(body):
        images.append("/".join(cell for cell in row[:first] if cell))
        for animal, part, coord, cell in zip(animals, parts, coords, row[first:], strict=False):
            if coord not in ("x", "y") or not cell.strip():
                continue
            try:
                value = float(cell)
            except ValueError:
                problems.append(f"{images[-1]}: {part} has {coord} = {cell!r}, which is not a number")
                continue
            points[number, individuals.index(animal), names.index(part), "xy".index(coord)] = value
    points[np.isnan(points).any(axis=-1)] = np.nan
    return LabelTable(images, points, tuple(names), problems)


def open_project(folder: Path, folders: list[Path]) -> OpenLabels:
    """Open all label tables of the DeepLabCut project in ``folder``; csv is preferred to h5."""
    tables = sorted(folder.glob("labeled-data/*/CollectedData_*.csv"))
    with_csv = {table.parent for table in tables}
    tables += [
        h5 for h5 in sorted(folder.glob("labeled-data/*/CollectedData_*.h5")) if h5.parent not in with_csv
    ]
    if not tables:
        raise DataError(
            f"{folder} is not a DeepLabCut project with labels: there is no labeled-data/*/CollectedData_*.csv in it.",
            remedy="Give the project's folder (the one with config.yaml), or a label file.",
        )
    return join_labels(folder, [open_table(table, [*folders, folder, table.parent]) for table in tables])


def open_table(path: Path, folders: list[Path]) -> OpenLabels:
    """Open one table of DeepLabCut or Lightning Pose; images are also looked for below ``folders``."""
    table = read_table(path)
    problems = [
        f"{name} is labelled {count} times" for name, count in Counter(table.images).items() if count > 1
    ]
    is_one_folder = len({name.rpartition("/")[0] for name in table.images}) == 1
    frames = []
    for name, points in zip(table.images, table.points_px, strict=True):
        if np.isnan(points).all():
            continue
        # Beside the table, the folder of the images may have any name.
        file = find_file(name, folders) or (
            find_file(name, [path.parent], loose=True) if is_one_folder else None
        )
        if file is None:
            problems.append(f"{name} is missing")
        else:
            frames.append(OpenFrame(name, image_reader(file), points, str(file.resolve())))
    return OpenLabels(path, table.names, frames, [*table.problems, *problems])
