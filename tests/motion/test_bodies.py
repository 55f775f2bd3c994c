"""Moving bodies of a frame, and the division of those that touch."""

import numpy as np
import pytest

from lightning_kp.motion.bodies import PIXEL_VARIANCE, Body, divide, ellipse_distance, find_bodies

SIZE = (60, 80)
FLAT = np.zeros(SIZE)


def painted(*ellipses: tuple[float, float, float, float, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mask and image of filled ellipses, each (x, y, half width, half height, grey value)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.full(SIZE, 20, np.uint8)
    for cx, cy, a, b, grey in ellipses:
        image[((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1] = grey
    return image != 20, image


def test_a_body_has_the_moments_of_its_pixels() -> None:
    mask, image = painted((30, 25, 12, 6, 200))
    (body,) = find_bodies(mask, image, FLAT, 5)
    rows, columns = np.nonzero(mask)
    # The opening removes single pixels of the rim only.
    assert 0.97 * mask.sum() <= body.area <= mask.sum()
    np.testing.assert_allclose(body.centre, (columns.mean(), rows.mean()), atol=0.05)
    assert body.grey == 200
    # A filled ellipse of half axes a, b has variances a^2 / 4 and b^2 / 4.
    np.testing.assert_allclose(np.diag(body.covariance) - PIXEL_VARIANCE, (36, 9), rtol=0.06)
    assert ellipse_distance(np.array((42.0, 25.0)), body.centre, body.covariance) == pytest.approx(4, rel=0.1)


def test_bodies_come_by_size_without_specks() -> None:
    mask, image = painted((15, 30, 6, 6, 90), (50, 30, 12, 8, 200), (72, 5, 1, 1, 250))
    bodies = find_bodies(mask, image, FLAT, 5)
    assert [round(body.grey) for body in bodies] == [200, 90]
    assert [round(body.grey) for body in find_bodies(mask, image, FLAT, 1)] == [200]
    assert find_bodies(np.zeros(SIZE, bool), image, FLAT, 5) == []


def test_a_ghost_is_no_body() -> None:
    """A region without edges in the frame, but with edges in the background, is where something has left."""
    mask, _ = painted((30, 25, 12, 6, 200))
    left = np.full(SIZE, 20, np.uint8)
    edges = np.where(mask, 50.0, 0.0)
    assert find_bodies(mask, left, edges, 5) == []


@pytest.mark.parametrize("off", [0.0, 3.0], ids=["expected exactly", "expected 3 px off"])
def test_touching_animals_are_divided_where_they_meet(off: float) -> None:
    """Two animals head to side, a T: a division half way between their centres would cut the upright one."""
    upright, lying = (30, 20, 5, 14, 180), (42, 42, 16, 5, 180)
    mask, image = painted(upright, (30, 36, 4, 4, 180), lying)
    (merged,) = find_bodies(mask, image, FLAT, 5)
    centres = np.array((upright[:2], lying[:2]), dtype=float) + off
    covariances = np.array([np.diag((a**2 / 4, b**2 / 4)) for _, _, a, b, _ in (upright, lying)])
    first, second = divide(merged, centres, covariances)
    assert first.area + second.area == merged.area
    np.testing.assert_allclose(first.centre, (30, 21.5), atol=1.5)
    np.testing.assert_allclose(second.centre, (42, 42), atol=1.5)
    assert second.covariance[0, 0] > 3 * second.covariance[1, 1]


def test_an_animal_that_takes_no_pixel_stays_where_it_was_expected() -> None:
    mask, image = painted((30, 25, 6, 6, 200))
    (body,) = find_bodies(mask, image, FLAT, 5)
    beside = np.array((135.0, 0.0))
    expected = np.stack((body.centre - beside, body.centre + beside))
    parts: list[Body] = divide(body, expected, np.stack([np.eye(2) * 9, np.eye(2) * 0.3]))
    assert [part.area for part in parts] == [body.area, 0]
    np.testing.assert_allclose(parts[0].centre, body.centre)
    np.testing.assert_allclose(parts[1].centre, expected[1])
