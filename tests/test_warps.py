"""Turns by any angle agree with quarter turns, thin-plate splines with golden values; points move with images."""

import math

import pytest
import torch
from golden_values import Goldens
from torch import Tensor

from lightning_kp.batches import FramePairs
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import pixel_centres, rotate_image, rotate_points
from lightning_kp.heatmaps import expectation
from lightning_kp.losses.rotation import rotation_loss
from lightning_kp.methods.bkind import BKinD, BKinDWeights
from lightning_kp.warps import (
    FreeTurn,
    MixedSplines,
    Splines,
    border_mask,
    original_points,
    random_splines,
    turn_image,
    turn_points,
    warp_grid,
    warp_image,
)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_free_turn_by_a_right_angle_is_a_quarter_turn(quarters: int) -> None:
    image, points = torch.rand(2, 3, 16, 16), torch.rand(2, 5, 2) * 2 - 1
    turn = FreeTurn(torch.full((2,), quarters * math.pi / 2))
    torch.testing.assert_close(turn_image(image, turn), rotate_image(image, quarters), rtol=0, atol=1e-5)
    torch.testing.assert_close(turn_points(points, turn), rotate_points(points, quarters), rtol=0, atol=1e-6)
    torch.testing.assert_close(turn_image(image, quarters), rotate_image(image, quarters))


def test_points_go_where_the_image_goes() -> None:
    axis = pixel_centres(64, like=torch.zeros(()))
    spot = torch.exp(-((axis - 0.4) ** 2).view(1, -1) / 0.02 - ((axis - 0.1) ** 2).view(-1, 1) / 0.02)
    turn = FreeTurn(torch.tensor([0.5, -2.0]))
    turned = turn_image(spot.expand(2, 1, 64, 64), turn).squeeze(1)
    total = turned.sum(dim=(1, 2))
    found = torch.stack(
        ((turned * axis).sum(dim=(1, 2)) / total, (turned * axis.view(-1, 1)).sum(dim=(1, 2)) / total), dim=-1
    )
    wanted = turn_points(torch.tensor([[[0.4, 0.1]]]).expand(2, 1, 2), turn)
    torch.testing.assert_close(found, wanted.squeeze(1), rtol=0, atol=0.01)


def test_points_that_leave_the_image_do_not_count() -> None:
    turn = FreeTurn(torch.tensor([math.pi / 4]))
    corner = torch.tensor([[[0.95, 0.95]]])
    rotated = torch.tensor([[[0.2, 0.2]]], requires_grad=True)
    loss = rotation_loss(corner, rotated, turn, (16, 16), variance=0.02, amplitude=1.0)
    loss.backward()
    assert loss == 0
    assert rotated.grad is not None
    assert (rotated.grad == 0).all()


def test_a_method_that_turns_by_any_angle() -> None:
    torch.manual_seed(0)
    method = BKinD(
        keypoints=4, encoder="turning", pretrained=False, target="absolute", reconstruction="structural",
        rotations="any", pose_width=16, sharpness=5.0, decoder_widths=(16, 8, 8),
        variances=(0.1, 0.03, 0.005), unit_amplitude=True, rotation_variance=0.02,
        weights=BKinDWeights(rotation=1.0, mean_separation=0.1),
    )  # fmt: skip
    batch = FramePairs(*torch.rand(2, 3, 3, 64, 64), torch.zeros(3), torch.arange(3))
    loss = method.terms(batch)["rotation"]
    loss.backward()
    assert loss > 0  # quarter turns alone would leave nothing to learn
    weights = method.encoder.stem[0].weight
    assert weights.grad is not None
    assert weights.grad.abs().sum() > 0
    method.eval()
    with torch.no_grad():
        first, second = method.terms(batch)["rotation"], method.terms(batch)["rotation"]
    assert torch.equal(first, second)


SPLINE_TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def spline_values(goldens: Goldens) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in goldens("stills/thin_plate_splines").items()}


@pytest.mark.parametrize(
    ("parameters", "free", "expected"),
    [("displacements", False, "moved"), ("free_weights", True, "moved_free")],
)
def test_splines_move_points_as_the_golden_values_say(
    goldens: Goldens, parameters: str, free: bool, expected: str
) -> None:
    values = spline_values(goldens)
    splines = Splines(values[parameters][None], free)
    once = original_points(values["points"][None], splines)
    doubled = original_points(values["points"][None], splines.scaled(2))
    torch.testing.assert_close(once[0], values[expected], **SPLINE_TOLERANCE)
    torch.testing.assert_close(doubled[0], values[f"{expected}_doubled"], **SPLINE_TOLERANCE)


def test_control_points_go_where_their_displacements_say(goldens: Goldens) -> None:
    values = spline_values(goldens)
    moved = original_points(values["control_points"][None], Splines(values["displacements"][None]))
    torch.testing.assert_close(moved[0], values["control_points"] + values["displacements"])


def test_splines_warp_images_as_the_golden_values_say(goldens: Goldens) -> None:
    values = spline_values(goldens)
    image, splines = values["image"][None], Splines(values["displacements"][None])
    once, doubled = warp_image(image, splines), warp_image(image, splines.scaled(2))
    grid = warp_grid((12, 12), splines, like=image)
    torch.testing.assert_close(grid[0], values["grid"], **SPLINE_TOLERANCE)
    torch.testing.assert_close(once[0], values["warped"], **SPLINE_TOLERANCE)
    torch.testing.assert_close(doubled[0], values["warped_doubled"], **SPLINE_TOLERANCE)
    torch.testing.assert_close(warp_image(once, splines)[0], values["warped_twice"], **SPLINE_TOLERANCE)
    single = warp_image(image.float(), Splines(splines.parameters.float()))
    torch.testing.assert_close(single[0], values["warped"].float(), rtol=0, atol=1e-4)


def test_warped_images_that_are_not_square_read_at_the_original_points() -> None:
    splines = random_splines(2, 4, 0.1, torch.Generator().manual_seed(1))
    shifted = splines._replace(shift=torch.tensor([[0.2, -0.1], [0.0, 0.3]]))
    grid = warp_grid((6, 10), shifted, like=torch.zeros(()))
    y, x = torch.meshgrid(*(pixel_centres(side, like=torch.zeros(())) for side in (6, 10)), indexing="ij")
    centres = torch.stack((x, y), dim=-1).view(1, 60, 2).expand(2, 60, 2)
    torch.testing.assert_close(grid.view(2, 60, 2), original_points(centres, shifted), rtol=0, atol=1e-5)
    still = original_points(centres, splines)
    torch.testing.assert_close(
        original_points(centres, shifted) - still, shifted.shift[:, None].expand(2, 60, 2), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("free", [False, True])
def test_gradients_reach_points_and_parameters_of_splines(free: bool) -> None:
    parameters = torch.randn(2, 9, 2, dtype=torch.float64).mul(0.1).requires_grad_()
    points = (torch.rand(2, 4, 2, dtype=torch.float64) * 2 - 1).requires_grad_()

    def moved(points: Tensor, parameters: Tensor) -> Tensor:
        return original_points(points, Splines(parameters, free))

    assert torch.autograd.gradcheck(moved, (points, parameters))
    at_control_point = torch.zeros(2, 1, 2, requires_grad=True)
    moved(at_control_point, parameters.detach().float()).sum().backward()
    assert at_control_point.grad is not None
    assert torch.isfinite(at_control_point.grad).all()


def test_a_spot_is_found_at_its_original_place() -> None:
    """The direction of the warp: what lies at q in the warped image lies at T(q) in the original one."""
    axis = pixel_centres(64, like=torch.zeros(()))
    spot = torch.exp(-((axis + 0.2) ** 2).view(1, -1) / 0.01 - ((axis - 0.3) ** 2).view(-1, 1) / 0.01)
    splines = random_splines(1, 3, 0.15, torch.Generator().manual_seed(3))
    warped = warp_image(spot.view(1, 1, 64, 64), splines)
    found = expectation(warped / warped.sum())
    original = original_points(found, splines)
    assert (found - torch.tensor([-0.2, 0.3])).abs().max() > 0.05
    torch.testing.assert_close(original[0, 0], torch.tensor([-0.2, 0.3]), rtol=0, atol=0.01)


def test_splines_need_a_square_of_control_points() -> None:
    with pytest.raises(ConfigurationError, match=r"n \* n control points.*got 8"):
        original_points(torch.zeros(1, 1, 2), Splines(torch.zeros(1, 8, 2)))


def test_the_mask_leaves_the_border_out() -> None:
    mask = border_mask((128, 128), like=torch.zeros(()))
    row = mask[0, 0, 64]
    assert (row[:10] == 0).all()
    assert (row[30:98] == 1).all()
    # pixel 10 lies half a pixel inside the rise of 20 px: 0.5 + 0.5 tanh((2 * 0.5 / 20 - 1) / 0.4)
    assert row[10].item() == pytest.approx(0.5 + 0.5 * math.tanh(-0.95 / 0.4), rel=1e-4)
    assert (row[19] + row[20]).item() == pytest.approx(1, abs=1e-6)
    assert mask[0, 0, 20, 20].item() == pytest.approx(row[20].item() ** 2)
    torch.testing.assert_close(mask, mask.flip(-1))
    small = border_mask((64, 96), like=torch.zeros(()))
    assert small.shape == (1, 1, 64, 96)
    assert (small[0, 0, :5] == 0).all()
    assert (small[0, 0, 15:49, 23:73] == 1).all()


def test_mixed_splines_have_the_deviations_that_they_were_given() -> None:
    """Kernel weights from N(0, a) on one half and from N(0, sqrt(a^2 + b^2)) on the other; shifts from N(0, c)."""
    drawn = MixedSplines(10, 0.001, 0.005, 0.1).draw(400, torch.Generator().manual_seed(0))
    assert drawn.free
    assert drawn.parameters.shape == (400, 100, 2)
    assert drawn.parameters.std().item() == pytest.approx(math.sqrt(1e-6 + 0.5 * 25e-6), rel=0.02)
    small = (drawn.parameters.abs() < 0.001).double().mean().item()
    # 68.3 % of one half, and 15.6 % of the other, whose deviation is 0.0051
    assert small == pytest.approx((0.683 + 0.156) / 2, abs=0.01)
    assert drawn.shift is not None
    assert drawn.shift.std().item() == pytest.approx(0.1, rel=0.1)
    again = MixedSplines(10, 0.001, 0.005, 0.1).draw(400, torch.Generator().manual_seed(0))
    assert torch.equal(again.parameters, drawn.parameters)
