"""Frames worth labelling: not the sharp, steady and familiar ones."""

import numpy as np
import pytest

from lightning_kp.errors import DataError
from lightning_kp.tracks.suggestions import Candidates, candidates, choose, jump, pose_density, uncertainty
from lightning_kp.tracks.table import Tracks

FRAMES = 40


def tracks(**changes: np.ndarray) -> Tracks:
    """One animal with two keypoints that walks steadily to the right."""
    points = np.zeros((FRAMES, 1, 2, 2), np.float32)
    points[..., 0] = np.arange(FRAMES)[:, None, None] * 2.0
    points[:, 0, 1] += 5
    arrays = {
        "times_s": np.arange(FRAMES) / 25,
        "points_px": points,
        "confidence": np.full((FRAMES, 1, 2), 0.5, np.float32),
        "covariance_px": np.full((FRAMES, 1, 2, 3), 4.0, np.float32),
    }
    return Tracks("v.mp4", (100, 100), 25.0, keypoint_names=("a", "b"), **arrays | changes)  # type: ignore[arg-type]


def poses(found: Tracks) -> np.ndarray:
    return found.points_px.reshape(len(found), -1).astype(np.float64) / 50 - 1


def test_steady_motion_is_no_jump_and_a_leap_is() -> None:
    assert jump(tracks()).max() == pytest.approx(0)
    points = tracks().points_px.copy()
    points[20, 0, 1, 1] += 30
    found = jump(tracks(points_px=points))
    assert int(found.argmax()) == 20
    assert found[20] == pytest.approx(30)
    assert found[10] == pytest.approx(0)


def test_a_leap_of_two_frames_is_seen_too() -> None:
    points = tracks().points_px.copy()
    points[20:22, 0, 1, 1] += 30
    assert jump(tracks(points_px=points))[20:22].min() == pytest.approx(30)


def test_wide_or_low_heatmaps_and_absent_points_are_uncertain() -> None:
    assert np.ptp(uncertainty(tracks())) == 0
    covariance = tracks().covariance_px.copy()
    covariance[7] *= 9  # three times as wide
    assert uncertainty(tracks(covariance_px=covariance))[7] - uncertainty(tracks())[7] == pytest.approx(2)
    confidence = tracks().confidence.copy()
    confidence[8] = 0.25
    assert uncertainty(tracks(confidence=confidence))[8] - uncertainty(tracks())[8] == pytest.approx(0.5)
    points = tracks().points_px.copy()
    points[9, 0, 0] = np.nan
    assert int(uncertainty(tracks(points_px=points)).argmax()) == 9


def test_the_most_doubtful_frame_comes_first_and_its_neighbours_later() -> None:
    confidence = tracks().confidence.copy()
    confidence[19:22] = 0.1
    own = tracks(confidence=confidence)
    found = choose(candidates([own], [poses(own)]), None, 3)
    assert found[0].frame in (19, 20, 21)
    assert abs(found[1].frame - found[0].frame) > 2  # the same pose a moment later teaches little
    assert found[0].reason == "uncertain" or found[0].far == 1


def test_frames_far_from_labelled_ones_are_preferred() -> None:
    own = tracks()
    known = poses(own)[:20]
    found = choose(candidates([own], [poses(own)]), known, 1)
    assert found[0].frame == FRAMES - 1
    assert found[0].far == pytest.approx(1)
    assert found[0].reason == "new pose"


def test_nothing_is_left_where_all_poses_are_labelled() -> None:
    own = tracks()
    assert choose(candidates([own], [poses(own)]), poses(own), 5) == []


def test_chosen_frames_spread_over_videos() -> None:
    first, second = tracks(), tracks(points_px=tracks().points_px + 40)
    found = choose(candidates([first, second], [poses(first), poses(second)]), None, 6)
    assert {each.video for each in found} == {0, 1}
    assert len({(each.video, each.frame) for each in found}) == 6


def test_absent_points_do_not_hide_a_frame() -> None:
    points = tracks().points_px.copy()
    points[:, 0, 0] = np.nan
    own = tracks(points_px=points)
    found = candidates([own], [poses(own)])
    assert isinstance(found, Candidates)
    assert np.isfinite(found.pose).all()


def test_an_animal_that_seldom_is_there_is_seldom_missed() -> None:
    points = np.repeat(tracks().points_px, 2, axis=1)
    confidence, covariance = np.full(points.shape[:3], 0.5, np.float32), np.full((*points.shape[:3], 3), 4.0)
    often, seldom = points.copy(), points.copy()
    often[9, 1], seldom[5:, 1] = np.nan, np.nan

    def found(changed: np.ndarray) -> np.ndarray:
        absent = np.isnan(changed).any(-1)
        return uncertainty(
            tracks(
                points_px=changed,
                confidence=np.where(absent, 0, confidence),
                covariance_px=covariance.astype(np.float32),
            )
        )

    assert int(found(often).argmax()) == 9
    assert found(often)[9] - found(often)[8] > 5 * (found(seldom)[9] - found(seldom)[3])


def test_poses_of_animals_in_no_order() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (5000, 3, 2, 2))
    points[:, 2, 1] = np.nan
    found = pose_density(points)
    np.testing.assert_allclose(pose_density(points[:, [2, 0, 1]]), found, rtol=1e-5)
    alone = pose_density(np.concatenate((points[:, :2], np.full((5000, 1, 2, 2), np.nan)), axis=1))
    assert np.linalg.norm(alone - found, axis=1).min() > 0.1, "another animal is another pose"
    near, far = points.copy(), points.copy()
    near[:, 0], far[:, 0] = points[:, 0] + 0.02, -points[:, 0]
    step, leap = (np.linalg.norm(pose_density(each) - found, axis=1) for each in (near, far))
    assert np.median(step) < 0.2 * np.median(leap)


def test_videos_without_a_frame() -> None:
    with pytest.raises(DataError, match="contain no frame"):
        candidates([tracks()[:0]], [poses(tracks())[:0]])


def test_neighbours_in_time_come_last() -> None:
    """An unsure network scatters its points: far poses a moment apart show the same picture."""
    scattered = np.random.default_rng(0).uniform(0, 100, tracks().points_px.shape).astype(np.float32)
    own = tracks(points_px=scattered, times_s=np.arange(FRAMES) / 10)
    found = choose(candidates([own], [poses(own)]), None, 6)
    first = sorted(each.frame for each in found[: FRAMES // 20])
    assert min(np.diff(first)) >= 10
    assert len({each.frame for each in found}) == 6  # and then the others after all
