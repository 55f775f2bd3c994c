"""Flips of head and tail: found, listed and mended; what is no exchange is only doubted; the healthy stay untouched."""

import dataclasses

import numpy as np
import pytest
from moving_body import BODY, NECK, SNOUT, TAIL_BASE, exchanged, noisy, tracks_of, walk

from lightning_kp.smoothing.flips import EXCHANGE, JUMP, mend_flips
from lightning_kp.smoothing.smoother import DOUBTED
from lightning_kp.tracks.table import default_names

FRAMES = 1200
STRETCHES = [(100, 140), (300, 301), (500, 720), (900, 905)]
ENDS = (SNOUT, TAIL_BASE)
NAMES = default_names(6)


def frames_of(flips: tuple, kind: str, animal: int = 1) -> list[tuple[int, int]]:
    return [
        (each.frame, each.last_frame + 1) for each in flips if each.kind == kind and each.animal == animal
    ]


@pytest.mark.parametrize("pairs", [(ENDS,), (ENDS, (NECK, BODY))])
def test_exchanged_keypoints_are_put_back(pairs: tuple[tuple[int, int], ...]) -> None:
    healthy = noisy(walk(FRAMES), 0.7).astype(np.float32)
    result = mend_flips(tracks_of(exchanged(healthy, pairs, STRETCHES)))
    assert frames_of(result.flips, EXCHANGE) == STRETCHES
    assert frames_of(result.flips, JUMP) == []
    np.testing.assert_array_equal(result.tracks.points_px, healthy)
    assert result.order_before < 0.9 < 0.95 < result.order_after
    assert {each.keypoints for each in result.flips} == {tuple(NAMES[k] for k in sorted(sum(pairs, ())))}
    first = result.flips[0]
    assert (first.start_s, first.end_s, first.mended) == (4.0, 5.56, True)  # frames 100 and 139 at 25 fps


def test_the_walk_tells_which_of_two_long_stretches_is_wrong() -> None:
    """All keypoints exchange, so that the shape says nothing, and most frames are exchanged since the first walk."""
    spine = walk(FRAMES)[:, :, [SNOUT, NECK, BODY, TAIL_BASE]]
    healthy = noisy(spine, 0.7).astype(np.float32)
    found = exchanged(healthy, ((0, 3), (1, 2)), [(0, 500)])
    found = exchanged(found, ((0, 3), (1, 2)), [(700, 701)])
    result = mend_flips(tracks_of(found))
    np.testing.assert_array_equal(result.tracks.points_px, healthy)


def test_confidence_and_covariance_go_with_their_keypoint() -> None:
    healthy = tracks_of(noisy(walk(FRAMES), 0.7))
    own = np.linspace(0.4, 0.9, 6, dtype=np.float32)
    healthy = dataclasses.replace(
        healthy,
        confidence=np.broadcast_to(own, (FRAMES, 1, 6)).copy(),
        covariance_px=np.broadcast_to(own[:, None], (FRAMES, 1, 6, 3)).copy(),
        peak=np.broadcast_to(own / 2, (FRAMES, 1, 6)).copy(),
    )
    arrays = {
        name: exchanged(getattr(healthy, name), (ENDS,), STRETCHES)
        for name in ("points_px", "confidence", "covariance_px", "peak")
    }
    mended = mend_flips(dataclasses.replace(healthy, **arrays)).tracks
    for name in arrays:
        np.testing.assert_array_equal(getattr(mended, name), getattr(healthy, name))


def test_each_of_several_animals_is_mended_by_itself() -> None:
    healthy = noisy(walk(FRAMES, animals=2), 0.7).astype(np.float32)
    found = healthy.copy()
    found[:, :1] = exchanged(healthy[:, :1], (ENDS,), STRETCHES)
    found[:, 1:] = exchanged(healthy[:, 1:], (ENDS,), [(600, 650)])
    result = mend_flips(tracks_of(found))
    assert frames_of(result.flips, EXCHANGE, animal=1) == STRETCHES
    assert frames_of(result.flips, EXCHANGE, animal=2) == [(600, 650)]
    np.testing.assert_array_equal(result.tracks.points_px, healthy)


def test_two_animals_in_one_row_are_mended() -> None:
    healthy = noisy(walk(FRAMES, animals=2).reshape(FRAMES, 1, 12, 2), 0.7).astype(np.float32)
    result = mend_flips(tracks_of(exchanged(healthy, ((SNOUT + 6, TAIL_BASE + 6),), STRETCHES)))
    np.testing.assert_array_equal(result.tracks.points_px, healthy)
    assert frames_of(result.flips, EXCHANGE) == STRETCHES


def test_a_keypoint_that_jumps_is_doubted_where_it_is_and_not_moved() -> None:
    points = noisy(walk(FRAMES), 0.7)
    away = np.zeros(FRAMES, bool)
    for start, end in STRETCHES:
        points[start:end, :, SNOUT] = noisy(points[start:end, :, TAIL_BASE], 0.7)
        away[start:end] = True
    found = tracks_of(points)
    result = mend_flips(found)
    assert frames_of(result.flips, EXCHANGE) == []
    assert frames_of(result.flips, JUMP) == STRETCHES
    np.testing.assert_array_equal(result.tracks.points_px, found.points_px)
    np.testing.assert_array_equal(result.tracks.confidence[:, 0, SNOUT], np.where(away, DOUBTED, 1.0))
    assert (result.tracks.confidence[:, 0, NECK:] == 1).all()


def test_flips_are_only_listed_if_asked_for() -> None:
    found = tracks_of(exchanged(noisy(walk(FRAMES), 0.7), (ENDS,), STRETCHES))
    result = mend_flips(found, mend=False)
    assert result.tracks is found
    assert frames_of(result.flips, EXCHANGE) == STRETCHES
    assert not any(each.mended for each in result.flips)


@pytest.mark.parametrize("noise_px", [0.5, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_healthy_tracks_have_no_flips(seed: int, noise_px: float) -> None:
    found = tracks_of(noisy(walk(FRAMES, animals=2, seed=seed), noise_px))
    result = mend_flips(found)
    assert result.flips == ()
    np.testing.assert_array_equal(result.tracks.points_px, found.points_px)
    assert result.order_before == result.order_after


def test_what_cannot_be_judged_is_left_alone() -> None:
    for points in (np.full((20, 2, 6, 2), np.nan), walk(1), walk(40)[:, :, :2], walk(40)[:, :, :1]):
        found = tracks_of(points)
        result = mend_flips(found)
        assert result.flips == ()
        np.testing.assert_array_equal(result.tracks.points_px, found.points_px)
