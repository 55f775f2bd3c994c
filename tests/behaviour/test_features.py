"""Features of tracks: values worked out by hand, laws, gaps, and tracks that lack something."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.behaviour.features import FEATURES, ROWS, feature_table
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import Floats, Tracks
from lightning_kp.tracks.trajectories import fill_gaps, normalised_trajectory

IDENTITY_FREE = ("speed", "acceleration", "distances", "angles")


def make(points_px: Floats, size: tuple[int, int] = (100, 200), fps: float = 10.0) -> Tracks:
    """One animal; points (N, K, 2) in pixels of a frame 100 high and 200 wide."""
    points = np.asarray(points_px, np.float32)[:, None]
    shape = points.shape[:3]
    names = tuple(f"k{k}" for k in range(shape[2]))
    covariance = np.tile(np.float32([4, 9, 2]), (*shape, 1))
    confidence = np.full(shape, 0.5, np.float32)
    return Tracks("a.mp4", size, fps, np.arange(len(points)) / fps, points, confidence, covariance, names)


def random_tracks(frames: int = 40, keypoints: int = 5, seed: int = 0) -> Tracks:
    return make(np.random.default_rng(seed).uniform(10, 90, (frames, keypoints, 2)))


def test_pose_confidence_covariance_by_hand() -> None:
    """The frame's corners are at -1 and 1; pixel 0 has its centre half a pixel inside."""
    tracks = make([[[-0.5, -0.5], [199.5, 99.5], [99.5, 49.5]]])
    table = feature_table(tracks, ("pose", "confidence", "covariance"))
    np.testing.assert_allclose(table[0, :6], [-1, -1, 1, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(table[0, 6:9], 0.5)
    # a pixel is 2 / 200 wide and 2 / 100 high in normalised units
    np.testing.assert_allclose(table[0, 9:12], [4 * 1e-4, 9 * 4e-4, 2 * 2e-4], rtol=1e-5)


def test_speed_and_acceleration_by_hand() -> None:
    """One pixel per frame at 10 frames per second, in half sides of 100 px; the unit is the longer side's."""
    for axis in (0, 1):
        points = np.full((6, 1, 2), 20.0)
        points[:, 0, axis] += np.arange(6)
        np.testing.assert_allclose(feature_table(make(points), ("speed",))[:, 0], 10 / 100, rtol=1e-4)
        np.testing.assert_allclose(feature_table(make(points), ("acceleration",)), 0, atol=1e-4)
    falling = np.full((9, 1, 2), 20.0)
    falling[:, 0, 0] += np.arange(9) ** 2  # 2 px per frame squared = 200 px/s^2 = 2 half sides
    np.testing.assert_allclose(feature_table(make(falling), ("acceleration",))[2:-2, 0], 2, rtol=1e-4)


def test_distances_and_angles_by_hand() -> None:
    """A right angle at the middle one of three points; sides 30, 40 and 50 px."""
    table = feature_table(make([[[40, 10], [10, 10], [10, 50]]]), ("distances", "angles"))
    np.testing.assert_allclose(table[0], [0.3, 0.5, 0.4, math.pi / 2], rtol=1e-5)


def test_angles_and_distances_agree_with_loops() -> None:
    tracks = random_tracks()
    points = tracks.points_px[:, 0] / 100
    table = feature_table(tracks, ("distances", "angles"))
    for frame in (0, 17):
        p = points[frame].astype(np.float64)
        distances = [np.linalg.norm(p[i] - p[j]) for i, j in combinations(range(5), 2)]
        angles = []
        for i, j, k in combinations(range(5), 3):
            u, v = p[i] - p[j], p[k] - p[j]
            angles.append(math.acos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))
        np.testing.assert_allclose(table[frame, :10], distances, rtol=1e-4)
        np.testing.assert_allclose(table[frame, 10:], angles, atol=2e-3)


@given(st.floats(-math.pi, math.pi), st.floats(-20, 20), st.floats(-20, 20))
def test_identity_free_features_do_not_depend_on_place_and_heading(angle: float, x: float, y: float) -> None:
    """They stay the same when the whole scene turns and shifts (the pixels of the axes being square)."""
    tracks = random_tracks(12)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = (tracks.points_px.astype(np.float64) - 50) @ turn.T + 50 + (x, y)
    other = replace(tracks, points_px=turned.astype(np.float32))
    ours, theirs = (feature_table(each, IDENTITY_FREE) for each in (tracks, other))
    np.testing.assert_allclose(ours, theirs, atol=5e-3, rtol=1e-3)


def test_chunks_do_not_show() -> None:
    """The rows around a border between chunks are those of a table cut out there."""
    tracks = random_tracks(ROWS + 20)
    whole = feature_table(tracks, tuple(FEATURES))
    part = feature_table(tracks[ROWS - 10 : ROWS + 10], tuple(FEATURES))
    np.testing.assert_allclose(whole[ROWS - 7 : ROWS + 7], part[3:-3], rtol=1e-5, atol=1e-6)


def test_number_of_features() -> None:
    widths = {kind: feature_table(random_tracks(), (kind,)).shape[1] for kind in FEATURES}
    assert widths == {
        "pose": 10, "confidence": 5, "covariance": 15, "speed": 5, "acceleration": 5, "distances": 10, "angles": 10,
    }  # fmt: skip
    two = make(np.ones((3, 2, 2)))
    assert feature_table(two, ("angles",)).shape == (3, 0)
    assert feature_table(make(np.ones((3, 1, 2))), ("distances",)).shape == (3, 0)
    assert feature_table(make(np.ones((1, 2, 2))), ("speed",)).tolist() == [[0, 0]]


def test_a_short_gap_is_bridged_and_a_long_one_held() -> None:
    nan = float("nan")
    points = np.float32([nan, 1, nan, 3, nan, nan, nan, 7, nan])[:, None, None]
    np.testing.assert_allclose(fill_gaps(points, 1)[:, 0, 0], [1, 1, 2, 3, 3, 3, 7, 7, 7])
    np.testing.assert_allclose(fill_gaps(points, 3)[:, 0, 0], [1, 1, 2, 3, 4, 5, 6, 7, 7])
    assert np.isnan(points).sum() == 6  # the caller's array is left alone


def test_a_point_that_is_never_seen_lies_in_the_centre() -> None:
    points = np.full((4, 2, 2), np.nan, np.float32)
    points[:, 0] = 0.25
    filled = fill_gaps(points, 5)
    assert (filled[:, 0] == 0.25).all()
    assert (filled[:, 1] == 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_filling_keeps_what_was_seen_and_leaves_no_gap(seed: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30, 3, 2)).astype(np.float32)
    missing = rng.random((30, 3)) < 0.5
    gappy = np.where(missing[..., None], np.float32(np.nan), points)
    filled = fill_gaps(gappy, longest)
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[~missing], points[~missing])
    # One rounding of 32 bits: versions of NumPy differ by so much.
    assert filled.min() >= np.nextafter(min(points.min(), np.float32(0)), np.float32(-np.inf))
    assert filled.max() <= np.nextafter(max(points.max(), np.float32(0)), np.float32(np.inf))


def test_doubtful_points_count_as_missing() -> None:
    tracks = random_tracks(10)
    tracks.confidence[4, 0, 2] = 0.1
    trajectory = normalised_trajectory(tracks, min_confidence=0.4)
    assert trajectory.confidence[4, 2] == 0
    assert (trajectory.covariance[4, 2] == 0).all()
    np.testing.assert_allclose(
        trajectory.points[4, 2], (trajectory.points[3, 2] + trajectory.points[5, 2]) / 2, rtol=1e-5
    )


def test_every_feature_is_finite_with_gaps() -> None:
    tracks = random_tracks(50)
    tracks.points_px[::3, 0, 1] = np.nan
    tracks.covariance_px[::3, 0, 1] = np.nan
    assert np.isfinite(feature_table(tracks, tuple(FEATURES))).all()


def test_errors_say_what_to_type() -> None:
    tracks = random_tracks(5)
    with pytest.raises(ConfigurationError, match="Did you mean distances"):
        feature_table(tracks, ("distance",))
    with pytest.raises(ConfigurationError, match="Choose from pose"):
        feature_table(tracks, ())
    with pytest.raises(DataError, match=r"--data.frame_size=\[480,640\]"):
        feature_table(replace(tracks, frame_size=(0, 0)), ("pose",))
    with pytest.raises(DataError, match=r"--data\.fps=30"):
        feature_table(replace(tracks, fps=0.0), ("speed",))
    with pytest.raises(DataError, match="no covariance"):
        feature_table(replace(tracks, covariance_px=tracks.covariance_px * np.nan), ("covariance",))


def test_speeds_do_not_depend_on_the_time_between_frames() -> None:
    """A point at 60 px/s, 60 frames at 30 per second and then 20 at 10."""
    times = np.concatenate((np.arange(60) / 30, 2 + np.arange(20) / 10))
    points = np.zeros((80, 1, 2), np.float32)
    points[:, 0, 0] = 60 * times
    uneven = replace(make(points, fps=20.0), times_s=times)
    np.testing.assert_allclose(feature_table(uneven, ("speed",)), 60 / 100, rtol=1e-4)
    assert np.abs(feature_table(uneven, ("acceleration",))).max() < 0.01


def test_rounded_times_do_not_shake_speeds() -> None:
    """Milliseconds of a container at 240 frames per second: steps of 4 and 5."""
    points = np.zeros((240, 1, 2), np.float32)
    points[:, 0, 0] = np.arange(240) / 240 * 60
    rounded = replace(make(points, fps=240.0), times_s=np.round(np.arange(240) / 240, 3))
    np.testing.assert_allclose(feature_table(rounded, ("speed",)), 60 / 100, rtol=3e-3)
