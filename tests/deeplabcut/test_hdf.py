"""Files that pandas wrote are read as pandas reads them, but objects in them are refused and never run."""

import contextlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from lightning_kp.deeplabcut import hdf
from lightning_kp.deeplabcut.hdf import open_hdf

LEVELS = ["scorer", "individuals", "bodyparts", "coords"]
FORMATS = ("fixed", "table")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def frame(levels: int = 3, rows: int = 4) -> pd.DataFrame:
    """A table with the columns of two parts (of two animals, with four levels), in the order likelihood, x, y."""
    each = [["net"], ["m1", "m2"], ["nose", "tail"], ["likelihood", "x", "y"]]
    kept = {2: slice(2, 4), 3: [0, 2, 3], 4: slice(0, 4)}[levels]
    names = list(np.array(LEVELS)[kept])
    columns = pd.MultiIndex.from_product([each[LEVELS.index(name)] for name in names], names=names)
    values = np.random.default_rng(0).uniform(0, 60, (rows, len(columns)))
    return pd.DataFrame(values, columns=columns)


def write(table: pd.DataFrame, path: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns that objects are slow
        table.to_hdf(path, key="df_with_missing", mode="w", **options)
    return path


def assert_same(path: Path, table: pd.DataFrame) -> None:
    found = open_hdf(path)
    np.testing.assert_array_equal(found.values, table.to_numpy(np.float64))
    depth = table.columns.nlevels
    for place, column in enumerate(table.columns):
        animal = column[1] if depth == 4 else ""
        assert found.columns.places[animal, column[-2], column[-1]] == place
    wanted = ["/".join(row) if isinstance(row, tuple) else row for row in table.index]
    assert list(found.rows) == wanted


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_both_formats_are_the_same_as_pandas_reads(kind: str, levels: int, tmp_path: Path) -> None:
    table = frame(levels)
    assert_same(write(table, tmp_path / "t.h5", format=kind), table)
    pd.testing.assert_frame_equal(pd.read_hdf(tmp_path / "t.h5"), table)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "index", [[7, 3, 200, 4], [0.0, 1.0, 2.5, 4.0], ["a", "bb", "cé", "d/e.png"]], ids=["numbers", "floats", "texts"]
)  # fmt: skip
def test_indices(kind: str, index: list[Any], tmp_path: Path) -> None:
    table = frame().set_axis(index)
    assert_same(write(table, tmp_path / "t.h5", format=kind), table)


def test_paths_in_three_levels_of_index(tmp_path: Path) -> None:
    names = [("labeled-data", session, f"img{n}.png") for session in "ab" for n in (1, 2)]
    table = frame().set_axis(pd.MultiIndex.from_tuples(names))
    assert_same(write(table, tmp_path / "t.h5"), table)


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_of_several_kinds_keep_their_places(kind: str, tmp_path: Path) -> None:
    table = frame()
    for place, dtype in ((1, np.int64), (3, np.float32), (4, np.uint8)):
        table[table.columns[place]] = table[table.columns[place]].astype(dtype)
    assert_same(write(table, tmp_path / "t.h5", format=kind), table)


def test_compressed_tables(tmp_path: Path) -> None:
    table = frame()
    assert_same(write(table, tmp_path / "t.h5", complevel=5, complib="zlib"), table)


@pytest.mark.parametrize("kind", FORMATS)
def test_names_of_the_rows_of_the_header_may_be_missing(kind: str, tmp_path: Path) -> None:
    table = frame(4)
    table.columns.names = [None] * 4
    assert_same(write(table, tmp_path / "t.h5", format=kind), table)


def traps(mark: Path) -> dict[str, Callable[[Path], Any]]:
    """Ways to hide an object in a file."""

    def attribute(name: str, node: str, value: Any) -> Callable[[Path], Any]:
        def put(path: Path) -> None:
            write(frame(), path, format="table")
            with h5py.File(path, "r+") as file:
                file[node].attrs[name] = np.bytes_(pickle.dumps(value, 0))

        return put

    trap, group = Trap(mark), "df_with_missing"
    columns = [*list(frame().columns)[:5], ("net", trap, "y")]
    with_trap = pd.MultiIndex.from_tuples(columns, names=frame().columns.names)
    return {
        "index": lambda path: write(frame().set_axis(pd.Index([1, 2, 3, trap], dtype=object)), path),
        "column": lambda path: write(frame().assign(**{"x": trap}), path),
        "values": lambda path: write(frame().astype(object).where(frame() < 30, trap), path),
        "level of the columns": lambda path: write(frame().set_axis(with_trap, axis=1), path),
        "names of columns": attribute("non_index_axes", group, [(1, [trap])]),
        "names of a block": attribute("values_block_0_kind", f"{group}/table", [trap]),
    }  # fmt: skip


@pytest.mark.parametrize("where", traps(Path()))
def test_objects_are_refused_and_not_run(where: str, tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    traps(mark)[where](tmp_path / "bad.h5")
    assert not mark.exists()
    with pytest.raises(ValueError, match="pickled object"):
        open_hdf(tmp_path / "bad.h5")
    assert not mark.exists()
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        pd.read_hdf(tmp_path / "bad.h5")
    assert mark.exists()  # so the trap works: pandas runs it


@pytest.mark.parametrize("name", ["info", "nan_rep", "CLASS", "levels", "anything"])
def test_objects_that_are_not_needed_are_left_alone(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    table = frame(4)
    path = write(table, tmp_path / "t.h5", format="table")
    with h5py.File(path, "r+") as file:
        for node in (file["df_with_missing"], file["df_with_missing/table"], file["/"]):
            node.attrs[name] = np.bytes_(pickle.dumps(Trap(mark), 0))
    assert_same(path, table)
    assert not mark.exists()


def test_several_tables_need_the_usual_name(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    frame().to_hdf(path, key="first", mode="w")
    assert_same(path, frame())
    (frame() + 1).to_hdf(path, key="second")
    with pytest.raises(ValueError, match="several tables: first, second"):
        open_hdf(path)
    (frame() + 2).to_hdf(path, key="df_with_missing")
    assert_same(path, frame() + 2)


def test_what_is_no_table_of_points(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    path.write_text("text")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        open_hdf(path)
    with h5py.File(path, "w") as file:
        file["tracks"] = np.zeros(3)
    with pytest.raises(ValueError, match="no table that pandas wrote"):
        open_hdf(path)
    for kind in FORMATS:
        write(pd.DataFrame({"x": [1.0], "y": [2.0]}), path, format=kind)
        with pytest.raises(ValueError, match="not named by scorer, bodyparts, coords"):
            open_hdf(path)
    write(frame().set_axis(pd.date_range("2020", periods=4)), path)
    with pytest.raises(ValueError, match="datetime64"):
        open_hdf(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_size_that_cannot_be_is_not_believed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(frame(), tmp_path / "t.h5", format=kind)
    monkeypatch.setattr(hdf, "MAX_VALUES", 20)
    with pytest.raises(ValueError, match=r"24 entries|4 rows"):
        open_hdf(path)


def test_a_cut_file(tmp_path: Path) -> None:
    path = write(frame(), tmp_path / "t.h5")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises((ValueError, OSError, LookupError)):
        open_hdf(path)


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = write(frame(), tmp_path / "t.h5", format="table")
    with h5py.File(path, "r+") as file:
        group = file["df_with_missing"]
        names = [*frame().columns, ("net", "paw", "x"), ("net", "paw", "y")]
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, names)], 0))
    with pytest.raises(ValueError, match="its column net paw x is missing"):
        open_hdf(path)
