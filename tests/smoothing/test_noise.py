"""Noise and freedom of keypoints from their tracks: known systems, laws of scale, keypoints that are hardly seen."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_kp.smoothing.kalman import Series
from lightning_kp.smoothing.noise import MIN_FRAMES, estimate_noise, start_speed, typical_step

Floats = NDArray[np.float64]
BODY_PX, DT = 60.0, 0.04


def simulated(noise_px: float, density: float, frames: int = 4000, seed: int = 0) -> Series:
    """Observations of a point that moves exactly as the smoother assumes."""
    rng = np.random.default_rng(seed)
    covariance = density * np.array([[DT**3 / 3, DT**2 / 2], [DT**2 / 2, DT]])
    kicks = rng.multivariate_normal([0, 0], covariance, (frames, 1, 2))
    velocity = np.cumsum(kicks[..., 1], axis=0)
    velocity = np.concatenate((np.zeros((1, 1, 2)), velocity[:-1]))
    place = np.cumsum(velocity * DT + kicks[..., 0], axis=0)
    starts = np.zeros((frames, 1), bool)
    starts[0] = True
    return Series(
        place + rng.normal(0, noise_px, place.shape), np.ones((frames, 1, 2)), np.ones((frames, 1), bool), starts,
        np.full((frames, 1), DT),
    )  # fmt: skip


def side_by_side(*parts: Series) -> Series:
    return Series(*(np.concatenate(each, axis=1) for each in zip(*parts, strict=True)))


@pytest.mark.parametrize(
    ("noise_px", "density"), [(0.5, 2000.0), (1.0, 200.0), (2.0, 20000.0), (6.0, 2000.0)]
)
def test_a_known_system_is_found(noise_px: float, density: float) -> None:
    factor, found = estimate_noise(simulated(noise_px, density), BODY_PX)
    assert np.sqrt(factor[0]) == pytest.approx(noise_px, rel=0.1)
    assert (found[0] / density) ** 0.25 == pytest.approx(1, rel=0.25)  # what the memory depends on


def test_keypoints_are_estimated_apart() -> None:
    parts = [simulated(0.5, 2000.0, seed=1), simulated(3.0, 500.0, seed=2)]
    both = np.stack(estimate_noise(side_by_side(*parts), BODY_PX))
    alone = np.concatenate([np.stack(estimate_noise(part, BODY_PX)) for part in parts], axis=1)
    np.testing.assert_allclose(both, alone, rtol=1e-9)


def test_outliers_hardly_matter() -> None:
    series = simulated(1.0, 2000.0)
    rng = np.random.default_rng(3)
    series.points[rng.random(len(series.points)) < 0.03] += 40.0
    factor, _ = estimate_noise(series, BODY_PX)
    assert np.sqrt(factor[0]) == pytest.approx(1.0, rel=0.15)


def test_pixels_and_seconds_scale_the_result() -> None:
    series = simulated(1.0, 2000.0)
    factor, density = estimate_noise(series, BODY_PX)
    wide_factor, wide_density = estimate_noise(series._replace(points=3 * series.points), 3 * BODY_PX)
    slow_factor, slow_density = estimate_noise(series._replace(steps_s=2 * series.steps_s), BODY_PX)
    np.testing.assert_allclose(wide_factor, 9 * factor, rtol=1e-6)
    np.testing.assert_allclose(wide_density, 9 * density, rtol=1e-6)
    np.testing.assert_allclose(slow_factor, factor, rtol=1e-3)
    np.testing.assert_allclose(slow_density, density / 8, rtol=1e-3)


def test_hardly_seen_keypoints_are_left_out() -> None:
    series = side_by_side(simulated(1.0, 2000.0), simulated(1.0, 2000.0))
    series.present[MIN_FRAMES - 1 :, 1] = False
    factor, density = estimate_noise(series, BODY_PX)
    assert np.isfinite([factor[0], density[0]]).all()
    assert np.isnan([factor[1], density[1]]).all()


def test_steps_and_speeds_by_hand() -> None:
    points = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[100.0, 100.0]], [[100.0, 110.0]]])
    starts = np.array([[True], [False], [True], [False]])
    series = Series(
        points, np.ones((4, 1, 2)), np.ones((4, 1), bool), starts, np.array([[0.0], [0.5], [0.0], [2.0]])
    )
    assert typical_step(series) == 1.25
    # squared velocities per axis: (6^2 + 8^2) / 2 = 50 and (0 + 5^2) / 2 = 12.5
    assert start_speed(series)[0] == pytest.approx(np.sqrt((50 + 12.5) / 2))
