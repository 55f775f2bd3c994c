"""Which keypoints exchange their places: found where they do, and nowhere else."""

import numpy as np
import pytest
from moving_body import BODY, LEFT_EAR, NECK, RIGHT_EAR, SNOUT, TAIL_BASE, exchanged, noisy, tracks_of, walk

from lightning_kp.smoothing.body import Body, find_bodies
from lightning_kp.smoothing.exchanges import beginnings, exchange_events, exchanging_groups, exchanging_pairs

FRAMES = 900
STRETCHES = [(100, 140), (300, 301), (500, 620)]
ENDS = (SNOUT, TAIL_BASE)


def body_of(pairs: tuple[tuple[int, int], ...], stretches: list[tuple[int, int]] = STRETCHES) -> Body:
    (body,) = find_bodies(tracks_of(noisy(exchanged(walk(FRAMES), pairs, stretches), 0.7)))
    return body


def members(order: np.ndarray) -> list[int]:
    return np.flatnonzero(order != np.arange(len(order))).tolist()


def test_each_border_of_a_stretch_is_an_event() -> None:
    events = exchange_events(body_of((ENDS,)), *ENDS)
    borders = sorted(frame for stretch in STRETCHES for frame in stretch)
    assert events[borders].all()
    near = np.zeros(FRAMES, bool)
    for border in borders:
        near[border : border + 2] = True  # two frames later the one before the border is compared, too
    assert not events[~near].any()


def test_a_frame_between_two_places_hides_no_exchange() -> None:
    points = exchanged(walk(FRAMES), (ENDS,), [(100, 140)])
    points[100] = (points[99] + points[101]) / 2  # as a soft-argmax of two equal peaks
    (body,) = find_bodies(tracks_of(points))
    assert exchange_events(body, *ENDS)[100:102].any()


def test_a_gap_is_no_exchange() -> None:
    tracks = tracks_of(exchanged(walk(FRAMES), (ENDS,), [(100, FRAMES)]))
    tracks.times_s[100:] += 5
    (body,) = find_bodies(tracks)
    assert not exchange_events(body, *ENDS).any()


@pytest.mark.parametrize("pair", [ENDS, (LEFT_EAR, RIGHT_EAR), (NECK, TAIL_BASE)])
def test_the_pair_that_exchanges_is_found(pair: tuple[int, int]) -> None:
    ((found, events),) = exchanging_pairs(body_of((pair,)))
    assert found == pair
    assert beginnings(events) >= 4  # of six borders, two lie side by side


def test_pairs_that_exchange_together_are_one_group_and_others_are_not() -> None:
    together = exchanging_groups(body_of((ENDS, (NECK, BODY))))
    assert [members(order) for order in together] == [[SNOUT, NECK, BODY, TAIL_BASE]]
    assert together[0][[SNOUT, NECK, BODY, TAIL_BASE]].tolist() == [TAIL_BASE, BODY, NECK, SNOUT]
    points = exchanged(walk(FRAMES), (ENDS,), STRETCHES)
    points = exchanged(points, ((LEFT_EAR, RIGHT_EAR),), [(200, 230), (400, 420), (700, 710)])
    (body,) = find_bodies(tracks_of(noisy(points, 0.7)))
    assert sorted(members(order) for order in exchanging_groups(body)) == [
        list(ENDS), [LEFT_EAR, RIGHT_EAR],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_keypoints_of_a_healthy_animal_do_not_exchange(seed: int) -> None:
    (body,) = find_bodies(tracks_of(noisy(walk(FRAMES, seed=seed), 1.0)))
    assert exchanging_pairs(body) == []


def test_a_keypoint_that_jumps_onto_another_is_no_exchange() -> None:
    points = walk(FRAMES)
    for start, end in STRETCHES:
        points[start:end, :, SNOUT] = points[start:end, :, TAIL_BASE]
    (body,) = find_bodies(tracks_of(noisy(points, 0.7)))
    assert exchanging_pairs(body) == []
