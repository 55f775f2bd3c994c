"""Calibrations recover known probabilities, and the fit without labels knows a right point by its agreement."""

import numpy as np
import pytest

from lightning_kp.confidence.calibration import LEAST, MOST
from lightning_kp.confidence.fitting import DISTANCE, Reading, agreeing, calibrate, fit
from lightning_kp.confidence.reliability import calibration_error

FRAMES, SIZE, BODY_PX = 400, 100, 25.0
REACH = DISTANCE * BODY_PX / (SIZE / 2)  # 0.08


def reading(frames: int = FRAMES) -> Reading:
    """Two keypoints of one animal that walks slowly, found alike in every copy."""
    generator = np.random.default_rng(0)
    path = np.linspace(-0.5, 0.5, frames)[:, None, None, None] + np.zeros((1, 1, 2, 2))
    shape = (frames, 1, 2)
    return Reading(
        path, generator.uniform(0.2, 0.9, shape), np.full((*shape, 3), 1e-4), np.repeat(path[:, None], 4, axis=1),
        np.full(shape, 0.9), np.zeros(frames, np.int64), np.arange(frames),
    )  # fmt: skip


def test_everything_that_agrees_is_right() -> None:
    assert agreeing(reading(), REACH).all()


def test_one_copy_of_four_may_disagree_and_two_may_not() -> None:
    given = reading()
    given.copies[:100, :1, :, 1] += 1.1 * REACH
    given.copies[100:200, :2, :, 1] += 1.1 * REACH
    given.copies[200:300, :2, :, 1] += 0.6 * REACH
    right = agreeing(given, REACH)[:, 0]
    assert right[:, 0].all()
    assert right[:, 1].tolist() == [True] * 100 + [False] * 100 + [True] * 200


def test_jumps_wide_heatmaps_and_points_off_the_animal_are_wrong() -> None:
    given = reading()
    given.points[50] += 2 * REACH
    given.copies[50] += 2 * REACH
    given.covariance[60] = 1.0
    given.on_animal[70], given.on_animal[80] = 0.05, np.nan
    right = agreeing(given, REACH, widest=0.5)[:, 0, 0]
    assert np.flatnonzero(~right).tolist() == [50, 60, 70]


def test_frames_of_different_videos_are_no_neighbours() -> None:
    given = reading()
    given.points[200:] += 10 * REACH
    given.copies[200:] += 10 * REACH
    assert agreeing(
        given, REACH
    ).all()  # of two long ways one is short: this is how an animal that is cut in looks
    assert given._replace(video=(np.arange(FRAMES) >= 200).astype(np.int64)).follows.sum() == FRAMES - 2


def test_a_fit_recovers_probabilities() -> None:
    generator = np.random.default_rng(0)
    cues = generator.normal(size=(4000, 2, 1, 3))
    odds = 0.5 + 1.5 * cues[..., 0] - 0.7 * cues[..., 2]
    right = generator.uniform(size=odds.shape) < 1 / (1 + np.exp(-odds))
    found = fit(cues, right)
    # Per deviation of a cue; the middle one tells nothing.
    np.testing.assert_allclose(found.weights[0], [1.5, 0, -0.7], atol=0.08)
    assert found.bias[0] == pytest.approx(0.5, abs=0.08)
    assert calibration_error(found.probability(cues).ravel(), right.ravel()) < 0.02


def test_no_weight_has_the_wrong_sign() -> None:
    generator = np.random.default_rng(0)
    cues = generator.normal(size=(500, 1, 1, 3))
    right = cues[..., 0] + cues[..., 1] < 0  # lower peaks and narrower heatmaps are right
    weights = fit(cues, right).weights[0]
    assert weights[0] == 0
    assert weights[1] < -1


@pytest.mark.parametrize("is_right", [True, False])
def test_keypoints_that_are_always_right_or_wrong_stay_within_limits(is_right: bool) -> None:
    cues = np.random.default_rng(0).normal(size=(300, 1, 1, 3))
    cues[5, 0, 0, 2] = np.nan
    found = fit(cues, np.full((300, 1, 1), is_right)).probability(cues)
    assert ((found >= LEAST) & (found <= MOST)).all()
    assert (found > 0.98 if is_right else found < 0.02).all()


def test_few_frames_give_flat_curves() -> None:
    cues = np.array([-1.0, 1.0])[:, None, None, None] * np.ones((1, 1, 1, 3))
    found = fit(cues, np.array([[[False]], [[True]]]))
    assert (found.probability(cues).ravel() > 0.2).all()
    assert (found.probability(cues).ravel() < 0.8).all()


def test_a_calibration_without_labels() -> None:
    given = reading()
    wrong = np.random.default_rng(1).uniform(size=(FRAMES, 1)) < 0.4
    given.copies[..., 1, :] += np.where(wrong, 3 * REACH, 0)[:, None, :, None]
    given.peak[..., 1] = np.where(wrong, 0.2, 0.8)
    found = calibrate(given, BODY_PX, SIZE, checkpoint="abc")
    assert (found.distance, found.checkpoint, found.frames, found.source) == (
        DISTANCE,
        "abc",
        FRAMES,
        "agreement",
    )
    assert found.weights[1, 0] > 1  # the peak tells right from wrong
    assert found.weights[0, 0] < 0.2


def test_an_unknown_body_leaves_the_least_distance() -> None:
    given = reading()
    given.copies[..., 0] += 0.9 / (SIZE / 2)
    assert calibrate(given, float("nan"), SIZE).bias.min() > 3
    given.copies[..., 0] += 0.2 / (SIZE / 2)
    assert calibrate(given, float("nan"), SIZE).bias.max() < -3
