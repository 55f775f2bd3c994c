"""Separation loss: values and gradients of the reference, numbers worked out by hand, laws."""

import math

import pytest
import torch
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_kp.losses.separation import separation_loss

SIGMA = 0.08


def draw(seed: int, batch: int = 2, keypoints: int = 5, spread: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * (2 * torch.rand(batch, keypoints, 2, generator=generator, dtype=torch.float64) - 1)


@pytest.mark.parametrize("keypoints", [4, 10])
def test_reference_values(goldens: Goldens, keypoints: int) -> None:
    golden = {name: torch.from_numpy(value) for name, value in goldens("separation_loss").items()}
    x = golden[f"px_K{keypoints}"].clone().requires_grad_()
    y = golden[f"py_K{keypoints}"].clone().requires_grad_()
    loss = 0.05 * separation_loss(torch.stack((x, y), dim=-1), SIGMA)
    torch.testing.assert_close(loss.detach(), golden[f"loss_K{keypoints}"], rtol=1e-5, atol=1e-6)
    loss.backward()
    torch.testing.assert_close(x.grad, golden[f"gradx_K{keypoints}"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(y.grad, golden[f"grady_K{keypoints}"], rtol=1e-5, atol=1e-6)


def test_two_points_one_sigma_apart_by_hand() -> None:
    points = torch.tensor([[[0.1, 0.3], [0.1, 0.3 + SIGMA]]])
    assert separation_loss(points, SIGMA).item() == pytest.approx(2 * math.exp(-0.5) / 2**2, rel=1e-5)


def test_mean_over_the_batch_by_hand() -> None:
    together, apart = torch.zeros(3, 2), torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    loss = separation_loss(torch.stack((together, apart)), SIGMA)
    assert loss.item() == pytest.approx((3 * 2 / 3**2 + 0) / 2)


def test_one_keypoint_has_nothing_to_be_apart_from() -> None:
    assert separation_loss(torch.rand(4, 1, 2)).item() == 0


@given(st.integers(0, 1000), st.permutations(range(5)))
def test_order_does_not_matter(seed: int, order: list[int]) -> None:
    points = draw(seed)
    torch.testing.assert_close(separation_loss(points[:, order]), separation_loss(points))


@given(st.integers(0, 1000), st.floats(-1, 1), st.floats(-1, 1), st.floats(0.2, 5))
def test_only_distances_in_units_of_sigma_matter(seed: int, x: float, y: float, scale: float) -> None:
    points = draw(seed)
    moved = scale * points + torch.tensor([x, y], dtype=torch.float64)
    torch.testing.assert_close(separation_loss(moved, scale * SIGMA), separation_loss(points, SIGMA))


@given(st.integers(0, 1000))
def test_bounded_by_the_share_of_pairs_of_different_points(seed: int) -> None:
    assert 0 < separation_loss(draw(seed)).item() < 5 * 4 / 5**2


def test_independent_of_the_number_of_keypoints() -> None:
    """Points spread alike over the image have one loss however many they are; the sum of eq. 5.3 grows by 16 here."""
    generator = torch.Generator().manual_seed(0)
    few, many = (2 * torch.rand(4000, keypoints, 2, generator=generator) - 1 for keypoints in (8, 32))
    # The mean over K^2 counts the K pairs of a point with itself as 0, and so falls short by the factor 1 - 1 / K.
    ratio = separation_loss(many, 0.3) / separation_loss(few, 0.3)
    assert ratio.item() == pytest.approx((1 - 1 / 32) / (1 - 1 / 8), rel=0.02)


def test_a_step_downhill_moves_neighbours_apart() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.05, 0.0]]], requires_grad=True)
    separation_loss(points, SIGMA).backward()
    assert points.grad is not None
    assert points.grad[0, 0, 0] > 0  # descent moves it to the left, away from the other point
    torch.testing.assert_close(points.grad[0, 0], -points.grad[0, 1])


def test_coincident_points_have_a_finite_gradient() -> None:
    points = torch.zeros(1, 3, 2, requires_grad=True)
    separation_loss(points, SIGMA).backward()
    assert points.grad is not None
    assert torch.equal(points.grad, torch.zeros(1, 3, 2))


def test_gradients_are_those_of_the_formula() -> None:
    assert torch.autograd.gradcheck(separation_loss, (draw(3).requires_grad_(),))


def test_a_missing_point_is_noticed() -> None:
    """NaN must not vanish in the sum, so that the check of the training step can name the term."""
    points = draw(0)
    points[0, 0, 0] = float("nan")
    assert separation_loss(points).isnan()
