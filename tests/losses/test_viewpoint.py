"""Which images are mirrored and how far keypoints are from their labels: golden values of Algorithm 1 and eq. 4.5."""

import pytest
import torch
from golden_values import Goldens

from lightning_kp.losses.viewpoint import facing_one_side, viewpoint_loss


@pytest.mark.parametrize("case", range(4))
def test_golden_values(goldens: Goldens, case: int) -> None:
    values = goldens("stills/viewpoint_and_parts")
    known = {
        name.removeprefix(f"case{case}_"): value for name, value in values.items() if f"case{case}_" in name
    }
    points = torch.from_numpy(known["points"]).requires_grad_()
    numbers = (int(known[name]) for name in ("kw", "ns", "nv"))
    rows, labels = facing_one_side(points, *numbers, side=str(known["side"]))
    assert rows.tolist() == known["chosen"].tolist()
    torch.testing.assert_close(labels, torch.from_numpy(known["labels"]))
    assert not labels.requires_grad
    found = torch.from_numpy(known["found"])
    assert viewpoint_loss(found, labels).item() == pytest.approx(float(known["loss_mse"]), rel=1e-9)
    assert viewpoint_loss(found, labels, "norm").item() == pytest.approx(float(known["loss_norm"]), rel=1e-9)


def test_mirrored_points_that_are_right_cost_nothing() -> None:
    points = torch.rand(6, 4, 2) * 2 - 1
    rows, labels = facing_one_side(points, parts=2, wide=4, mirrored=2, side="left")
    mirrored = points[rows] * torch.tensor([-1, 1])
    assert viewpoint_loss(mirrored, labels).item() == 0
    assert viewpoint_loss(points[rows], labels).item() > 0
    at_label = labels.clone().requires_grad_()
    viewpoint_loss(at_label, labels, "norm").backward()
    assert at_label.grad is not None
    assert at_label.grad.isfinite().all()  # also where a pose is exactly right


def test_the_other_side_of_a_mirrored_batch_is_chosen() -> None:
    points = torch.rand(8, 3, 2) * 2 - 1
    right = facing_one_side(points, 3, 5, 2, "right")
    left = facing_one_side(points * torch.tensor([-1, 1]), 3, 5, 2, "left")
    assert torch.equal(right.rows, left.rows)
    torch.testing.assert_close(right.labels, points[left.rows] * torch.tensor([-1, 1]))
