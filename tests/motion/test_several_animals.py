"""Several animals over a whole video: identities, touching, distractors, absence."""

import numpy as np
import pytest

from lightning_kp.motion.bodies import Body, find_bodies
from lightning_kp.motion.several_animals import place_animals

SIZE = (120, 160)
FLAT = np.zeros(SIZE)
Ellipse = tuple[float, float, float, float, int]


def bodies_of(*ellipses: Ellipse) -> list[Body]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.full(SIZE, 20, np.uint8)
    for cx, cy, a, b, grey in ellipses:
        image[((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1] = grey
    return find_bodies(image != 20, image, FLAT, 6)


def test_animals_that_cross_keep_their_numbers() -> None:
    """They meet in the middle, one region for a third of the time, and go on in their directions."""
    first = np.stack((np.linspace(20, 140, 61), np.full(61, 55.0)), axis=-1)
    second = np.stack((np.linspace(140, 20, 61), np.full(61, 66.0)), axis=-1)
    frames = [bodies_of((*a, 9, 6, 180), (*b, 9, 6, 180)) for a, b in zip(first, second, strict=True)]
    assert min(map(len, frames)) == 1  # they do merge
    placed = place_animals(frames, 2)
    assert np.isfinite(placed.centre).all()
    np.testing.assert_allclose(placed.centre[:, 0], first, atol=3)
    np.testing.assert_allclose(placed.centre[:, 1], second, atol=3)
    assert 17 <= placed.length <= 20


def test_a_large_thing_that_is_there_for_a_while_is_no_animal() -> None:
    """A cloth of 6 times the area at the beginning, and an animal that is not yet there."""
    frames = []
    for t in range(60):
        x = 20.0 + 2 * t
        here = [(x, 30.0, 9.0, 6.0, 180)]
        here += [(130.0, 95.0, 26.0, 14.0, 120)] if t < 20 else [(140.0 - x / 2, 90.0, 9.0, 6.0, 180)]
        frames.append(bodies_of(*here))
    placed = place_animals(frames, 2)
    seen = np.isfinite(placed.centre[..., 0])
    assert seen[:, 0].all()
    assert not seen[:20, 1].any()
    assert seen[20:, 1].all()


def test_an_animal_that_returns_elsewhere_is_taken_up_again() -> None:
    frames = []
    for t in range(60):
        here = [(20.0 + t, 30.0, 9.0, 6.0, 180)]
        if not 20 <= t < 40:
            here.append((20.0 if t < 20 else 130.0, 90.0, 9.0, 6.0, 180))
        frames.append(bodies_of(*here))
    placed = place_animals(frames, 2)
    seen = np.isfinite(placed.centre[..., 0])
    assert seen[:, 0].all()
    np.testing.assert_array_equal(np.flatnonzero(~seen[:, 1]), np.arange(20, 40))
    np.testing.assert_allclose(placed.centre[50, 1], (130, 90), atol=1)


def test_differing_coats_tell_two_animals_apart_after_both_were_unseen() -> None:
    frames = [bodies_of((30, 30, 9, 6, 220), (30, 90, 9, 6, 90))] * 20 + [[]] * 5
    frames += [bodies_of((30, 90, 9, 6, 220), (30, 30, 9, 6, 90))] * 20
    placed = place_animals(frames, 2)
    np.testing.assert_allclose(placed.centre[0], ((30, 30), (30, 90)), atol=1)
    np.testing.assert_allclose(placed.centre[-1], ((30, 90), (30, 30)), atol=1)


def test_the_number_of_bodies_may_be_below_that_of_animals() -> None:
    placed = place_animals([bodies_of((30 + t, 30, 9, 6, 180)) for t in range(10)], 2)
    seen = np.isfinite(placed.centre[..., 0])
    assert seen.any(axis=1).all()
    assert seen.sum() == 10
    nothing = place_animals([[], []], 2)
    assert np.isnan(nothing.length)
    assert nothing.centre.shape == (2, 2, 2)


@pytest.mark.parametrize("order", [1, -1])
def test_time_may_run_either_way(order: int) -> None:
    frames = [bodies_of((20 + t, 30, 9, 6, 180), (140 - t, 90, 9, 6, 180)) for t in range(40)][::order]
    placed = place_animals(frames, 2)
    assert (np.diff(placed.centre[:, 0, 0]) * order > 0).all()
    assert (placed.centre[:, 0, 1] < placed.centre[:, 1, 1]).all()
