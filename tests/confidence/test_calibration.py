"""Calibrated tracks: probabilities as confidence, the raw peak beside them, absent points absent."""

import json

import numpy as np
import pytest

from lightning_kp.confidence.calibration import Calibration, usual_of_source
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Tracks, concatenate, default_names

FRAMES, KEYPOINTS = 3000, 2


def calibration(**changes: object) -> Calibration:
    """The first keypoint is right if its peak is above one half; the second one in nine of ten frames."""
    arrays: dict[str, object] = {
        "weights": np.array([[2.0, 0, 0], [0, 0, 0]]), "bias": np.array([0, np.log(9)]),
        "centre": np.zeros((2, 3)), "scale": np.ones((2, 3)), "distance": 0.08, "checkpoint": "abc", "frames": 256,
    }  # fmt: skip
    return Calibration(**arrays | changes)  # type: ignore[arg-type]


def tracks(animals: int = 1) -> Tracks:
    generator = np.random.default_rng(0)
    shape = (FRAMES, animals, KEYPOINTS)
    points = generator.normal(size=(*shape, 2)).astype(np.float32)
    confidence = generator.uniform(0.01, 0.99, shape).astype(np.float32)
    points[7, 0, 0], confidence[7, 0, 0] = np.nan, 0
    covariance = np.ones((*shape, 3), np.float32)
    return Tracks(
        "v.mp4", (64, 64), 25.0, np.arange(FRAMES) / 25, points, confidence, covariance, default_names(2)
    )


@pytest.mark.parametrize("animals", [1, 7])
def test_the_confidence_is_the_probability_and_the_peak_is_kept(animals: int) -> None:
    given = tracks(animals)
    calibrated = calibration()(given)
    found = concatenate(calibrated.info, calibrated.pieces())
    assert found.peak is not None
    np.testing.assert_array_equal(found.peak, given.confidence)
    np.testing.assert_array_equal(found.points_px, given.points_px)
    odds = given.confidence[..., 0] / (1 - given.confidence[..., 0])
    expected = np.clip(odds**2 / (1 + odds**2), 0.01, 0.99)
    expected[7, 0] = 0  # absent
    np.testing.assert_allclose(found.confidence[..., 0], expected, atol=1e-4)
    np.testing.assert_allclose(found.confidence[..., 1], 0.9, atol=1e-6)


def test_calibrating_twice_changes_nothing() -> None:
    once = calibration().of_tracks(tracks(), usual_of_source(tracks()))
    twice = calibration().of_tracks(once, usual_of_source(once))
    np.testing.assert_array_equal(twice.confidence, once.confidence)


def test_an_outlier_is_less_likely_to_be_right_but_not_where_the_frames_are_no_video() -> None:
    weights = np.array([[0, 0, -1.0], [0, 0, -1.0]])
    given = tracks()
    walk = np.stack((np.arange(FRAMES), np.zeros(FRAMES)), axis=-1).astype(np.float32)
    walk += np.random.default_rng(1).normal(0, 0.2, walk.shape).astype(np.float32)
    points = np.repeat(walk[:, None, None], 2, axis=2)
    points[1000, 0, 1, 1] = 40
    for fps in (25.0, 0.0):
        path = Tracks(
            "v", (64, 64), fps, given.times_s, points, given.confidence, given.covariance_px, default_names(2)
        )
        found = next(iter(calibration(weights=weights)(path).pieces())).confidence[1000, 0]
        assert (found[1] < found[0] - 0.2) == (fps > 0)


def test_a_number_of_keypoints_that_does_not_fit_is_refused() -> None:
    wrong = calibration(
        weights=np.zeros((3, 3)), bias=np.zeros(3), centre=np.zeros((3, 3)), scale=np.ones((3, 3))
    )
    with pytest.raises(DataError, match="knows 3 keypoints, the tracks have 2"):
        wrong(tracks())
    with pytest.raises(DataError, match=r"scale of shape \(2, 3\), got \(3, 3\)"):
        calibration(scale=np.ones((3, 3)))


def test_the_file_is_read_back() -> None:
    given = calibration()
    found = Calibration.from_json(given.to_json())
    for name in ("weights", "bias", "centre", "scale"):
        np.testing.assert_allclose(getattr(found, name), getattr(given, name), atol=1e-6)
    assert (found.distance, found.checkpoint, found.frames, found.source) == (0.08, "abc", 256, "agreement")
    assert found.mark == given.mark
    assert calibration(bias=np.zeros(2)).mark != given.mark


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cues": ["peak"]}, "other cues"),
        ({"scale": [[0.0, 1, 1], [1, 1, 1]]}, "out of range"),
        ({"bias": [0.0, float("nan")]}, "out of range"),
        ({"bias": [0.0]}, "weights of shape"),
        ({"strange": 1}, "strange"),
    ],
)
def test_a_damaged_file_is_refused(change: dict[str, object], told: str) -> None:
    plain = json.loads(calibration().to_json()) | change
    with pytest.raises(DataError, match=told):
        Calibration.from_json(json.dumps(plain))
    for text in ("", "[]", "{}"):
        with pytest.raises(DataError, match="not a calibration"):
            Calibration.from_json(text)
