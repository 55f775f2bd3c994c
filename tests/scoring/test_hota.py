"""HOTA, by hand."""

import numpy as np
import pytest

from lightning_kp.scoring.hota import THRESHOLDS, hota

FRAMES = 10


@pytest.fixture
def true() -> np.ndarray:
    """Centroids of two animals that stand 100 px apart for 10 frames."""
    centres = np.zeros((FRAMES, 2, 2))
    centres[:, 1] = 100.0
    return centres


def test_exact_tracks(true: np.ndarray) -> None:
    assert hota(true, true, 5.0) == 1.0
    assert hota(true[:, ::-1], true, 5.0) == 1.0  # numbers are free


def test_an_exchange_half_way(true: np.ndarray) -> None:
    """Everything is found; each pair of tracks shares 5 of the 15 frames in which either of them is: sqrt(1/3)."""
    exchanged = true.copy()
    exchanged[FRAMES // 2 :] = true[FRAMES // 2 :, ::-1]
    assert hota(exchanged, true, 5.0) == pytest.approx(np.sqrt(1 / 3))


def test_one_animal_is_never_found(true: np.ndarray) -> None:
    """Half is found (DetA 1/2), with one number (AssA 1)."""
    found = true.copy()
    found[:, 1] = np.nan
    assert hota(found, true, 5.0) == pytest.approx(np.sqrt(1 / 2))


def test_a_distance_counts_up_to_its_threshold(true: np.ndarray) -> None:
    """At 1 of 5 px the similarity is 0.8: exact for the 16 thresholds up to 0.8, nothing for the other 3."""
    found = true.copy()
    found[..., 0] += 1.0
    assert len(THRESHOLDS) == 19
    assert hota(found, true, 5.0) == pytest.approx(16 / 19)


def test_a_false_track(true: np.ndarray) -> None:
    """Two animals, and a third that is not there: 20 matches among 30."""
    found = np.concatenate((true, np.full((FRAMES, 1, 2), 500.0)), axis=1)
    assert hota(found, true, 5.0) == pytest.approx(np.sqrt(20 / 30))


def test_nothing_at_all() -> None:
    assert np.isnan(hota(np.full((3, 1, 2), np.nan), np.full((3, 1, 2), np.nan), 5.0))
    assert hota(np.full((3, 1, 2), np.nan), np.zeros((3, 1, 2)), 5.0) == 0.0
