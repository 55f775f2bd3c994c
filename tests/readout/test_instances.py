"""Grouping peaks of different keypoints into animals."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.readout.instances import (
    assign,
    group_peaks,
    order_by_height,
    reorder_animals,
    reorder_peaks,
)


@pytest.mark.parametrize("animals", [1, 2, 3, 4, 6])
def test_assignment_is_that_of_least_cost(animals: int) -> None:
    cost = torch.rand(7, 3, animals, animals)
    columns = assign(cost)
    assert columns.shape == (7, 3, animals)
    for matrix, chosen in zip(cost.flatten(0, 1), columns.flatten(0, 1), strict=True):
        rows, best = linear_sum_assignment(matrix.numpy())
        assert matrix[torch.arange(animals), chosen].sum() == pytest.approx(matrix.numpy()[rows, best].sum())


def scattered(batch: int, animals: int, keypoints: int, apart: float) -> tuple[Tensor, Tensor]:
    """Animals at least ``apart`` from each other, and their keypoints in random order."""
    angle = 2 * torch.pi * (torch.arange(animals) / animals + torch.rand(batch, 1))
    centre = apart * torch.stack((angle.cos(), angle.sin()), dim=-1)
    true = centre.unsqueeze(2) + 0.05 * torch.randn(batch, animals, keypoints, 2)
    shuffle = torch.rand(batch, keypoints, animals).argsort(dim=-1).transpose(1, 2)
    return true, reorder_peaks(true, shuffle)


@pytest.mark.parametrize("animals", [2, 3, 5])
def test_shuffled_keypoints_come_together_again(animals: int) -> None:
    true, seen = scattered(60, animals, 6, 0.6)
    weight = torch.ones(seen.shape[:3])
    grouped = reorder_peaks(seen, group_peaks(seen, weight))
    found = reorder_animals(grouped, order_by_height(grouped, weight))
    expected = reorder_animals(true, order_by_height(true, weight))
    torch.testing.assert_close(found, expected)


def test_absent_peaks_are_left_over() -> None:
    """The second animal's last keypoint is missing; wherever its placeholder lies, the rest stays grouped."""
    true, _ = scattered(40, 2, 4, 0.6)
    weight = torch.ones(true.shape[:3])
    weight[:, 1, 3] = 0
    seen = true.clone()
    seen[:, 1, 3] = true[:, 0, 3]
    swapped = seen.clone()
    swapped[:, :, 1] = seen[:, [1, 0], 1]
    order = group_peaks(swapped, weight)
    grouped, kept = reorder_peaks(swapped, order), reorder_peaks(weight, order)
    spread = (grouped[:, :, :3] - grouped[:, :, :3].mean(dim=2, keepdim=True)).norm(dim=-1)
    assert spread.max() < 0.3
    assert (kept.sum(dim=(1, 2)) == 7).all()
    owner = (grouped[:, 0, :3].mean(dim=1) - true[:, 0].mean(dim=1)).norm(dim=-1) < 0.3
    assert torch.equal(kept[:, 0, 3] == 1, owner)


def test_no_peak_at_all_is_no_error() -> None:
    order = group_peaks(torch.zeros(2, 2, 3, 2), torch.zeros(2, 2, 3))
    assert order.shape == (2, 2, 3)
    assert (order.sort(dim=1).values == torch.arange(2)[:, None]).all()


def test_reordered_by_hand() -> None:
    values = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # two peaks of two keypoints
    order = torch.tensor([[[0, 1], [1, 0]]])
    assert reorder_peaks(values, order).tolist() == [[[1, 4], [3, 2]]]
    assert reorder_peaks(values.unsqueeze(-1), order).squeeze(-1).tolist() == [[[1, 4], [3, 2]]]


def test_order_by_height_counts_what_is_present() -> None:
    points = torch.tensor([[[[0.0, 0.5], [0.0, 0.9]], [[0.0, 0.6], [0.0, -0.9]]]])
    present = torch.ones(1, 2, 2)
    assert order_by_height(points, present).tolist() == [[1, 0]]  # -0.15 above 0.7
    present[0, 1, 1] = 0
    assert order_by_height(points, present).tolist() == [[1, 0]]  # 0.6 is still above 0.7
    present[0, 1, 0] = 0
    assert order_by_height(points, present).tolist() == [[0, 1]]  # nothing of it is seen: last
