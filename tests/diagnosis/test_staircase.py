"""Keypoints that move in steps of the heatmap's grid are told from those that move with the animal."""

import numpy as np
import pytest

from lightning_kp.diagnosis.staircase import GRID_CHANCE, grid_share, phase_histogram, standing_share

WALK = np.stack((np.linspace(3, 33, 301), np.linspace(5, 17, 301)), axis=-1)[
    :, None
]  # 0.1 and 0.04 cells a frame
STEPS = np.round(WALK)


def test_a_point_on_the_grid_stands_still_between_its_jumps() -> None:
    every = np.ones(300, dtype=bool)
    # 30 jumps along x and 12 along y in 300 steps; some of the latter may fall on one of the former
    assert standing_share(STEPS, every)[0] == pytest.approx(1 - 42 / 300, abs=0.01)
    assert standing_share(WALK, every).tolist() == [0]


def test_steps_that_do_not_count_are_left_out() -> None:
    only_jumps = np.linalg.norm(np.diff(STEPS[:, 0], axis=0), axis=-1) > 0
    assert standing_share(STEPS, only_jumps).tolist() == [0]
    assert np.isnan(standing_share(STEPS, np.zeros(300, dtype=bool))).all()


def test_shares_on_the_grid_of_a_staircase_and_by_chance() -> None:
    assert grid_share(STEPS).tolist() == [1]
    anywhere = np.random.default_rng(0).uniform(0, 40, (20_000, 1, 2))
    assert grid_share(anywhere)[0] == pytest.approx(GRID_CHANCE, abs=0.005)
    assert np.isnan(grid_share(np.zeros((0, 3, 2)))).all()


def test_the_histogram_of_a_staircase_is_a_needle_and_that_of_a_walk_is_flat() -> None:
    both = phase_histogram(np.concatenate((STEPS + 0.01, WALK), axis=1))
    assert both.shape == (2, 10)
    assert both[0].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(both[1], 0.1, atol=0.025)


def test_the_border_of_a_cell_belongs_to_the_next_one() -> None:
    # 2.5 is the border between cells 2 and 3: the first bin
    assert phase_histogram(np.array([[[2.5, 2.5]]]))[0, 0] == 1
