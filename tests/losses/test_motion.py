"""Terms on moving regions: moving pixels pull the nearest keypoint, and heatmaps are pulled to them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.losses.motion import coverage_loss, focus_loss, moving_mask

SIZE = 16


def blob(row: int, column: int, *, side: int = 64, bright: float = 0.9, level: float = 0.2) -> Tensor:
    """A bright square of 8 pixels on a grey ground: (1, 3, side, side)."""
    image = torch.full((1, 3, side, side), level)
    image[..., row : row + 8, column : column + 8] = bright
    return image


def peak(row: int, column: int) -> Tensor:
    """A heatmap (1, 1, h, w) with all its mass on one pixel."""
    heatmap = torch.zeros(1, 1, SIZE, SIZE)
    heatmap[..., row, column] = 1
    return heatmap


def test_old_and_new_place_of_a_thing_moved() -> None:
    mask = moving_mask(blob(8, 8), blob(8, 40), (SIZE, SIZE))
    assert mask.shape == (1, 1, SIZE, SIZE)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    cells = mask[0, 0]
    assert cells[2:4, 2:4].all()  # pixels 8 to 16 at stride 4
    assert cells[2:4, 10:12].all()
    assert not cells[10:].any()


def test_a_faint_thing_counts_beside_a_bright_one() -> None:
    """A faint animal counts too: the threshold is the noise and not the greatest change."""
    frame = blob(8, 8).maximum(blob(40, 8, bright=0.26))
    future = blob(8, 40).maximum(blob(40, 40, bright=0.26))
    assert moving_mask(frame, future, (SIZE, SIZE))[0, 0, 10:12, 2:4].all()


@pytest.mark.parametrize("change", [0.0, 0.05])
def test_nothing_moved_and_flicker_are_not_motion(change: float) -> None:
    """A brighter image as a whole changes the median over space, and counts as noise."""
    assert not moving_mask(blob(8, 8), blob(8, 8) + change, (SIZE, SIZE)).any()


def test_sensor_noise_is_not_motion() -> None:
    torch.manual_seed(0)
    frame = blob(8, 8)
    noise = [0.02 * torch.randn_like(frame) for _ in range(2)]
    assert not moving_mask(frame + noise[0], frame + noise[1], (SIZE, SIZE)).any()
    assert moving_mask(frame + noise[0], blob(8, 40) + noise[1], (SIZE, SIZE)).any()


def test_loss_by_hand() -> None:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., :8] = 1
    inside, outside = peak(3, 3), peak(3, 12)
    assert focus_loss(inside, mask).item() == 0
    assert focus_loss((inside + outside) / 2, mask).item() == pytest.approx(math.log(2))
    two = torch.cat((inside, (inside + 3 * outside) / 4), dim=1)
    assert focus_loss(two, mask).item() == pytest.approx(math.log(4) / 2)
    # half of the mass of the batch on moving pixels is a share of one half, not the mean of 0 and infinity
    assert focus_loss(torch.cat((inside, outside)), mask.repeat(2, 1, 1, 1)).item() == pytest.approx(
        math.log(2)
    )


def test_images_without_motion_do_not_count() -> None:
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[0, :, :, :8] = 1
    heatmaps = torch.cat(((peak(3, 3) + peak(3, 12)) / 2, peak(3, 12)))
    assert focus_loss(heatmaps, mask).item() == pytest.approx(math.log(2))
    assert focus_loss(heatmaps, torch.zeros_like(mask)).item() == 0


@pytest.mark.parametrize(
    ("meets_motion_elsewhere", "lower", "upper"), [(True, 0.0, 1e-6), (False, 1e-2, 9.0)]
)
def test_only_a_keypoint_that_never_meets_motion_is_pulled(
    meets_motion_elsewhere: bool, lower: float, upper: float
) -> None:
    """The keypoint of an animal that rests in this pair but moves in the next one stays."""
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[0, ..., :8] = 1
    mask[1, ..., :8] = 1
    if meets_motion_elsewhere:
        mask[1, ..., 8:] = 1
    logits = torch.zeros(2, 1, SIZE * SIZE)
    logits[..., 3 * SIZE + 12] = 20
    logits.requires_grad_()
    focus_loss(logits.softmax(dim=-1).view(2, 1, SIZE, SIZE), mask).backward()
    assert logits.grad is not None
    assert lower <= logits.grad[0].abs().max().item() <= upper


@given(st.integers(0, 1000))
def test_turned_heatmaps_on_turned_masks_cost_the_same(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    heatmaps = torch.rand(2, 3, SIZE * SIZE, generator=generator).softmax(dim=-1).view(2, 3, SIZE, SIZE)
    mask = (torch.rand(2, 1, SIZE, SIZE, generator=generator) > 0.7).float()
    loss = focus_loss(heatmaps, mask)
    torch.testing.assert_close(
        focus_loss(torch.rot90(heatmaps, 1, (2, 3)), torch.rot90(mask, 1, (2, 3))), loss
    )
    assert loss.item() >= 0


def test_gradients_are_those_of_the_formula() -> None:
    logits = torch.randn(1, 2, 9, dtype=torch.float64, requires_grad=True)
    mask = torch.eye(3, dtype=torch.float64).view(1, 1, 3, 3)
    assert torch.autograd.gradcheck(lambda z: focus_loss(z.softmax(dim=-1).view(1, 2, 3, 3), mask), (logits,))


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(RuntimeError):
        focus_loss(peak(3, 3), torch.ones(1, 1, 8, 8))


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
