"""The behaviour benchmark compares equal computations."""

import math
from itertools import combinations

import numpy as np

from lightning_kp.behaviour.features import feature_table
from lightning_kp.bench import behaviour as bench_behaviour


def test_the_loop_is_the_same_mathematics() -> None:
    """Checked on points without gaps in a square frame, where normalisation preserves angles."""
    tracks = bench_behaviour.random_tracks(6)
    tracks.points_px[:] = np.random.default_rng(1).uniform(0, 500, tracks.points_px.shape)
    literal = np.array(bench_behaviour.literal_angles(tracks))
    assert literal.shape == (6, math.comb(bench_behaviour.KEYPOINTS, 3))
    assert len(list(combinations(range(bench_behaviour.KEYPOINTS), 3))) == literal.shape[1]
    np.testing.assert_allclose(feature_table(tracks, ("angles",)), literal, atol=2e-3)


def test_rows_of_features() -> None:
    rows = bench_behaviour.feature_rows(frames=300, repeats=1)
    assert [row.target for row in rows] == ["<= 1", ">= 10"]
    assert all(row.ours > 0 and row.other > 0 for row in rows)


def test_a_training_step_changes_the_weights() -> None:
    row = bench_behaviour.training_row(repeats=1)
    assert row.unit == "frames/s"
    assert 0.2 < row.ratio < 5
