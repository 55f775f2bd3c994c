"""Cues do not depend on scale or frame rate, and tell an outlier from a fast animal."""

import numpy as np
import pytest

from lightning_kp.confidence.cues import TINY, raw_cues, relative_cues, usual_cues

FOLLOWS = np.array([False, True, True, True, True])


def cues(path: list[float], *, follows: np.ndarray = FOLLOWS) -> np.ndarray:
    """Raw cues (T, 3) of one keypoint that moves along x."""
    points = np.array(path)[:, None, None, None] * np.array([1.0, 0.0])
    shape = points.shape[:3]
    return raw_cues(points, np.full(shape, 0.9), np.full((*shape, 3), 4.0), follows)[:, 0, 0]


def test_peak_and_spread_by_hand() -> None:
    found = cues([0, 1, 2, 3, 4])
    np.testing.assert_allclose(found[:, 0], np.log(9))  # odds of 0.9
    np.testing.assert_allclose(found[:, 1], np.log(2))  # deviation of a variance of 4


def test_an_outlier_jumps_and_a_fast_animal_does_not() -> None:
    jumps = np.exp(cues([0, 1, 12, 3, 4])[:, 2])
    # The outlier is 11 from the last point, 9 from the next, 10 from their middle; the one after it is 1 from the next.
    np.testing.assert_allclose(jumps[1:4], [1, 9, 1], rtol=1e-5)
    np.testing.assert_allclose(np.exp(cues([0, 10, 20, 30, 40])[1:4, 2]), TINY)


def test_jumps_need_both_neighbours_of_the_same_video() -> None:
    assert np.isnan(cues([0, 1, 2, 3, 4])[[0, -1], 2]).all()
    cut = np.array([False, True, False, True, True])
    assert np.isnan(cues([0, 1, 2, 3, 4], follows=cut)[:, 2]).tolist() == [True, True, True, False, True]
    assert np.isnan(cues([0, 1], follows=FOLLOWS[:2])[:, 2]).all()


@pytest.mark.parametrize("scale", [0.01, 7.0])
def test_relative_cues_do_not_depend_on_the_scale(scale: float) -> None:
    generator = np.random.default_rng(0)
    points, variance = generator.normal(size=(40, 2, 3, 2)), generator.uniform(1, 2, (40, 2, 3, 3))
    follows = np.arange(40) > 0
    found = []
    for factor in (1.0, scale):
        raw = raw_cues(factor * points, np.full((40, 2, 3), 0.5), factor**2 * variance, follows)
        found.append(relative_cues(raw, usual_cues(raw)))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    # What is usual is relative to nothing: the median width, the jump that one in ten exceeds.
    assert np.nanmedian(found[0][..., 1], axis=(0, 1)) == pytest.approx([0, 0, 0], abs=1e-12)
    assert (found[0][..., 2] > 0).mean() == pytest.approx(0.1, abs=0.03)


def test_absent_points_and_keypoints_that_are_never_seen_are_unknown() -> None:
    points = np.zeros((5, 1, 2, 2))
    points[2, 0, 0] = np.nan
    points[:, 0, 1] = np.nan
    covariance = np.where(np.isnan(points[..., :1]), np.nan, np.ones((5, 1, 2, 3)))
    raw = raw_cues(points, np.zeros((5, 1, 2)), covariance, FOLLOWS)
    usual = usual_cues(raw)
    assert np.isfinite(usual.spread).tolist() == [True, False]
    assert np.isnan(relative_cues(raw, usual)[..., 1][:, 0]).tolist() == [[i == 2, True] for i in range(5)]
