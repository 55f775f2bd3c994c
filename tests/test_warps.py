"""Turns by any angle agree with quarter turns, and points move with the image."""

import math

import pytest
import torch

from lightning_kp.batches import FramePairs
from lightning_kp.geometry import pixel_centres, rotate_image, rotate_points
from lightning_kp.losses.rotation import rotation_loss
from lightning_kp.methods.bkind import BKinD, BKinDWeights
from lightning_kp.warps import FreeTurn, turn_image, turn_points


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
        weights=BKinDWeights(rotation=1.0, separation=0.01),
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
