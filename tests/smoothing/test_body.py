"""What tracks say of bodies: which keypoints belong together, how long a body is, where it walks, its order."""

import dataclasses

import numpy as np
import pytest
from moving_body import BODY, FPS, SNOUT, TAIL_BASE, exchanged, noisy, tracks_of, walk

from lightning_kp.smoothing.body import (
    WALK_SECONDS,
    along_walk,
    find_bodies,
    keypoints_together,
    order_along_walk,
    walking_direction,
)


def test_two_animals_in_one_row_are_two_bodies() -> None:
    points = walk(900, animals=2)
    order = np.random.default_rng(0).permutation(12)
    mixed = points.reshape(900, 12, 2)[:, order]
    groups = [sorted(order[group].tolist()) for group in keypoints_together(mixed)]
    assert sorted(groups) == [list(range(6)), list(range(6, 12))]
    bodies = find_bodies(tracks_of(mixed[:, None]))
    assert [body.points_px.shape for body in bodies] == [(900, 1, 6, 2)] * 2


def test_animals_with_rows_of_their_own_share_one_body() -> None:
    points = walk(300, animals=2)
    (body,) = find_bodies(tracks_of(points))
    assert body.points_px.shape == (300, 2, 6, 2)
    snout_to_tail = np.linalg.norm(points[:, :, SNOUT] - points[:, :, TAIL_BASE], axis=-1)
    assert body.length_px == pytest.approx(np.median(snout_to_tail), rel=0.02)
    assert body.walk_frames == round(WALK_SECONDS * FPS / 2)
    assert not body.continues[0]
    assert body.continues[1:].all()


def test_unseen_animals_have_no_points_and_pauses_break_the_walk() -> None:
    tracks = tracks_of(walk(300, animals=2))
    tracks.confidence[10, 1] = 0
    tracks.times_s[100:] += 2.0
    (body,) = find_bodies(tracks)
    assert np.isnan(body.points_px[10, 1]).all()
    assert np.isfinite(body.points_px[10, 0]).all()
    assert np.flatnonzero(~body.continues).tolist() == [0, 100]
    direction, walked = walking_direction(body, body.points_px)
    half = body.walk_frames
    assert np.isnan(direction[100 - half : 100 + half]).all()
    assert (walked[100 - half : 100 + half] == 0).all()


def test_two_keypoints_are_no_body() -> None:
    assert find_bodies(tracks_of(walk(100)[:, :, :2])) == []
    assert find_bodies(tracks_of(np.full((50, 1, 4, 2), np.nan))) == []


def test_the_walk_by_hand() -> None:
    # Three keypoints, 20 px long, that walk 2 px per frame to the left, with the first one ahead.
    frames = np.arange(40)[:, None, None, None]
    points = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]]) + frames * np.array([-2.0, 0.0])
    body = find_bodies(tracks_of(np.concatenate((points, points + 500), axis=1)))[0]
    direction, walked = walking_direction(body, body.points_px)
    half = body.walk_frames
    np.testing.assert_allclose(direction[half:-half, 0], [[-1.0, 0.0]] * (40 - 2 * half))
    np.testing.assert_allclose(walked[half:-half], 2 / 20)
    assert np.isnan(direction[:half]).all()
    ahead = along_walk(body, body.points_px)
    np.testing.assert_allclose(ahead[half, 0], [0.5, 0.0, -0.5])
    assert order_along_walk(ahead) == 1.0


def test_a_resting_animal_has_no_direction() -> None:
    points = noisy(np.broadcast_to(walk(1), (60, 1, 6, 2)), 0.5)
    body = find_bodies(tracks_of(np.concatenate((points, points), axis=1)))[0]
    assert np.isnan(walking_direction(body, body.points_px)[0]).all()
    assert np.isnan(order_along_walk(along_walk(body, body.points_px)))


def test_the_snout_walks_ahead_and_an_exchange_breaks_the_order() -> None:
    points = walk(1500)
    body = find_bodies(tracks_of(points))[0]
    ahead = along_walk(body, points)
    usual = np.nanmedian(ahead[:, 0], axis=0)
    assert usual.argmax() == SNOUT
    assert usual.argmin() == TAIL_BASE
    assert usual[SNOUT] > 0.3 > 0 > usual[BODY] > usual[TAIL_BASE]
    kept = order_along_walk(ahead)
    assert kept > 0.95
    flipped = exchanged(points, ((SNOUT, TAIL_BASE),), [(0, 450)])
    assert order_along_walk(along_walk(body, flipped)) < kept - 0.1


def test_an_unknown_frame_rate_is_no_error() -> None:
    tracks = dataclasses.replace(tracks_of(walk(100)), fps=0.0, times_s=np.arange(100, dtype=float))
    assert find_bodies(tracks)[0].walk_frames == round(WALK_SECONDS * 25 / 2)
