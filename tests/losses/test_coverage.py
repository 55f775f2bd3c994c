"""Coverage: moving pixels pull the nearest keypoint."""

import math

import pytest
import torch

from lightning_kp.geometry import pixel_centres
from lightning_kp.losses.coverage import coverage_loss


def cell(row: int, column: int, size: int = 8) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size, dtype=torch.float64)
    mask[..., row, column] = 1
    return mask


def centre(row: int, column: int, size: int = 8) -> torch.Tensor:
    grid = pixel_centres(size, like=torch.zeros((), dtype=torch.float64))
    return torch.stack((grid[column], grid[row]))


def test_values_by_hand() -> None:
    one = centre(2, 5).view(1, 1, 2)
    assert coverage_loss(one, cell(2, 5)).item() == pytest.approx(0, abs=1e-5)
    # a second keypoint far away halves the mixture; two columns away are 0.5 normalised units
    two = torch.cat((one, torch.full_like(one, -0.9)), dim=1)
    assert coverage_loss(two, cell(2, 5)).item() == pytest.approx(math.log(2), abs=1e-3)
    assert coverage_loss(one, cell(2, 7), sigma=0.5).item() == pytest.approx(0.5, abs=1e-4)


def test_far_pixels_are_bounded_and_still_images_do_not_count() -> None:
    corner = centre(0, 0).view(1, 1, 2)
    assert coverage_loss(corner, cell(7, 7), sigma=0.05).item() == pytest.approx(-math.log(1e-6), rel=1e-6)
    both = torch.cat((cell(0, 0), torch.zeros_like(cell(0, 0))))
    assert coverage_loss(corner.repeat(2, 1, 1), both).item() == pytest.approx(0, abs=1e-5)
    assert coverage_loss(corner, torch.zeros_like(cell(0, 0))).item() == 0


def test_only_the_nearest_keypoint_is_pulled() -> None:
    """The keypoint of the animal at rest stays; the one near the uncovered pixel moves towards it."""
    points = torch.stack((centre(2, 2), centre(6, 6))).unsqueeze(0).requires_grad_()
    coverage_loss(points, cell(7, 7)).backward()
    assert points.grad is not None
    assert points.grad[0, 0].abs().max() < 1e-4
    assert (points.grad[0, 1] < -1).all()  # descent moves it right and down


def test_gradcheck_and_order_of_keypoints() -> None:
    points = torch.rand(2, 3, 2, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(2, 1, 8, 8, dtype=torch.float64) > 0.5).double()
    assert torch.autograd.gradcheck(lambda p: coverage_loss(p, mask, 0.3), (points,))
    torch.testing.assert_close(coverage_loss(points.flip(1), mask), coverage_loss(points, mask))
