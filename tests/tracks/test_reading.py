"""Tables of tracks count by row number and by name; what cannot be told apart is refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_kp.errors import DataError
from lightning_kp.tracks import table as tables
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.table import Tracks
from lightning_kp.tracks.writing import TIDY_COLUMNS, write_tracks

LEVELS = ["scorer", "individuals", "bodyparts", "coords"]
KINDS = ("csv", "fixed", "table")


def make_table(parts: list[tuple[str, ...]], coords: list[str], rows: int = 6) -> pd.DataFrame:
    """A table whose x is 10 times the number of the part plus the frame; y is 100 more, likelihood 0.5."""
    names = [("net", *part, coord) for part in parts for coord in coords]
    levels = LEVELS if len(parts[0]) == 2 else [LEVELS[0], *LEVELS[2:]]
    content = {}
    for name in names:
        x = 10.0 * parts.index(name[1:-1]) + np.arange(rows)
        content[name] = {"x": x, "y": x + 100, "likelihood": np.full(rows, 0.5)}.get(name[-1], x + 5000)
    table = pd.DataFrame(content)
    table.columns = pd.MultiIndex.from_tuples(names, names=levels)
    return table


def save(table: pd.DataFrame, folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.{'csv' if kind == 'csv' else 'h5'}"
    if kind == "csv":
        table.to_csv(path)
    else:
        table.to_hdf(path, key="df_with_missing", mode="w", format=kind)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_rows_count_by_their_numbers(kind: str, tmp_path: Path) -> None:
    whole = make_table([("nose",), ("tail",)], ["x", "y", "likelihood"], rows=9)
    path = save(whole.iloc[[7, 3, 4, 8]], tmp_path, kind)  # a late start, a hole, another order
    tracks = read_tracks(path)
    assert len(tracks) == 9
    expected = np.full((9, 1, 2, 2), np.nan)
    for frame in (3, 4, 7, 8):
        expected[frame, 0] = [[frame, frame + 100], [10 + frame, 110 + frame]]
    np.testing.assert_array_equal(tracks.points_px, expected)
    np.testing.assert_array_equal(tracks.confidence[:, 0, 0], [0, 0, 0, 0.5, 0.5, 0, 0, 0.5, 0.5])
    np.testing.assert_array_equal(tracks.times_s, np.arange(9))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "coords",
    [
        ["x", "y", "likelihood"],
        ["likelihood", "x", "y"],
        ["y", "likelihood", "x"],
        ["x", "y", "z", "likelihood"],
        ["x", "x_ens_var", "y_ens_var", "y", "x_ens_median", "likelihood"],
    ],
)
def test_columns_count_by_their_names(kind: str, coords: list[str], tmp_path: Path) -> None:
    path = save(make_table([("nose",), ("tail",)], coords), tmp_path, kind)
    more = [name for name in coords if name not in ("x", "y", "likelihood")]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tracks = read_tracks(path)
    np.testing.assert_array_equal(tracks.points_px[2, 0], [[2, 102], [12, 112]])
    assert (tracks.confidence == 0.5).all()
    found = [str(each.message) for each in told if path.name in str(each.message)]
    assert found == (
        [f"{path}: of the coordinates, x and y are read; {', '.join(more)} are not."] if more else []
    )


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_no_animal_has(kind: str, tmp_path: Path) -> None:
    parts = [(animal, part) for animal in ("m1", "m2") for part in ("nose", "tail")] + [("single", "food")]
    tracks = read_tracks(save(make_table(parts, ["x", "y", "likelihood"]), tmp_path, kind))
    assert tracks.keypoint_names == ("nose", "tail", "food")
    nan = np.nan
    np.testing.assert_array_equal(tracks.points_px[0, ..., 0], [[0, 10, nan], [20, 30, nan], [nan, nan, 40]])
    np.testing.assert_array_equal(tracks.confidence[0], [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0.5]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("coords", "told"), [(["x", "likelihood"], "nose has no column y"), (["y"], "nose has no column x")]
)
def test_a_missing_coordinate_is_named(kind: str, coords: list[str], told: str, tmp_path: Path) -> None:
    path = save(make_table([("nose",)], coords), tmp_path, kind)
    with pytest.raises(DataError, match=told):
        read_tracks(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("index", "told"),
    [
        ([0, 1, 2, 3, 3, 4], "1 frames more than once, the first is 3"),
        ([0, 1, 2, 3, 4, -5], "'-5' is not the number of a frame"),
        ([0, 1, 2, 3, 4, 2**40], r"last frame has the number 1,099,511,627,776"),
        ([f"img{n}.png" for n in range(6)], "not named by frame numbers, but by 'img0.png'"),
    ],
)
def test_rows_that_are_no_frames(kind: str, index: list[Any], told: str, tmp_path: Path) -> None:
    path = save(make_table([("nose",)], ["x", "y"]).set_axis(index), tmp_path, kind)
    with pytest.raises(DataError, match=told):
        read_tracks(path)


def test_paths_in_several_columns_of_index_are_no_frames(tmp_path: Path) -> None:
    names = pd.MultiIndex.from_tuples([("labeled-data", "a", f"img{n}.png") for n in range(6)])
    for kind in ("csv", "fixed"):
        path = save(make_table([("nose",)], ["x", "y"]).set_axis(names), tmp_path, kind)
        with pytest.raises(DataError, match="not named by frame numbers, but by 'labeled-data"):
            read_tracks(path)


@pytest.mark.parametrize("kind", KINDS)
def test_without_likelihood_a_point_that_is_there_is_sure(kind: str, tmp_path: Path) -> None:
    table = make_table([("nose",)], ["x", "y"])
    table.loc[2, ("net", "nose", "y")] = np.nan
    tracks = read_tracks(save(table, tmp_path, kind))
    assert tracks.confidence[:, 0, 0].tolist() == [1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_without_its_likelihood_is_unsure(kind: str, tmp_path: Path) -> None:
    table = make_table([("nose",)], ["x", "y", "likelihood"])
    table.loc[2, ("net", "nose", "likelihood")] = np.nan
    with pytest.warns(UserWarning, match="1 points have no confidence; it counts as 0"):
        tracks = read_tracks(save(table, tmp_path, kind))
    assert tracks.confidence[:, 0, 0].tolist() == [0.5, 0.5, 0, 0.5, 0.5, 0.5]
    assert np.isfinite(tracks.points_px).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Writing an empty DataFrame")
def test_a_table_without_rows_says_so(kind: str, tmp_path: Path) -> None:
    path = save(make_table([("nose",)], ["x", "y"]).iloc[:0], tmp_path, kind)
    with pytest.raises(DataError, match=r"no frame|No columns|no table"):
        read_tracks(path)


def test_an_empty_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(DataError, match=r"t\.csv cannot be read as a keypoint file: it is empty"):
        read_tracks(tmp_path / "t.csv")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def test_objects_in_a_file_of_tracks_are_refused_with_a_way_out(tmp_path: Path) -> None:
    index = pd.Index([0, 1, 2, 3, 4, Trap(tmp_path / "it_ran")], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save(make_table([("nose",)], ["x", "y"]).set_axis(index), tmp_path, "fixed")
    with pytest.raises(DataError, match=r"holds pickled objects.*save it as csv"):
        read_tracks(path)
    assert not (tmp_path / "it_ran").exists()


def tidy(folder: Path) -> tuple[Path, Tracks]:
    rng = np.random.default_rng(0)
    shape = (4, 2, 2)
    tracks = Tracks(
        "v", (4, 6), 10.0, np.arange(4) / 10,
        rng.random((*shape, 2), np.float32), rng.random(shape, np.float32), rng.random((*shape, 3), np.float32),
        ("nose", "tail"),
    )  # fmt: skip
    return write_tracks(tracks, folder / "v", ["csv"])[0], tracks


def test_a_tidy_table_counts_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path, tracks = tidy(tmp_path)
    table = pd.read_csv(path, dtype=str)
    table = table.assign(note="a")[["note", *TIDY_COLUMNS[::-1]]]
    table.to_csv(path, index=True, encoding="utf-8-sig", lineterminator="\r\n")
    np.testing.assert_array_equal(read_tracks(path).points_px, tracks.points_px)
    for change in (("x", "x"), (".", ",")):  # a decimal point, a decimal comma
        table.to_csv(path, sep=";")
        path.write_text(path.read_text().replace(*change))
        np.testing.assert_array_equal(read_tracks(path).covariance_px, tracks.covariance_px)


def test_a_tidy_table_without_a_column_names_it(tmp_path: Path) -> None:
    path, _ = tidy(tmp_path)
    pd.read_csv(path).drop(columns="y").to_csv(path, index=False)
    with pytest.raises(DataError, match="it has no column y"):
        read_tracks(path)
    path.write_text(path.read_text().replace("confidence", "x", 1))
    with pytest.raises(DataError, match="it has no column"):
        read_tracks(path)


def test_two_keypoints_of_one_name_in_a_tidy_table(tmp_path: Path) -> None:
    path, _ = tidy(tmp_path)
    path.write_text(path.read_text().replace("tail", "nose"))
    with pytest.raises(DataError, match="several keypoints called nose"):
        read_tracks(path)


def test_two_keypoints_of_one_name_are_no_tracks(tmp_path: Path) -> None:
    _, tracks = tidy(tmp_path)
    arrays = {name: getattr(tracks, name) for name in tables.ARRAYS}
    with pytest.raises(DataError, match="several keypoints called nose"):
        Tracks("v", (4, 6), 10.0, keypoint_names=("nose", "nose"), **arrays)
