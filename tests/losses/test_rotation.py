"""Rotation equivariance loss: values of the reference on the converted grid, numbers by hand, laws."""

import math

import pytest
import torch
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_kp.geometry import rotate_image, rotate_points
from lightning_kp.heatmaps import reference_amplitude, render_gaussians
from lightning_kp.losses.rotation import rotation_loss

SIZE, VARIANCE = 32, 0.001
TURNS = {"90": 1, "180": 2, "-90": 3}


def draw(seed: int, keypoints: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1.6 * torch.rand(2, keypoints, 2, generator=generator, dtype=torch.float64) - 0.8


def reference_loss(points: Tensor, rotated: Tensor, turns: int) -> Tensor:
    """Loss of the reference, where -1 and +1 are the centres of the border pixels; the peak is the same."""
    shrink = (SIZE - 1) / SIZE  # u_reference = u_project * W / (W - 1), and the width with it
    return rotation_loss(
        shrink * points, shrink * rotated, turns, (SIZE, SIZE),
        variance=shrink**2 * VARIANCE, amplitude=reference_amplitude(VARIANCE),
    )  # fmt: skip


@pytest.mark.parametrize("degrees", TURNS)
def test_reference_values(goldens: Goldens, degrees: str) -> None:
    golden = {name: torch.from_numpy(value) for name, value in goldens("rotation_loss").items()}
    points = torch.stack((golden["u_x"], golden["u_y"]), dim=-1)
    x = golden[f"px_{degrees}"].clone().requires_grad_()
    y = golden[f"py_{degrees}"].clone().requires_grad_()
    loss = reference_loss(points, torch.stack((x, y), dim=-1), TURNS[degrees])
    # The reference resamples the map, while this project turns the points.
    torch.testing.assert_close(loss.detach(), golden[f"loss_{degrees}"], rtol=1e-5, atol=1e-5)
    loss.backward()
    torch.testing.assert_close(x.grad, golden[f"gradpx_{degrees}"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(y.grad, golden[f"gradpy_{degrees}"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("degrees", TURNS)
def test_reference_agrees_where_turned_points_lie(goldens: Goldens, degrees: str) -> None:
    golden = {name: torch.from_numpy(value) for name, value in goldens("rotation_loss").items()}
    points = torch.stack((golden["u_x"], golden["u_y"]), dim=-1)
    expected = torch.stack((golden[f"equiv_x_{degrees}"], golden[f"equiv_y_{degrees}"]), dim=-1)
    torch.testing.assert_close(rotate_points(points, TURNS[degrees]), expected, rtol=0, atol=1e-6)
    image = torch.from_numpy(golden["img_u8"].numpy()).permute(2, 0, 1)
    turned = torch.from_numpy(golden[f"img_rot_{degrees}"].numpy()).permute(2, 0, 1)
    assert torch.equal(rotate_image(image, TURNS[degrees]), turned)


def test_one_pixel_by_hand() -> None:
    """A map of one pixel samples each Gaussian at the image centre."""
    points, rotated = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.3, 0.4]]])
    loss = rotation_loss(points, rotated, 1, (1, 1), variance=0.25, amplitude=2.0)
    assert loss.item() == pytest.approx(4 * (1 - math.exp(-0.25 / (2 * 0.25))) ** 2, rel=1e-5)


def test_quarter_turn_is_counter_clockwise() -> None:
    """A point on the right is found at the top of the image turned once."""
    right, top = torch.tensor([[[0.5, 0.0]]]), torch.tensor([[[0.0, -0.5]]])
    assert rotation_loss(right, top, 1, (16, 16), variance=0.05).item() == 0
    assert rotation_loss(right, -top, 1, (16, 16), variance=0.05).item() > 0.1


@given(st.integers(0, 1000), st.integers(1, 3))
def test_equivariant_points_cost_nothing(seed: int, turns: int) -> None:
    points = draw(seed)
    assert rotation_loss(points, rotate_points(points, turns), turns, (12, 12)).item() < 1e-20
    assert rotation_loss(points, rotate_points(points, turns + 1), turns, (12, 12)).item() > 0


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3))
def test_turning_both_sides_changes_nothing(seed: int, turns: int, more: int) -> None:
    points, rotated = draw(seed), draw(seed + 1)
    loss = rotation_loss(points, rotated, turns, (12, 12))
    both = rotation_loss(rotate_points(points, more), rotate_points(rotated, more), turns, (12, 12))
    torch.testing.assert_close(both, loss)


@given(st.integers(0, 1000), st.integers(1, 3))
def test_turning_points_turns_their_maps(seed: int, turns: int) -> None:
    points = draw(seed)
    turned = rotate_image(render_gaussians(points, (12, 12), 0.1), turns)
    torch.testing.assert_close(render_gaussians(rotate_points(points, turns), (12, 12), 0.1), turned)


def test_the_amplitude_counts_squared() -> None:
    points, rotated = draw(0), draw(1)
    one, three = (rotation_loss(points, rotated, 1, (16, 16), amplitude=a) for a in (1.0, 3.0))
    torch.testing.assert_close(three, 9 * one)
    default = rotation_loss(points, rotated, 1, (16, 16), variance=0.01)
    torch.testing.assert_close(default, rotation_loss(points, rotated, 1, (16, 16), variance=0.01,
                                                      amplitude=1 / math.sqrt(2 * math.pi * 0.01)))  # fmt: skip


def test_the_upright_points_are_labels() -> None:
    points, rotated = draw(0).requires_grad_(), draw(1).requires_grad_()
    rotation_loss(points, rotated, 1, (16, 16), variance=0.05).backward()
    assert points.grad is None
    assert rotated.grad is not None
    assert rotated.grad.abs().sum() > 0


def test_gradients_are_those_of_the_formula() -> None:
    points, rotated = draw(0), draw(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: rotation_loss(points, q, 3, (6, 6), variance=0.1), (rotated,))


def test_another_number_of_points_is_refused() -> None:
    with pytest.raises(RuntimeError):
        rotation_loss(draw(0, keypoints=3), draw(0, keypoints=4), 1, (8, 8))
