"""Tables of labels as DeepLabCut and Lightning Pose write them (CollectedData, csv or h5).

Read here and not by sleap-io, which leaves out the frames of missing images and then shows a label with
its neighbour's image.
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
    """``images`` (N) as the file names them, ``points_px`` (N, I, L, 2), NaN = unlabelled, ``names`` (L)."""

    images: list[str]
    points_px: NDArray[np.float64]
    names: tuple[str, ...]
    problems: list[str]


def read_table(path: Path) -> LabelTable:
    """Read a table of labels; cells that are no numbers are listed as problems.  Raises DataError."""
    try:
        rows = _rows_of_h5(path) if path.suffix == ".h5" else _rows_of_csv(path)
        if rows[0][0] != "scorer":
            raise ValueError("it does not begin with the scorer")
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
            f"{path} is no table of labels ({error or 'no row of coords'}).", remedy=REMEDY
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
                problems.append(f"{images[-1]}: {part} has {coord} = {cell!r}, which is no number")
                continue
            points[number, individuals.index(animal), names.index(part), "xy".index(coord)] = value
    points[np.isnan(points).any(axis=-1)] = np.nan
    return LabelTable(images, points, tuple(names), problems)


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
