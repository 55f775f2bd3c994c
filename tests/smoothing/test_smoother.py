"""Smoothed tracks: errors halved, gaps and outliers, times that count, slabs that leave no seam."""

import dataclasses

import numpy as np
import pytest
from moving_body import noisy, tracks_of, walk
from numpy.typing import NDArray

from lightning_kp.smoothing import smoother
from lightning_kp.smoothing.smoother import DOUBTED, VARIANCE_RANGE, observations, smooth_tracks
from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
FRAMES = 600


def error_px(tracks: Tracks, truth: Floats) -> float:
    return float(np.linalg.norm(tracks.points_px - truth, axis=-1).mean())


@pytest.fixture(scope="module")
def truth() -> Floats:
    return walk(FRAMES)


def test_noise_is_halved_and_measured(truth: Floats) -> None:
    found = tracks_of(noisy(truth, 2.0))
    result = smooth_tracks(found)
    assert error_px(found, truth) == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.03)
    assert error_px(result.tracks, truth) < 0.5 * error_px(found, truth)
    np.testing.assert_allclose(result.noise_px, 2.0, rtol=0.15)
    # The stated variance is that of the error that is left.
    squares = np.square(result.tracks.points_px - truth)
    assert np.sqrt(result.variance_px.mean()) == pytest.approx(np.sqrt(squares.mean()), rel=0.25)


def test_speeds_become_right(truth: Floats) -> None:
    found = tracks_of(noisy(truth, 1.0))
    speeds = [np.linalg.norm(np.diff(each, axis=0), axis=-1).ravel() for each in (
        truth, found.points_px, smooth_tracks(found).tracks.points_px)]  # fmt: skip
    assert np.corrcoef(speeds[0], speeds[1])[0, 1] < 0.7
    assert np.corrcoef(speeds[0], speeds[2])[0, 1] > 0.95


def test_points_without_noise_stay(truth: Floats) -> None:
    assert error_px(smooth_tracks(tracks_of(truth)).tracks, truth) < 0.05


def test_an_outlier_is_replaced_and_doubted_and_a_move_is_not(truth: Floats) -> None:
    points = noisy(truth, 0.5)
    points[100:102, 0, 2] += 40.0  # away for two frames
    points[300:, 0, 1] += 40.0  # gone for good
    result = smooth_tracks(tracks_of(points))
    assert result.outliers[100:102, 0, 2].all()
    assert result.outliers.mean() < 0.005
    np.testing.assert_allclose(result.tracks.points_px[100:102, 0, 2], truth[100:102, 0, 2], atol=2.5)
    assert (result.tracks.confidence[100:102, 0, 2] == np.float32(DOUBTED)).all()
    assert (result.tracks.confidence[~result.outliers] == 1).all()
    # The border of a move stays sharp.
    moved = result.tracks.points_px[298:302, 0, 1] - truth[298:302, 0, 1]
    np.testing.assert_allclose(moved, [[0, 0], [0, 0], [40, 40], [40, 40]], atol=2.0)


def test_absent_points_stay_absent_and_unseen_animals_as_they_are(truth: Floats) -> None:
    found = tracks_of(noisy(truth, 1.0))
    found.points_px[50:60, 0, 0] = np.nan
    found.confidence[70:80] = 0
    result = smooth_tracks(found)
    missing = np.isnan(result.tracks.points_px).any(-1)
    assert missing[50:60, 0, 0].all()
    assert missing.sum() == 10
    np.testing.assert_array_equal(result.tracks.points_px[70:80], found.points_px[70:80])
    assert np.isnan(result.variance_px[70:80]).all()


@pytest.mark.parametrize("gap", ["absent", "not seen", "time"])
def test_nothing_passes_a_gap(gap: str, truth: Floats) -> None:
    points = noisy(truth, 1.0)
    found = tracks_of(points)
    if gap == "absent":
        found.points_px[300] = np.nan
    elif gap == "not seen":
        found.confidence[300] = 0
    else:
        found.times_s[300:] += 3.0
    series = observations(found)
    parameters = np.full(series.points.shape[1], 200.0), np.full(series.points.shape[1], 20.0)
    path, _, _ = smoother.smooth_series(series, *parameters)
    changed = series._replace(points=series.points.copy())
    changed.points[301:] += 25.0
    other, _, _ = smoother.smooth_series(changed, *parameters)
    np.testing.assert_array_equal(path[:300], other[:300])
    assert series.starts[301 if gap != "time" else 300].all()


def test_one_dropped_frame_is_no_gap_but_counts_by_its_time(truth: Floats) -> None:
    keep = np.delete(np.arange(FRAMES), np.arange(7, FRAMES, 9))  # every ninth frame is lost
    line = np.arange(FRAMES)[:, None, None, None] * np.array([2.0, -1.0]) + truth[:1]
    # The uneven steps of a point at constant speed are right; as numbers of frames they would be jerks.
    found = dataclasses.replace(tracks_of(line[keep]), times_s=keep / 25)
    assert observations(found).starts.sum(0).tolist() == [1] * truth.shape[2]
    assert error_px(smooth_tracks(found).tracks, line[keep]) < 1e-3


def test_the_covariance_says_which_frames_are_noisy(truth: Floats) -> None:
    rng = np.random.default_rng(5)
    scale = np.where(rng.random(truth.shape[:3]) < 0.3, 4.0, 0.5)
    points = truth + scale[..., None] * rng.normal(size=truth.shape)
    plain = tracks_of(points)
    covariance = np.stack((scale**2, scale**2, np.zeros_like(scale)), axis=-1).astype(np.float32)
    told = smooth_tracks(dataclasses.replace(plain, covariance_px=7 * covariance)).tracks
    assert error_px(told, truth) < 0.8 * error_px(smooth_tracks(plain).tracks, truth)
    weights = observations(dataclasses.replace(plain, covariance_px=7 * covariance)).variance
    assert np.unique(weights).tolist() == [1.0, VARIANCE_RANGE[1]]


def test_slabs_leave_no_seam(truth: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tracks_of(noisy(truth, 2.0))
    whole = smooth_tracks(found)
    monkeypatch.setattr(smoother, "SLAB_FRAMES", 100)
    monkeypatch.setattr(smoother, "COLUMNS_AT_ONCE", 12)
    parts = smooth_tracks(found)
    np.testing.assert_allclose(parts.tracks.points_px, whole.tracks.points_px, atol=1e-3)
    np.testing.assert_array_equal(parts.outliers, whole.outliers)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_short_tracks_stay_as_they_are(frames: int, truth: Floats) -> None:
    found = tracks_of(noisy(truth, 2.0)[:frames])
    result = smooth_tracks(found)
    np.testing.assert_array_equal(result.tracks.points_px, found.points_px)
    assert np.isnan(result.noise_px).all()


def test_a_single_keypoint_without_a_body_is_smoothed(truth: Floats) -> None:
    found = tracks_of(noisy(truth, 2.0)[:, :, :1])
    assert error_px(smooth_tracks(found).tracks, truth[:, :, :1]) < 0.6 * error_px(found, truth[:, :, :1])
