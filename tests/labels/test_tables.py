"""Tables of labels count by the names of their columns, however people's programs leave the files."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_kp.errors import DataError
from lightning_kp.labels.tables import read_table

ROWS = {"labeled-data/a/img1.png": (1.5, 2.0, 3.0, 4.0), "labeled-data/a/img2.png": (5.0, 6.0, None, None)}
HEAD = "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
TEXT = HEAD + "".join(
    ",".join([name, *("" if value is None else str(value) for value in row)]) + "\n"
    for name, row in ROWS.items()
)
SPLIT = TEXT.replace("labeled-data/a/img", "labeled-data,a,img")
for level in ("scorer", "bodyparts", "coords"):
    SPLIT = SPLIT.replace(f"{level},", f"{level},,,")
WAYS = {
    "as DeepLabCut": TEXT,
    "paths over three columns": SPLIT,
    "without scorer": TEXT.partition("\n")[2],
    "byte order mark": "\ufeff" + TEXT,
    "Windows line ends": TEXT.replace("\n", "\r\n"),
    "semicolons": TEXT.replace(",", ";"),
    "decimal commas": TEXT.replace(",", ";").replace("1.5", "1,5"),
    "likelihood first": "bodyparts,nose,nose,nose,tail,tail\ncoords,likelihood,x,y,x,y\n"
    "labeled-data/a/img1.png,0.5,1.5,2,3,4\nlabeled-data/a/img2.png,0.5,5,6,,\n",
    "y before x": "bodyparts,tail,nose,nose,tail\ncoords,y,y,x,x\n"
    "labeled-data/a/img1.png,4,2,1.5,3\nlabeled-data/a/img2.png,,6,5,\n",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_points_count_by_name(way: str, tmp_path: Path) -> None:
    path = tmp_path / "CollectedData_me.csv"
    path.write_text(WAYS[way], newline="")
    table = read_table(path)
    assert table.images == list(ROWS)
    assert table.problems == []
    points = table.points_px[:, :, [table.names.index(name) for name in ("nose", "tail")]]
    nan = np.nan
    np.testing.assert_array_equal(points, [[[[1.5, 2], [3, 4]]], [[[5, 6], [nan, nan]]]])


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize(
    ("parts", "coords", "told"),
    [
        (["paw"] * 4, ["x", "y", "x", "y"], "paw has 2 columns called x"),
        (["paw", "paw", "tail", "tail"], ["x", "y", "x", "likelihood"], "tail has no column y"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(
    suffix: str, parts: list[str], coords: list[str], told: str, tmp_path: Path
) -> None:
    path = tmp_path / f"table.{suffix}"
    scorers = ["me", "me", "you", "you"]  # pandas writes no two columns that are the same
    levels = {"scorer": scorers, "bodyparts": parts, "coords": coords}
    columns = pd.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
    table = pd.DataFrame([[1.0, 2.0, 3.0, 4.0]], ["img1.png"], columns)
    if suffix == "csv":
        table.to_csv(path)
    else:
        table.to_hdf(path, key="df_with_missing")
    with pytest.raises(DataError, match=told):
        read_table(path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def test_objects_in_a_table_are_refused_with_a_way_out(tmp_path: Path) -> None:
    columns = pd.MultiIndex.from_product(
        [["me"], ["nose"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    index = pd.Index(["p0.png", Trap(tmp_path / "it_ran")], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pd.DataFrame(np.ones((2, 2)), index, columns).to_hdf(tmp_path / "bad.h5", key="df_with_missing")
    with pytest.raises(DataError, match=r"bad\.h5 .*pickled objects.*save it as csv"):
        read_table(tmp_path / "bad.h5")
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("content", ["", "\n", "a\n", "scorer,me\n"])
def test_other_files_are_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"t\.csv is not a table of labels \(it"):
        read_table(path)
