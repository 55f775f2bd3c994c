"""Tables in DeepLabCut's layout from csv files: two to four rows of header, one or more columns of index.

Commas, semicolons (with decimal commas) or tabs separate the cells; a byte order mark and Windows line ends do no harm.
"""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.deeplabcut.columns import LEVELS, LIKELIHOOD, Columns, X, Y, columns_of

MAX_HEADER = 8  # rows in which the row coords is looked for
ENCODING = "utf-8-sig"  # with or without a byte order mark


class CsvTable(NamedTuple):
    """Where the content of a csv table lies.

    Attributes:
        path: The file.
        columns: What its columns hold, numbered from the first column of points.
        start: Position of the first column of the index; spreadsheets may have put row numbers before it.
        first: Position of the first column of points.
        lines: Number of lines of the header.
        delimiter: What separates the cells.
    """

    path: Path
    columns: Columns
    start: int
    first: int
    lines: int
    delimiter: str

    def text_rows(self) -> list[list[str]]:
        """Rows of cells as texts, from the first column of the index on; numbers have a decimal point."""
        with self.path.open(newline="", encoding=ENCODING) as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            rows = [
                row[self.start :]
                for row in reader
                if reader.line_num > self.lines and any(cell.strip() for cell in row)
            ]
        if self.delimiter != ";":
            return rows
        cells = self.first - self.start
        return [[*row[:cells], *(cell.replace(",", ".") for cell in row[cells:])] for row in rows]

    def numbers(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Index (N) and values (N, C); columns that are not used are NaN.

        Raises ValueError for a cell that is not a number, and for a table without rows.
        """
        import pandas as pd

        places = self.columns.places.items()
        used = {place: key for key, place in places if key[2] in (X, Y, LIKELIHOOD)}
        wanted = [self.start, *(self.first + place for place in used)]
        table = pd.read_csv(
            self.path, sep=self.delimiter, decimal="," if self.delimiter == ";" else ".", encoding=ENCODING,
            skiprows=self.lines, header=None, usecols=wanted, low_memory=False,
        )  # fmt: skip
        index = table[self.start].to_numpy()
        columns = max(self.columns.places.values()) + 1
        values = np.full((len(table), columns), np.nan)
        for place, key in used.items():
            values[:, place] = _as_numbers(table[self.first + place], " ".join(filter(None, key)), index)
        if len(index) and _is_name(index[0]) and np.isnan(values[0]).all():
            return index[1:], values[1:]  # pandas writes the name of the index as a row of its own
        return index, values


def _is_name(cell: Any) -> bool:
    try:
        float(cell)
    except ValueError:
        return True
    return bool(np.isnan(float(cell)))


def _as_numbers(column: Any, name: str, index: NDArray[Any]) -> NDArray[np.float64]:
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(numbers.isna() & column.notna())
    if len(wrong):
        cell = column.iloc[wrong[0]]
        raise ValueError(f"{name} is {str(cell)!r} in row {index[wrong[0]]}, which is not a number")
    return np.asarray(numbers, np.float64)


def open_csv(path: Path) -> CsvTable:
    """Read the header of a csv table.  Raises ValueError or OSError if it is not such a table."""
    with path.open(newline="", encoding=ENCODING) as file:
        start = file.readline()
        delimiter = max(",;\t", key=start.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        header: list[list[str]] = []
        for row in reader:
            header += [row] if any(cell.strip() for cell in row) else []
            place = next((n for n, cell in enumerate(row[:2]) if cell.strip().lower() == "coords"), None)
            if place is not None:
                return _opened(path, header, place, reader.line_num, delimiter)
            if len(header) == MAX_HEADER:
                break
    if not header:
        raise ValueError("it is empty")
    raise ValueError("its header has no row coords")


def _opened(path: Path, header: list[list[str]], place: int, lines: int, delimiter: str) -> CsvTable:
    """Make sense of the header, whose rows are named in column ``place``."""
    coords = header[-1]
    first = next((n for n, cell in enumerate(coords) if n > place and cell.strip()), len(coords))
    last = max((n + 1 for n, cell in enumerate(coords) if cell.strip()), default=first)
    levels = {}
    for row in header:
        name = row[place].strip().lower() if len(row) > place else ""
        if name not in LEVELS:
            raise ValueError(f"its header has a row {name!r}")
        levels[name] = [*row[first:last], *[""] * (last - len(row))]
    return CsvTable(path, columns_of(levels), place, first, lines, delimiter)
