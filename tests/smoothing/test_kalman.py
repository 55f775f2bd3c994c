"""The Kalman smoother against its textbook form, against dense Gaussian algebra, and by its laws."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_kp.smoothing.kalman import GATE, LONGEST_REJECTED, Series, kalman_filter, rts_smoother

Floats = NDArray[np.float64]
FRAMES, COLUMNS = 24, 3
DENSITY, SPEED = np.array([0.5, 20.0, 300.0]), np.array([3.0, 10.0, 1.0])


def observed(seed: int = 0) -> Series:
    """Random walks with uneven frame times and noise, whose frame 10 is missing without being a gap."""
    rng = np.random.default_rng(seed)
    present = np.ones((FRAMES, COLUMNS), bool)
    present[10] = False
    starts = np.zeros((FRAMES, COLUMNS), bool)
    starts[0] = True
    return Series(
        rng.normal(size=(FRAMES, COLUMNS, 2)).cumsum(axis=0),
        rng.uniform(0.5, 3.0, (FRAMES, COLUMNS, 2)),
        present,
        starts,
        np.broadcast_to(rng.uniform(0.02, 0.2, (FRAMES, 1)), (FRAMES, COLUMNS)),
    )


def smoothed(series: Series, density: Floats = DENSITY, speed: Floats = SPEED) -> tuple[Floats, Floats]:
    return rts_smoother(kalman_filter(series, density, speed), series, density)


def system(dt: float, density: float) -> tuple[Floats, Floats]:
    """Transition and noise of position and velocity, as in Bar-Shalom et al. 2001, eq. 6.2.2-9 and 6.2.2-12."""
    return np.array([[1, dt], [0, 1]]), density * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])


def textbook(series: Series, column: int, axis: int) -> tuple[Floats, Floats]:
    """Filter and smoother of one axis of one point in matrix form (Rauch, Tung and Striebel 1965)."""
    seen = np.array([[1.0, 0.0]])
    z, r = series.points[:, column, axis], series.variance[:, column, axis]
    states, covariances, predicted, predicted_covariances, transitions = [], [], [], [], []
    for t in range(FRAMES):
        transition, noise = system(series.steps_s[t, column], DENSITY[column])
        if t == 0:
            x, p = np.array([z[0], 0.0]), np.diag([r[0], SPEED[column] ** 2])
            prior, prior_covariance = x, p
        else:
            prior, prior_covariance = transition @ x, transition @ p @ transition.T + noise
            x, p = prior, prior_covariance
            if series.present[t, column]:
                gain = p @ seen.T @ np.linalg.inv(seen @ p @ seen.T + r[t])
                x = prior + gain @ (z[t] - seen @ prior)
                p = (np.eye(2) - gain @ seen) @ prior_covariance
        states.append(x)
        covariances.append(p)
        predicted.append(prior)
        predicted_covariances.append(prior_covariance)
        transitions.append(transition)
    for t in range(FRAMES - 2, -1, -1):
        gain = covariances[t] @ transitions[t + 1].T @ np.linalg.inv(predicted_covariances[t + 1])
        states[t] = states[t] + gain @ (states[t + 1] - predicted[t + 1])
        covariances[t] = covariances[t] + gain @ (covariances[t + 1] - predicted_covariances[t + 1]) @ gain.T
    return np.stack(states)[:, 0], np.stack(covariances)[:, 0, 0]


def joint_gaussian(series: Series, column: int, axis: int) -> tuple[Floats, Floats]:
    """The same as one Gaussian over all positions and velocities, whose precision matrix is inverted as a whole."""
    precision, shift = np.zeros((2 * FRAMES, 2 * FRAMES)), np.zeros(2 * FRAMES)
    precision[1, 1] += 1 / SPEED[column] ** 2
    for t in range(FRAMES):
        if series.present[t, column]:
            precision[2 * t, 2 * t] += 1 / series.variance[t, column, axis]
            shift[2 * t] += series.points[t, column, axis] / series.variance[t, column, axis]
        if t:
            transition, noise = system(series.steps_s[t, column], DENSITY[column])
            difference = np.hstack((-transition, np.eye(2)))
            both = slice(2 * t - 2, 2 * t + 2)
            precision[both, both] += difference.T @ np.linalg.inv(noise) @ difference
    covariance = np.linalg.inv(precision)
    return (covariance @ shift)[::2], np.diag(covariance)[::2]


@pytest.mark.parametrize("other", [textbook, joint_gaussian])
@pytest.mark.parametrize("column", range(COLUMNS))
def test_it_equals_the_textbook_and_the_joint_gaussian(other: object, column: int) -> None:
    series = observed()
    place, variance = smoothed(series)
    for axis in range(2):
        mean, spread = other(series, column, axis)  # type: ignore[operator]
        np.testing.assert_allclose(place[:, column, axis], mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(variance[:, column, axis], spread, rtol=1e-6)


def test_one_step_by_hand() -> None:
    # The start has the variances 1 (position) and 4 (velocity); after one second with q = 3 the position has
    # 1 + 4 + 3/3 = 6, and an observation of variance 1 at 7 px moves it by 6/7 of the way.
    series = Series(
        np.array([[[0.0, 0.0]], [[7.0, 14.0]]]), np.ones((2, 1, 2)), np.ones((2, 1), bool),
        np.array([[True], [False]]), np.ones((2, 1)),
    )  # fmt: skip
    filtered = kalman_filter(series, np.array([3.0]), np.array([2.0]))
    np.testing.assert_allclose(filtered.mean[0, 1, 0], [6.0, 12.0])
    assert filtered.covariance[0, 1, 0, 0] == pytest.approx(6 / 7)
    assert filtered.distance[1, 0] == pytest.approx((49 + 196) / 7)
    assert filtered.log_scale[1, 0] == pytest.approx(2 * np.log(2 * np.pi * 7))
    assert np.isnan(filtered.distance[0, 0])


def test_nothing_passes_a_start() -> None:
    series = observed()
    starts = series.starts.copy()
    starts[13] = True
    place, variance = smoothed(series._replace(starts=starts))
    for rows in (slice(0, 13), slice(13, None)):
        part = Series(*(each[rows] for each in series))
        part = part._replace(starts=starts[rows])
        alone, alone_variance = smoothed(part)
        np.testing.assert_allclose(place[rows], alone, rtol=1e-12)
        np.testing.assert_allclose(variance[rows], alone_variance, rtol=1e-12)


def test_shifted_turned_and_scaled_points_are_smoothed_alike() -> None:
    series = observed()._replace(variance=np.ones((FRAMES, COLUMNS, 2)))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    changed = series._replace(points=3 * series.points @ turn.T + 50, variance=9 * series.variance)
    place, variance = smoothed(series)
    other, other_variance = smoothed(changed, 9 * DENSITY, 3 * SPEED)
    np.testing.assert_allclose(other, 3 * place @ turn.T + 50, rtol=1e-9)
    np.testing.assert_allclose(other_variance, 9 * variance, rtol=1e-9)


def still(frames: int = 20) -> Series:
    starts = np.zeros((frames, 1), bool)
    starts[0] = True
    return Series(
        np.full((frames, 1, 2), 5.0), np.full((frames, 1, 2), 0.01), np.ones((frames, 1), bool), starts,
        np.full((frames, 1), 0.04),
    )  # fmt: skip


@pytest.mark.parametrize("away", [1, LONGEST_REJECTED, LONGEST_REJECTED + 1])
def test_the_gate_rejects_a_short_excursion_and_follows_a_long_one(away: int) -> None:
    series = still()
    series.points[10 : 10 + away] += 50.0
    found = kalman_filter(series, np.array([1.0]), np.array([1.0]), gate=GATE)
    rejected = np.flatnonzero(found.rejected).tolist()
    if away <= LONGEST_REJECTED:
        assert rejected == list(range(10, 10 + away))
        np.testing.assert_allclose(found.mean[0], 5.0)
    else:
        assert rejected[:LONGEST_REJECTED] == [10, 11, 12]
        np.testing.assert_allclose(found.mean[0, 13], 55.0)
