"""Bodies are regions without limbs, ghosts and gaps; tracklets end where bodies merge."""

import numpy as np

from lightning_kp.inspection.bodies import find_bodies, link_bodies, without_needless_channels


def body(x: float, area: float = 100, grey: float = 30) -> list[float]:
    return [area, x, 50.0, 10.0, grey]


def test_colours_are_kept_where_there_are_any() -> None:
    grey = np.full((4, 8, 8, 3), 90, dtype=np.uint8)
    assert without_needless_channels(grey).shape == (4, 8, 8, 1)
    grey[2, 3, 3] = (90, 100, 110)
    assert without_needless_channels(grey).shape == (4, 8, 8, 3)


def test_the_parts_of_a_spotted_animal_are_one_body_and_its_tail_is_none() -> None:
    background = np.full((60, 60, 3), 120, dtype=np.uint8)
    image = background.copy()
    image[20:36, 20:30] = image[20:36, 31:41] = (20, 40, 60)  # a stripe as light as the floor between them
    image[27:29, 41:56] = (20, 40, 60)  # a tail
    mask = (image != background).any(axis=-1)
    (bodies,) = find_bodies(mask[None], image[None], background, size=18.0)
    ((area, x, y, length, *look),) = bodies.tolist()
    assert 16 * 20 <= area <= 16 * 25  # opening rounds the corners, closing fills the stripe
    assert (round(x), round(y)) == (30, 28)
    assert 20 <= length <= 26
    assert np.allclose(look, (25, 44, 63), atol=6)  # the stripe is part of it


def test_the_place_that_an_animal_has_left_is_no_body() -> None:
    background = np.full((40, 60, 1), 120, dtype=np.uint8)
    background[10:20, 10:20] = 20  # where it lay when the background was learnt
    image = np.full((40, 60, 1), 120, dtype=np.uint8)
    image[10:20, 40:50] = 20
    mask = (image != background).any(axis=-1)
    (bodies,) = find_bodies(mask[None], image[None], background, size=10.0)
    assert [row[1] for row in bodies.tolist()] == [44.5]


def test_tracklets_follow_bodies_and_end_where_they_merge() -> None:
    frames = [
        np.array([body(20), body(60)]),
        np.array([body(59), body(22)]),
        np.array([body(40, area=210)]),  # more than twice the area of each
        np.array([body(24), body(57)]),
        np.array(
            [body(50), body(24, grey=200)]
        ),  # the other one is 7 away; a jump of colour alone may be a turn
    ]
    numbers = [each.tolist() for each in link_bodies(frames)]
    assert numbers == [[0, 1], [1, 0], [2], [3, 4], [4, 3]]


def test_a_body_that_jumps_is_another() -> None:
    numbers = link_bodies([np.array([body(20)]), np.array([body(36)]), np.array([body(34.9 + 15)])])
    assert [each.tolist() for each in numbers] == [[0], [1], [1]]  # 1.6 and 1.39 lengths
