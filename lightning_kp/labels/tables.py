"""Tables of labels as DeepLabCut and Lightning Pose write them (CollectedData, csv or h5).

They are not read by sleap-io, which leaves out the frames of missing images and then pairs labels with the
images of their neighbours.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.deeplabcut.columns import Columns, X, Y
from lightning_kp.deeplabcut.csv_files import open_csv
from lightning_kp.deeplabcut.hdf import AS_CSV, open_hdf
from lightning_kp.errors import DataError, one_line
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_files, image_reader, join_labels

REMEDY = (
    "Its first rows must be scorer, (individuals,) bodyparts, coords, as in DeepLabCut's CollectedData, each with one "
    "x and one y for each body part."
)


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

    Columns count by their names, and nothing in an h5 file is run.  Raises DataError if the file is not such a table,
    or if two of its columns have the same names.
    """
    try:
        if path.suffix == ".h5":
            columns, index, values = open_hdf(path)
            rows = [(str(name), [str(cell) for cell in row]) for name, row in zip(index, values, strict=True)]
        else:
            table = open_csv(path)
            columns, first = table.columns, table.first - table.start
            rows = [("/".join(filter(None, row[:first])), row[first:]) for row in table.text_rows()]
        return _parse(columns, rows)
    except (OSError, ValueError, LookupError, ImportError) as error:
        raise DataError(
            f"{path} is not a table of labels ({one_line(str(error))}).",
            remedy=AS_CSV if "pickled" in str(error) else REMEDY,
        ) from error


def _parse(columns: Columns, rows: Sequence[tuple[str, list[str]]]) -> LabelTable:
    """Labels of rows: the name of the image, and the cells of all columns as texts."""
    wanted = [(columns.of(X), 0), (columns.of(Y), 1)]
    shape = (len(rows), len(columns.individuals), len(columns.parts), 2)
    points, problems = np.full(shape, np.nan), []
    for number, (image, cells) in enumerate(rows):
        for places, axis in wanted:
            for animal, part in np.argwhere(places >= 0):
                cell = cells[places[animal, part]] if places[animal, part] < len(cells) else ""
                try:
                    points[number, animal, part, axis] = float(cell) if cell.strip() else np.nan
                except ValueError:
                    name = f"{columns.parts[part]} has {'xy'[axis]} = {cell!r}"
                    problems.append(f"{image}: {name}, which is not a number")
    points[np.isnan(points).any(axis=-1)] = np.nan
    return LabelTable([image for image, _ in rows], points, columns.parts, problems)


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
    rows = zip(table.images, table.points_px, strict=True)
    labelled = [(name, points) for name, points in rows if not np.isnan(points).all()]
    found = find_files([name for name, _ in labelled], folders)
    frames = [
        OpenFrame(name, image_reader(file), points, str(file.resolve()))
        for name, points in labelled
        if (file := found.by_name[name]) is not None
    ]
    return OpenLabels(path, table.names, frames, [*table.problems, *problems, *found.problems])
