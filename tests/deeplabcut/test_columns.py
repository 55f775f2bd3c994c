"""Columns are found by their names, in any order; what is missing or there twice is named."""

import numpy as np
import pytest

from lightning_kp.deeplabcut.columns import columns_of, frame_numbers

TWO = {"bodyparts": ["a", "a", "b", "b"], "coords": ["x", "y", "x", "y"]}


def test_any_order_and_a_part_of_no_animal() -> None:
    columns = columns_of(
        {
            "individuals": ["m1", "m1", "m2", "m2", "m1", "single", "single"],
            "bodyparts": ["nose", "nose", "nose", "nose", "nose", "door", "door"],
            "coords": ["likelihood", "y", "x", "y", "x", "x", "y"],
        }
    )
    assert (columns.individuals, columns.parts) == (("m1", "m2", "single"), ("nose", "door"))
    np.testing.assert_array_equal(columns.of("x"), [[4, -1], [2, -1], [-1, 5]])
    np.testing.assert_array_equal(columns.of("likelihood"), [[0, -1], [-1, -1], [-1, -1]])
    values = columns.values("x", np.arange(7.0)[None])
    np.testing.assert_array_equal(values, [[[4, np.nan], [2, np.nan], [np.nan, 5]]])


def test_spaces_capitals_empty_columns_and_what_is_ignored() -> None:
    columns = columns_of({"bodyparts": ["a", "a", "a", ""], "coords": [" X", "y ", "x_ens_var", ""]})
    assert columns.of("x").tolist() == [[0]]
    assert columns.ignored == ("x_ens_var",)


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ({**TWO, "bodyparts": ["a"] * 4}, "a has 2 columns called x"),
        ({**TWO, "bodyparts": ["a"] * 4, "scorer": ["me", "me", "you", "you"]}, "a has 2 columns called x"),
        ({**TWO, "individuals": ["m"] * 4, "bodyparts": ["a"] * 4}, "a of m has 2 columns called x"),
        ({**TWO, "coords": ["x", "y", "x", "likelihood"]}, "b has no column y"),
        ({**TWO, "coords": ["x", "y", "z", "likelihood"]}, "b has no column x and no column y"),
        ({"coords": ["x", "y"]}, "no row bodyparts"),
        ({"bodyparts": [], "coords": []}, "no columns of points"),
        ({"bodyparts": ["a"], "coords": ["x", "y"]}, "1 bodyparts and 2 coords"),
    ],
)
def test_what_cannot_be_told_apart_is_named(levels: dict[str, list[str]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        columns_of(levels)


def test_frame_numbers_however_they_are_written() -> None:
    for index in ([0, 1, 7], ["0", "1", "7"], [0.0, 1.0, 7.0], ["0.0", "1.0", "7.0"], np.array([0, 1, 7])):
        assert frame_numbers(index).tolist() == [0, 1, 7]


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ([0, 1, 1, 0], "2 frames more than once, the first is 0"),
        ([0, 1.5], r"'1\.5' is not the number of a frame"),
        ([-1, 0], "'-1' is not the number"),
        ([0, float("nan")], "'nan' is not the number"),
        ([0, "inf"], "'inf' is not the number"),
        (["labeled-data/a/img1.png"], "not named by frame numbers, but by 'labeled-data/a/img1.png'"),
    ],
)
def test_other_indices_are_refused(index: list[object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        frame_numbers(index)
