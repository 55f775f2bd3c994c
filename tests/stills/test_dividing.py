"""Who validates: the official parts, or a share of every class drawn by the seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.stills.dividing import divide_stills, stratified, warn_of_classes


def test_each_class_gives_its_share() -> None:
    labels = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    rows = divide_stills(labels, [""] * 100, 0.1, seed=3)
    assert Counter(labels[row] for row in rows["val"]) == {"a": 5, "b": 3, "c": 2}
    assert sorted([*rows["train"], *rows["val"]]) == list(range(100))
    assert rows["test"].tolist() == rows["val"].tolist()
    again = divide_stills(labels, [""] * 100, 0.1, seed=3)
    assert again["val"].tolist() == rows["val"].tolist()
    assert divide_stills(labels, [""] * 100, 0.1, seed=4)["val"].tolist() != rows["val"].tolist()


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=40), st.floats(0.01, 0.9), st.integers(0, 9))
def test_no_class_is_emptied_and_the_share_is_kept(labels: list[str], fraction: float, seed: int) -> None:
    kept, held_out = stratified(np.arange(len(labels)), labels, fraction, seed)
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    assert {labels[row] for row in kept} == set(labels)
    possible = len(labels) - len(set(labels))
    assert len(held_out) == min(possible, max(1, round(fraction * len(labels)))) or len(held_out) < possible
    for name, number in Counter(labels[row] for row in held_out).items():
        assert number <= fraction * labels.count(name) + 1


def test_official_parts_win() -> None:
    splits = ["test", "", "train", "val", "train"]
    rows = {name: each.tolist() for name, each in divide_stills("abcde", splits, 0.5, 0).items()}
    assert rows == {"train": [1, 2, 4], "val": [3], "test": [0]}
    rows = {
        name: each.tolist() for name, each in divide_stills("aaaaa", ["train"] * 4 + ["test"], 0.0, 0).items()
    }
    assert rows == {"train": [0, 1, 2, 3], "test": [4]}


def test_impossible_divisions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"val_fraction is 1\.0"):
        divide_stills("ab", ["", ""], 1.0, 0)
    with pytest.raises(DataError, match=r"1 image\(s\), 1 of them held out, leave none"):
        divide_stills("a", [""], 0.1, 0)
    with pytest.raises(DataError, match="leave none to train on"):
        divide_stills("ab", ["test", "test"], 0.1, 0)


def test_classes_that_cannot_teach_are_told() -> None:
    with pytest.warns(UserWarning, match="All images have the class a"):
        warn_of_classes(["a", "a", ""])
    with pytest.warns(UserWarning, match=r"1 class\(es\) have one image.*: b"):
        warn_of_classes(["a", "a", "b"])
