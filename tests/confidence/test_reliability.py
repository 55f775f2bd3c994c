"""Reliability diagrams, the calibration error and cuts, by hand and on drawn probabilities."""

import numpy as np
import pytest

from lightning_kp.confidence.reliability import calibration_error, cut_at, reliability


def test_a_diagram_by_hand() -> None:
    confidence = np.array([0.05, 0.15, 0.19, 0.95, 1.0])
    found = reliability(confidence, np.array([False, True, False, True, True]))
    assert found.number.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(found.confidence[[0, 1, 9]], [0.05, 0.17, 0.975])
    np.testing.assert_allclose(found.right[[0, 1, 9]], [0, 0.5, 1])
    assert np.isnan(found.right[2:9]).all()


def test_the_error_by_hand() -> None:
    confidence = np.array([0.05, 0.15, 0.19, 0.95, 1.0])
    right = np.array([False, True, False, True, True])
    # Gaps 0.05, 0.33 and 0.025 for one, two and two of five points.
    assert calibration_error(confidence, right) == pytest.approx((0.05 + 2 * 0.33 + 2 * 0.025) / 5)
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0


def test_drawn_probabilities_have_a_small_error_and_sharpened_ones_a_large_one() -> None:
    generator = np.random.default_rng(0)
    probability = generator.uniform(0, 1, 20_000)
    right = generator.uniform(0, 1, 20_000) < probability
    assert calibration_error(probability, right) < 0.01
    assert calibration_error((probability > 0.5).astype(float), right) == pytest.approx(0.25, abs=0.01)


def test_cuts_without_right_or_wrong_points_are_unknown() -> None:
    found = cut_at(np.array([0.6, 0.59]), np.array([True, True]))
    assert found.right_stay == 0.5
    assert np.isnan(found.wrong_go)
    assert np.isnan(cut_at(np.array([0.6]), np.array([False])).right_stay)
