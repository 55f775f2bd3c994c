"""Figures of several animals, worked out by hand."""

import numpy as np
import pytest

from lightning_kp.errors import DataError
from lightning_kp.metrics.animals import (
    body_length,
    centroids,
    identity_switches,
    match_centroids,
    score_animals,
    split_points,
)


def two(frames: int = 10) -> np.ndarray:
    """Two bodies of two points, 10 px long, at (100, 100) and (200, 100): (N, 2, 2, 2)."""
    left = np.array([[95.0, 100.0], [105.0, 100.0]])
    return np.tile(np.stack((left, left + np.array([100, 0]))), (frames, 1, 1, 1))


def test_centroid_and_length_ignore_absent_points() -> None:
    points = two(1)
    points[0, 1, 0] = np.nan
    np.testing.assert_allclose(centroids(points)[0], [[100, 100], [205, 100]])
    points[0, 1] = np.nan
    assert np.isnan(centroids(points)[0, 1]).all()
    assert body_length(points) == 10


def test_perfect_tracks() -> None:
    figures = score_animals(two(), two())
    assert (figures.detection, figures.centroid_px, figures.switches) == (1.0, 0.0, 0.0)
    assert (figures.reach_px, figures.frames) == (5.0, 10)


def test_by_hand() -> None:
    """One animal 3 px off throughout, the other lost in 4 of 10 frames: 16 of 20 found, median 3 and mean 30/16."""
    found = two()
    found[:, 0, :, 1] += 3
    found[3:7, 1] = np.nan
    figures = score_animals(found, two())
    assert figures.detection == pytest.approx(0.8)
    assert figures.centroid_px == pytest.approx(3)
    assert figures.centroid_mean_px == pytest.approx(30 / 16)
    assert figures.switches == 0


def test_switches_are_those_of_clear_mot() -> None:
    """Exchanged from frame 4 on: each animal switches once; back after a frame unseen: once more each."""
    found = two()
    found[4:7] = found[4:7, ::-1]
    assert identity_switches(match_centroids(centroids(found), centroids(two()), 5)) == [4, 4, 7, 7]
    found[7] = np.nan
    assert identity_switches(match_centroids(centroids(found), centroids(two()), 5)) == [4, 4, 8, 8]
    assert score_animals(found, two()).switches == pytest.approx(400)


def test_one_found_animal_stands_for_one_true_animal() -> None:
    """Both found on the left animal: the right one is not found, whatever their order."""
    found = two()
    found[:, 1] = found[:, 0] + 1
    pairs = match_centroids(centroids(found), centroids(two()), 5)
    assert (np.sort(pairs, axis=1) == [-1, 0]).all()


def test_a_pair_out_of_reach_takes_no_partner_from_another() -> None:
    """Truth at 0 and 10, found at 6 and 30, reach 7: 6 goes to 10 and the other is not found."""
    true, found = np.array([[[0.0, 0.0], [10.0, 0.0]]]), np.array([[[6.0, 0.0], [30.0, 0.0]]])
    assert match_centroids(found, true, 7).tolist() == [[-1, 0]]


def test_frames_without_truth_do_not_count() -> None:
    true = two()
    true[5:] = np.nan
    assert score_animals(two(), true).frames == 5
    with pytest.raises(DataError, match="no animal"):
        score_animals(two(), np.full_like(true, np.nan))


def test_another_number_of_frames_is_refused() -> None:
    with pytest.raises(DataError, match="4 tracked frames cannot be compared with 5"):
        score_animals(two(4), two(5), reach_px=5)


def test_points_of_one_set_are_split_between_the_animals() -> None:
    rng = np.random.default_rng(0)
    both = np.concatenate((rng.normal(0, 3, (20, 4, 2)), rng.normal(50, 3, (20, 3, 2))), axis=1)
    split = split_points(both[:, rng.permutation(7)], 2)
    assert split.shape == (20, 2, 7, 2)
    assert (np.isnan(split[..., 0]).sum(axis=1) == 1).all()
    centres = np.sort(centroids(split)[..., 0], axis=1)
    np.testing.assert_allclose(centres, np.tile([0, 50], (20, 1)), atol=6)
