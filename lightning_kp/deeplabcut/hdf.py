"""Tables in DeepLabCut's layout from the .h5 files that pandas writes (formats fixed and table), by h5py.

``pandas.read_hdf`` unpickles attributes, indices and columns, and so runs the code of whoever wrote the file.  Here
only arrays of numbers and of byte strings are read.  The names of the columns of the format table are a pickle, which
:func:`~lightning_kp.deeplabcut.pickled.plain_value` reads without running it; objects anywhere else are refused.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.deeplabcut.columns import LEVELS, Columns, columns_of
from lightning_kp.deeplabcut.pickled import plain_value

MAX_VALUES = 2**30  # of one array: 8 GiB of numbers; a small file may promise far more (ours)
NO_HEADER = "its columns are not named by scorer, bodyparts, coords"
USUAL_KEY = "df_with_missing"
AS_CSV = "Open it with pandas where you trust it, and save it as csv: pandas.read_hdf(FILE).to_csv(NAME.csv)."

Names = list[tuple[str, ...]]
Blocks = list[tuple[Names, NDArray[np.float64]]]
Parts = tuple[Sequence[str], Names, NDArray[Any], Blocks]
"""Rows of the header, columns, index (N), and values (N, C) with the columns that they belong to."""


class HdfTable(NamedTuple):
    """A table from an .h5 file: its columns, the names of its rows (N), texts or numbers, and its values (N, C)."""

    columns: Columns
    rows: NDArray[Any]
    values: NDArray[np.float64]


def open_hdf(path: Path) -> HdfTable:
    """Read the table of an .h5 file without running code from it.

    Raises ValueError, OSError or LookupError if it holds no such table, several ones, or objects.
    """
    import h5py

    if not h5py.is_hdf5(path):
        raise ValueError("it is not an HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            group = _group(file)
            is_fixed = _text(group.attrs.get("pandas_type")) == "frame"
            levels, names, index, blocks = (_fixed if is_fixed else _table)(group)
    except (
        RuntimeError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:  # what h5py raises for damaged files
        raise ValueError(f"it is damaged ({error})") from error
    rows = {level: [name[i] for name in names] for i, level in enumerate(levels)}
    columns = columns_of(rows)
    return HdfTable(columns, index, _joined_blocks(names, len(index), blocks))


def _joined_blocks(names: Names, rows: int, blocks: Blocks) -> NDArray[np.float64]:
    """Values (N, C) in the order of ``names`` from blocks of columns in any order."""
    place = {name: number for number, name in enumerate(names)}
    values = np.full((rows, len(names)), np.nan)
    for items, content in blocks:
        if content.shape != (rows, len(set(items))) or not place.keys() >= set(items):
            raise ValueError("its values do not fit its rows and columns")
        values[:, [place.pop(item) for item in items]] = content
    if rows and place:
        raise ValueError(f"its column {' '.join(next(iter(place)))} is missing")
    return values


def _group(file: Any) -> Any:
    """The group of the only table of the file, or of the one that DeepLabCut writes."""
    import h5py

    found: dict[str, Any] = {}

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Group) and _text(node.attrs.get("pandas_type")) in ("frame", "frame_table"):
            found[name] = node

    file.visititems(note)
    if not found:
        raise ValueError("it holds no table that pandas wrote")
    if len(found) > 1 and USUAL_KEY not in found:
        raise ValueError(f"it holds several tables: {', '.join(found)}")
    return found[USUAL_KEY] if len(found) > 1 else next(iter(found.values()))


def _text(value: Any) -> str:
    """An attribute that is a text; "" for None, which is stored as a pickle, and for what is none."""
    if isinstance(value, bytes):
        return "" if value == b"N." else value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def _numbers(node: Any, what: str, start: int | None = None) -> NDArray[Any]:
    """Read an array; objects are refused before they are read, and sizes that cannot be are as well."""
    if not hasattr(node, "dtype"):
        raise ValueError(f"its {what} is no array")
    if math.prod(node.shape) > MAX_VALUES:
        raise ValueError(f"its {what} has {math.prod(node.shape):,} entries")
    if node.dtype.kind not in "iufSb":
        raise ValueError(f"its {what} holds pickled objects, which could run code when they are read")
    return np.asarray(node[start:] if start is not None else node[()])


def _floats(array: NDArray[Any], what: str) -> NDArray[np.float64]:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"its {what} are no numbers")
    return array.astype(np.float64)


def _entries(array: NDArray[Any], kind: str, what: str) -> NDArray[Any]:
    """Entries of an index: texts or numbers."""
    if kind == "string":
        return np.array([bytes(entry).decode() for entry in array], dtype=object)
    if kind in ("integer", "float") and array.dtype.kind in "iuf":
        return array
    raise ValueError(f"its {what} holds {kind or 'unknown'} entries, not texts or numbers")


# ---------------------------------------------------------------- format "fixed"


def _fixed(group: Any) -> Parts:
    levels, names = _fixed_index(group, "axis0")
    if not isinstance(names, list) or not names:
        raise ValueError(NO_HEADER)
    _, rows = _fixed_index(group, "axis1")
    joined = _joined(rows)
    blocks = []
    for number in range(int(group.attrs.get("nblocks", 0))):
        _, items = _fixed_index(group, f"block{number}_items")
        node = group[f"block{number}_values"]
        if "shape" in node.attrs or not len(joined):  # pandas stores one number in place of none
            continue
        if _text(node.attrs.get("value_type")):
            raise ValueError(f"{' '.join(items[0])} holds no numbers")
        values = _floats(_numbers(node, f"column {' '.join(items[0])}"), "values")
        blocks.append((items, values if node.attrs.get("transposed") else values.T))
    return _level_names(levels, names), names, joined, blocks


def _fixed_index(group: Any, key: str) -> tuple[list[str], Any]:
    """Names of the levels and entries of an index; entries are tuples of texts if it has several levels."""
    if _text(group.attrs.get(f"{key}_variety")) != "multi":
        node = group[key]
        return [_text(node.attrs.get("name"))], _level(node, key)
    levels, columns = [], []
    for number in range(int(group.attrs[f"{key}_nlevels"])):
        node = group[f"{key}_level{number}"]
        entries = [*map(str, _level(node, key)), ""]  # a code of -1 means: no entry
        codes = _numbers(group[f"{key}_label{number}"], f"index {key}")
        levels.append(_text(node.attrs.get("name")))
        columns.append([entries[code] for code in codes])
    return levels, list(zip(*columns, strict=True))


def _level(node: Any, key: str) -> NDArray[Any]:
    if "shape" in node.attrs:  # an empty index
        return np.zeros(0)
    return _entries(_numbers(node, f"index {key}"), _text(node.attrs.get("kind")), f"index {key}")


def _joined(rows: Any) -> NDArray[Any]:
    """The index of the rows; the parts of an image's path are joined."""
    if isinstance(rows, list):
        return np.array(["/".join(filter(None, row)) for row in rows], dtype=object)
    return np.asarray(rows)


# ---------------------------------------------------------------- format "table"


def _table(group: Any) -> Parts:
    table = group["table"]
    attributes = table.attrs
    fields = table.dtype.fields or {}
    for name, (dtype, *_) in fields.items():
        if dtype.base.kind not in "iufSb":
            raise ValueError(f"its column {name} holds pickled objects, which could run code when read")
    if sum(math.prod(dtype.shape) for dtype, *_ in fields.values()) * len(table) > MAX_VALUES:
        raise ValueError(f"it has {len(table):,} rows")
    content = table[()]
    axes = _plain(group.attrs.get("non_index_axes"), "non_index_axes")
    names = _column_names(axes[0][1] if axes else [])
    index = _entries(content["index"], _text(attributes.get("index_kind")), "index")
    blocks = []
    for name in fields:
        if name == "index":
            continue
        items = _column_names(_plain(attributes.get(f"{name}_kind"), f"{name}_kind"))
        values = _floats(content[name], f"columns {' '.join(items[0])}").reshape(len(index), -1)
        blocks.append((items, values))
    return _level_names(list(_info_names(group)), names), names, index, blocks


def _plain(value: Any, name: str) -> Any:
    if not isinstance(value, bytes):
        raise ValueError(f"its attribute {name} is missing")
    return plain_value(bytes(value))


def _column_names(value: Any) -> Names:
    """Names of columns, each a tuple of texts."""
    if not isinstance(value, list) or not all(isinstance(each, tuple) for each in value):
        raise ValueError(NO_HEADER)
    return [tuple(map(str, each)) for each in value]


def _info_names(group: Any) -> Iterator[str]:
    """Names of the rows of the header, where they are stored as plain texts; none where they are not."""
    with contextlib.suppress(ValueError):
        info = _plain(group.attrs.get("info"), "info")
        about = info.get(1) if isinstance(info, dict) else None
        yield from (str(name or "") for name in (about or {}).get("names", ()))


def _level_names(levels: Sequence[str], names: Names) -> Sequence[str]:
    """Names of the rows of the header; without them, DeepLabCut's for so many rows."""
    depth = len(names[0]) if names else len(levels)
    if set(LEVELS[2:]) <= set(levels):
        return levels
    usual = {2: LEVELS[2:], 3: (LEVELS[0], *LEVELS[2:]), 4: LEVELS}
    if depth not in usual:
        raise ValueError(NO_HEADER)
    return usual[depth]
