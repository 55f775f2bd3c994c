"""A keypoint belongs at a fixed place among the labelled points, whatever some wrong points say."""

import numpy as np
import pytest

from lightning_kp.confidence.places import belonging, places

FRAMES = 200
BODY = np.array([[0.0, 0.0], [10.0, 0.0], [4.0, 3.0]])


def walk(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labelled points (T, 3, 2) of an animal that walks, turns and grows, and a point (T, 2) fixed on it."""
    generator = np.random.default_rng(seed)
    angle, scale = generator.uniform(0, 2 * np.pi, FRAMES), generator.uniform(0.8, 1.2, FRAMES)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack((cosine, -sine, sine, cosine), axis=-1).reshape(-1, 2, 2)
    centre = generator.uniform(0, 200, (FRAMES, 1, 2))
    everything = np.concatenate((BODY, [[6.0, -1.0]])) @ turn.transpose(0, 2, 1) + centre
    return everything[:, :3], everything[:, 3]


def test_wrong_points_do_not_move_the_place() -> None:
    labelled, right = walk(0)
    given = right + np.random.default_rng(1).normal(0, 0.1, right.shape)
    given[::5] += 8  # every fifth point is wrong
    found = belonging(given[:, None], labelled)[:, 0]
    assert np.linalg.norm(found - right, axis=-1).max() < 0.1
    away = np.linalg.norm(given - found, axis=-1)
    assert away[::5].min() > 10
    assert np.delete(away, np.s_[::5]).max() < 0.6


def test_frames_without_all_labels_are_unknown_and_too_few_labels_tell_nothing() -> None:
    labelled, right = walk(0)
    labelled[3, 1] = np.nan
    found = belonging(right[:, None], labelled)
    assert np.isnan(found[:, 0, 0]).nonzero()[0].tolist() == [3]
    assert np.isnan(belonging(right[:3, None], labelled[:3])).all()


def test_a_point_that_is_rarely_labelled_is_left_out() -> None:
    labelled, right = walk(0)
    often = np.concatenate((labelled, np.full((FRAMES, 1, 2), np.nan)), axis=1)
    often[:50, 3] = labelled[:50, 0] + 1
    np.testing.assert_allclose(belonging(right[:, None], often)[:, 0], right, atol=0.01)


def test_several_instances_are_matched_in_each_frame() -> None:
    (first, on_first), (second, on_second) = walk(0), walk(1)
    truth = np.stack((first, second), axis=1)
    tracks = np.stack((on_first, on_second), axis=1)[:, :, None]
    tracks = np.repeat(tracks, 2, axis=2)  # two keypoints in the same place
    tracks[100:] = tracks[100:, ::-1]  # the numbers of the animals are exchanged
    np.testing.assert_allclose(places(tracks, truth), tracks, atol=0.01)


def test_the_keypoints_of_a_single_instance_may_lie_on_different_animals() -> None:
    (first, on_first), (second, on_second) = walk(0), walk(1)
    tracks = np.stack((on_second, on_first), axis=1)[:, None]
    truth = np.stack((first, second), axis=1)
    np.testing.assert_allclose(places(tracks, truth), tracks, atol=0.01)


@pytest.mark.parametrize("instances", [1, 2])
def test_absent_points_do_not_stop_the_others(instances: int) -> None:
    labelled, right = walk(0)
    tracks = np.repeat(right[:, None, None], instances, axis=1)
    tracks[5] = np.nan
    found = places(tracks, labelled[:, None])
    np.testing.assert_allclose(found[6], tracks[6], atol=0.01)
