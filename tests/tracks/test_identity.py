"""Identities over time on synthetic tracks with known exchanges, compared with the paper's rule."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_kp.metrics.animals import centroids, identity_switches, match_centroids
from lightning_kp.tracks.identity import IdentityTracker, estimate_body, hungarian_match, order_by_height
from lightning_kp.tracks.table import Tracks

Floats = NDArray[np.float64]
KEYPOINTS = 5
BODY_PX = 40.0


def make(points_px: Floats, fps: float = 25.0) -> Tracks:
    points = points_px.astype(np.float32)
    confidence = np.where(np.isnan(points).any(-1), 0, 1).astype(np.float32)
    covariance = np.full((*points.shape[:3], 3), np.nan, np.float32)
    times, names = np.arange(len(points)) / fps, tuple(f"kp{k}" for k in range(points.shape[2]))
    return Tracks("video.mp4", (1000, 1000), fps, times, points, confidence, covariance, names)


def walk(centre: Floats, heading: Floats) -> Floats:
    """A rigid body of KEYPOINTS points on a line: centre (N, 2), heading (N,) rad -> (N, K, 2)."""
    along = np.linspace(-0.5, 0.5, KEYPOINTS) * BODY_PX
    axis = np.stack((np.cos(heading), np.sin(heading)), axis=-1)
    return centre[:, None] + along[:, None] * axis[:, None]


def two_passing(frames: int = 200, gap_px: float = 30.0, seed: int = 0) -> Floats:
    """Two animals that pass each other again and again in height, ``gap_px`` apart sideways."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)
    swing = 150 * np.sin(2 * np.pi * t / 80)
    first = walk(np.stack((500 - gap_px / 2 + 0 * t, 500 + swing), -1), np.full(frames, np.pi / 2))
    second = walk(np.stack((500 + gap_px / 2 + 0 * t, 500 - swing), -1), np.full(frames, -np.pi / 2))
    return np.stack((first, second), axis=1) + rng.normal(0, 1.0, (frames, 2, KEYPOINTS, 2))


def follow(tracks: Tracks) -> tuple[Tracks, IdentityTracker]:
    tracker = IdentityTracker(estimate_body([tracks]))
    return tracker.follow(tracks), tracker


def exchanges(found: Floats, true: Floats) -> list[int]:
    return identity_switches(match_centroids(centroids(found), centroids(true), reach_px=15))


def by_height(points: Floats) -> Floats:
    return np.take_along_axis(points, order_by_height(points)[..., None, None], axis=1)


def test_the_papers_rule_exchanges_animals_that_pass_and_assignment_does_not() -> None:
    true = two_passing()
    seen = by_height(true)
    crossings = np.flatnonzero(np.diff(np.sign(np.diff(true[..., 1].mean(2), axis=1)[:, 0])))
    rule = exchanges(seen, true)
    assert len(crossings) == 4
    assert len(set(rule)) == len(crossings)
    assert len(rule) == 2 * len(crossings)  # one switch of each animal
    tracked, _ = follow(make(seen))
    assert exchanges(tracked.points_px, true) == []


def test_random_order_in_every_frame_is_undone_with_confidence_and_covariance() -> None:
    true = two_passing(gap_px=80)
    rng = np.random.default_rng(1)
    order = rng.permuted(np.tile([0, 1], (len(true), 1)), axis=1)
    order[0] = [0, 1]
    tracks = make(np.take_along_axis(true, order[..., None, None], axis=1))
    marks = order[:, :, None] * np.ones(KEYPOINTS)
    tracks = dataclasses.replace(
        tracks,
        confidence=(0.5 + 0.25 * marks).astype(np.float32),
        covariance_px=np.repeat(marks[..., None], 3, axis=-1).astype(np.float32),
    )
    tracked, tracker = follow(tracks)
    np.testing.assert_allclose(tracked.points_px, true, atol=1e-3)
    for animal, mark in ((0, 0.5), (1, 0.75)):
        assert (tracked.confidence[:, animal] == mark).all()
        assert (tracked.covariance_px[:, animal] == (mark - 0.5) * 4).all()
    assert tracker.suspects == ()


def test_keypoints_of_animals_that_touch_are_given_back() -> None:
    true = two_passing(gap_px=24)
    true = true[20:]  # the first frame is taken as it is, so that it shows them apart
    mixed = true.copy()
    near = np.flatnonzero(np.abs(true[:, 0, :, 1].mean(1) - true[:, 1, :, 1].mean(1)) < BODY_PX)
    mixed[near, :, 2] = mixed[near, ::-1, 2]
    mixed[near, :, 4] = mixed[near, ::-1, 4]
    assert len(near) > 10
    tracked, _ = follow(make(mixed))
    wrong = np.linalg.norm(tracked.points_px - true, axis=-1) > 1
    assert wrong[near].mean() < 0.02
    assert not wrong[np.setdiff1d(np.arange(len(true)), near)].any()


def test_an_exchange_that_nobody_saw_is_suspected() -> None:
    """Both animals jump into each other's place between two frames: the frame is listed, and no other."""
    true = two_passing(gap_px=300)
    true[..., 1] = np.where(np.arange(200)[:, None, None] < 120, true[..., 1], true[..., 1] + 250)
    _, tracker = follow(make(true))
    assert [each.frame for each in tracker.suspects] == [120]
    assert tracker.suspects[0].reason == "jump"
    assert tracker.suspects[0].animals == (0, 1)


def test_animals_on_one_spot_are_suspected_once_per_meeting() -> None:
    frames = np.arange(120)
    left = walk(np.stack((400 + 2.0 * frames, 500 + 0 * frames), -1), np.zeros(120))
    right = walk(np.stack((640 - 2.0 * frames, 502 + 0 * frames), -1), np.zeros(120))
    _, tracker = follow(make(np.stack((left, right), axis=1)))
    assert [each.reason for each in tracker.suspects] == ["close"]
    assert tracker.suspects[0].frame == pytest.approx(60, abs=3)


def test_an_animal_that_is_not_seen_for_a_while_keeps_its_number() -> None:
    true = two_passing(gap_px=200)
    seen = true.copy()
    seen[90:100, 0] = seen[90:100, 1]  # what is seen comes first, as an order by height would have it
    seen[90:100, 1] = np.nan
    tracked, _ = follow(make(seen))
    assert np.isnan(tracked.points_px[90:100, 0]).all()
    np.testing.assert_allclose(tracked.points_px[:, 1], true[:, 1], atol=1e-3)
    np.testing.assert_allclose(tracked.points_px[100:, 0], true[100:, 0], atol=1e-3)


def test_pieces_give_what_the_whole_gives_and_doing_it_twice_changes_nothing() -> None:
    seen = make(by_height(two_passing()))
    whole, tracker = follow(seen)
    piecewise = IdentityTracker(tracker.body)
    parts = [piecewise.follow(part) for part in (seen[:70], seen[70:71], seen[71:])]
    np.testing.assert_array_equal(np.concatenate([part.points_px for part in parts]), whole.points_px)
    assert piecewise.suspects == tracker.suspects
    again, _ = follow(whole)
    np.testing.assert_array_equal(again.points_px, whole.points_px)


def test_three_animals() -> None:
    rng = np.random.default_rng(3)
    centre = np.cumsum(rng.normal(0, 2, (300, 3, 2)), axis=0)
    centre += np.array([[300, 300], [500, 500], [700, 300]])
    true = np.stack([walk(centre[:, i], np.full(300, 0.3 * i)) for i in range(3)], axis=1)
    tracked, _ = follow(make(by_height(true)))
    assert exchanges(tracked.points_px, true) == []


def in_slots(points: Floats, slots: int) -> Floats:
    """The same animals where a method has rows for more: the others stay empty."""
    wide = np.full((len(points), slots, *points.shape[2:]), np.nan)
    wide[:, : points.shape[1]] = points
    return wide


@pytest.mark.parametrize("slots", [2, 4, 10])
def test_rows_without_an_animal_take_no_keypoints(slots: int) -> None:
    """Networks have rows for 10 to 30 animals; a keypoint in a rare pose went to an empty one."""
    true = two_passing()
    true[::7, 0, 0] += 60  # a rare pose, which costs more than what is unknown
    found, _ = follow(make(in_slots(true, slots)))
    present = np.isfinite(found.points_px).all(-1).any(-1)
    assert present.any(axis=0).sum() == 2
    assert not exchanges(found.points_px[:, :2], true)


def test_animals_that_were_found_as_wholes_stay_whole() -> None:
    """Each keypoint that lies where the other animal's is expected would be given to that one."""
    true = two_passing(gap_px=2.0)
    true[100:103] = true[100:103, ::-1]  # an exchange for three frames
    true[100:103, :, 0] = true[100:103, ::-1, 0]
    tracks = make(true)
    whole = IdentityTracker(estimate_body([tracks]), regroup=False).follow(tracks)
    rows = np.stack(
        [np.abs(whole.points_px - true[:, [i]]).max(-1).argmin(1) for i in (0, 1)], 1
    )  # (N, 2, K)
    assert (rows == rows[..., :1]).all()


def test_who_appears_far_away_takes_a_number_that_nobody_had() -> None:
    frames = 60
    straight = np.zeros(frames)
    resting = walk(np.full((frames, 2), 500.0), straight)
    first = walk(np.stack((100.0 + np.arange(frames), np.full(frames, 200.0)), -1), straight)
    newcomer = walk(np.full((frames, 2), 900.0), straight)
    first[20:], newcomer[:40] = np.nan, np.nan
    found, _ = follow(make(in_slots(np.stack((first, resting, newcomer), 1), 4)))
    present = np.isfinite(found.points_px).all(-1).any(-1)
    assert present[10].tolist() == [True, True, False, False]
    assert present[50].sum() == 2
    assert not present[50, 0], "it has the number of the one that left"
    two, _ = follow(make(np.stack((np.where(np.isnan(first), newcomer, first), resting), 1)))
    assert np.isfinite(two.points_px[50]).all(), "with two numbers there is no other to take"


def test_hungarian_match_by_hand() -> None:
    """The nearest row of the first animal is not the best match for both together."""
    cost = np.array([[1.0, 2.0], [0.0, 9.0]])
    assert hungarian_match(cost).tolist() == [1, 0]


def test_body_by_hand() -> None:
    body = estimate_body([make(two_passing(gap_px=300))])
    assert body.size_px == pytest.approx(BODY_PX, abs=3)
    assert body.mean[0, 2] == pytest.approx(BODY_PX / 2, abs=1)
    assert body.mean.shape == body.deviation.shape == (KEYPOINTS, KEYPOINTS)


@pytest.mark.parametrize("animals", [1, 2])
def test_empty_and_single(animals: int) -> None:
    nothing = make(np.full((3, animals, 2, 2), np.nan))
    tracked, tracker = follow(nothing)
    assert np.isnan(tracked.points_px).all()
    assert tracker.suspects == ()
    assert len(follow(nothing[:0])[0]) == 0
