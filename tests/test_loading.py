"""Who trains and who is held out: the same rows for the same seed in every version."""

import numpy as np
import pytest

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.stills import split_rows
from lightning_kp.labels.bases import divide
from lightning_kp.labels.datasets import divide_groups
from lightning_kp.loading import Rows, drawn_parts, train_and_held_out
from lightning_kp.people.person_data import hold_out

RECORDED = {
    "labels": (divide(12, 0.25, None, 3), [[0, 1, 3, 4, 5, 6, 8, 9, 10], [2, 7, 11]]),
    "few labels": (divide(12, 0.25, 5, 3), [[0, 1, 4, 6, 10], [2, 7, 11]]),
    "groups": (divide_groups(12, 2, 3, 4, 7), [[2, 3, 7, 8], [0, 1, 10], [4, 6], [5, 9, 11]]),
    "stills": (split_rows(10, 0.3, 4), [[2, 3, 4, 5, 6, 8, 9], [0, 1, 7]]),
    "people": (
        hold_out(np.arange(100, 110), 0.3, 4, "val_fraction"),
        [[102, 103, 104, 105, 106, 108, 109], [100, 101, 107]],
    ),
}


@pytest.mark.parametrize("kind", RECORDED)
def test_a_seed_draws_the_rows_that_version_0_1_drew(kind: str) -> None:
    found, recorded = RECORDED[kind]
    assert [rows.tolist() for rows in found] == recorded


def parts(seed: int, *sizes: int) -> list[list[int]]:
    return [rows.tolist() for rows in drawn_parts(20, sizes, seed)]


def test_parts_hold_every_row_once() -> None:
    found = parts(1, 5, 4)
    assert [len(part) for part in found] == [5, 4, 11]
    assert sorted(row for part in found for row in part) == list(range(20))
    assert all(part == sorted(part) for part in found)
    assert parts(1, 5, 4) != parts(2, 5, 4)


def test_a_part_does_not_depend_on_those_after_it() -> None:
    assert parts(1, 5, 4)[0] == parts(1, 5, 9)[0]
    assert set(parts(1, 5, 4)[1]) < set(parts(1, 5, 9)[1])


def test_where_rows_run_out_parts_are_smaller() -> None:
    assert [len(part) for part in parts(0, 15, 10, 3)] == [15, 5, 0, 0]


def split(number: int, fraction: float, train: int | None = None) -> tuple[Rows, Rows]:
    return train_and_held_out(number, fraction, 0, items="frames", remedy="Add some.", train=train)


@pytest.mark.parametrize(
    ("fraction", "held_out"), [(0.0, 0), (0.01, 1), (0.24, 2), (0.25, 2), (0.26, 3), (0.9, 9)]
)
def test_a_fraction_above_0_holds_out_at_least_one(fraction: float, held_out: int) -> None:
    assert [len(rows) for rows in split(10, fraction)] == [10 - held_out, held_out]


def test_too_few_rows_to_train_on_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"^1 frames, 1 of them held out, leave none to train on\. Add some\.$"
    ):
        split(1, 0.5)
    with pytest.raises(
        DataError, match=r"^9 frames, 2 of them held out, leave 7 to train on, not 8\. Add some\.$"
    ):
        split(9, 0.2, train=8)
    with pytest.raises(
        DataError, match=r"^0 people, 0 of them .* Hold out fewer: --data\.test_fraction=0\.$"
    ):
        hold_out(np.arange(0), 0, 0, "test_fraction")
    with pytest.raises(
        ConfigurationError, match=r"^test_fraction is 1\. Give .*test_fraction from 0 to below 1\.$"
    ):
        hold_out(np.arange(3), 1, 0, "test_fraction")
