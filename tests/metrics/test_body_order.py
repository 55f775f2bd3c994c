"""Order along the body: keypoints that turn with the animal, and ones that turn with the image."""

import math

import pytest
import torch

from lightning_kp.metrics.body_order import order_kept

NAMES = ("snout", "body", "tail_base")


def turning_body(frames: int = 160) -> torch.Tensor:
    """Snout, body, tail base of an animal that turns once in each half of the frames."""
    angle = 0.01 + torch.linspace(0, 4 * math.pi, frames + 1, dtype=torch.float64)[:-1]
    heading = torch.stack((angle.cos(), angle.sin()), dim=-1)
    return torch.stack((0.2 * heading, 0 * heading, -0.2 * heading), dim=1)


def test_keypoints_fixed_to_the_body_keep_their_order() -> None:
    body = turning_body()
    assert order_kept(body[:, [2, 0]] * 0.8, body, NAMES) == 1


def test_keypoints_fixed_to_the_image_do_not() -> None:
    body = turning_body()
    image = torch.tensor([[0.1, 0.0], [-0.1, 0.0]], dtype=torch.float64).expand(len(body), 2, 2)
    share = order_kept(image, body, NAMES)
    assert math.isnan(share) or share < 0.1


def test_a_swap_in_one_heading_is_seen() -> None:
    body = turning_body()
    points = body[:, [0, 2]].clone()
    points[80:85] = points[80:85].flip(1)  # half of the frames of the first heading of the second half
    assert order_kept(points, body, NAMES) == pytest.approx(0.5)


def test_keypoints_of_another_animal_do_not_count() -> None:
    body = turning_body()
    assert math.isnan(order_kept(body[:, :2] + 1.0, body, NAMES))
    assert math.isnan(order_kept(body, body, ("a", "b", "c")))
