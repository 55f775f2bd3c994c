"""Hiding other animals in the square of one."""

import numpy as np
import pytest

from lightning_kp.frames.other_animals import hide_others
from lightning_kp.geometry import place
from lightning_kp.images.resize import prepare
from lightning_kp.motion.boxes import Ellipse

SIZE = (120, 160)
FLOOR = np.full((60, 80, 3), 40, np.uint8)  # the background, at half the size of the frames
OWN = Ellipse((60.0, 60.0), (100.0, 25.0, 0.0))


def frame_with(*bodies: tuple[Ellipse, int]) -> np.ndarray:
    """A frame of filled ellipses on the floor; one of variances s, t has half axes 2 sqrt(s), 2 sqrt(t)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    frame = np.full((*SIZE, 3), 40, np.uint8)
    for body, grey in bodies:
        (cx, cy), (var_x, var_y, _) = body
        frame[((x - cx) ** 2 / var_x + (y - cy) ** 2 / var_y) <= 4] = grey
    return frame


def test_a_touching_animal_is_hidden_and_the_own_one_is_not() -> None:
    other = Ellipse((60.0, 82.0), (25.0, 25.0, 0.0))  # its outline touches the own one
    placement = place(SIZE, 64, box=(28, 28, 92, 92))
    both = prepare(frame_with((OWN, 200), (other, 220)), placement)
    alone = prepare(frame_with((OWN, 200)), placement)
    shown = hide_others(both, placement, OWN, [other], FLOOR, SIZE)
    assert np.abs(both.astype(int) - alone)[48:].max() == 180
    # Apart from the soft edge, the square shows the own animal alone.
    off = np.abs(shown.astype(int) - alone).max(axis=-1)
    assert off[:40].max() == 0
    assert off[48:].max() <= 10


def test_an_animal_out_of_reach_changes_nothing() -> None:
    placement = place(SIZE, 64, box=(28, 28, 92, 92))
    square = prepare(frame_with((OWN, 200)), placement)
    far = Ellipse((150.0, 20.0), (25.0, 25.0, 0.0))
    assert hide_others(square, placement, OWN, [far], FLOOR, SIZE) is square
    assert hide_others(square, placement, OWN, [], FLOOR, SIZE) is square


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2])
def test_a_turned_body_hides_what_its_ellipse_holds(angle: float) -> None:
    """Both bodies turned about the middle of the square give the turned result: covariances count, not boxes alone."""
    rotation = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))

    def turned(offset: tuple[float, float], variances: tuple[float, float]) -> Ellipse:
        x, y = 60 + rotation @ np.array(offset)
        covariance = rotation @ np.diag(variances) @ rotation.T
        return Ellipse((x, y), (covariance[0, 0], covariance[1, 1], covariance[0, 1]))

    placement = place(SIZE, 64, box=(28, 28, 92, 92))
    white = np.full((64, 64, 3), 255, np.uint8)
    own, other = turned((0, 0), (100, 25)), turned((0, 20), (100, 25))
    shown = hide_others(white, placement, own, [other], FLOOR, SIZE)[..., 0]
    for along, across, expected in (
        (0, 0, 255),
        (0, 20, 40),
        (15, 20, 40),
        (15, 0, 255),
        (0, 4, 255),
        (0, 16, 40),
    ):
        x, y = (60 + rotation @ np.array((along, across)) - 28).astype(int)
        assert abs(int(shown[y, x]) - expected) <= 3, (along, across)
