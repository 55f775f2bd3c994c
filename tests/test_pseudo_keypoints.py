"""What B2 and B3 agree on, and the map made of it: by hand, with gradients."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from lightning_kp.direct_pose_targets import pose_targets
from lightning_kp.keypoints import Keypoints
from lightning_kp.pseudo_keypoints import PseudoKeypoints, pseudo_keypoints, pseudo_target

SHAPE = (1, 1, 4, 4)  # a cell is half wide; centres at -0.75, -0.25, 0.25, 0.75


def one(x: float, y: float, score: float) -> PseudoKeypoints:
    return PseudoKeypoints(
        tensor([[0, 0, 0, 0]]), tensor([[x, y]], dtype=torch.float64), tensor([score]).double()
    )


def test_selects_cells_above_the_threshold() -> None:
    scores = torch.zeros(2, 2, 3, 3)
    scores[0, 1, 2, 0], scores[1, 0, 1, 1], scores[1, 1, 0, 0] = 0.9, 0.5, 0.05
    points = torch.arange(2 * 2 * 2 * 9, dtype=torch.float32).view(2, 2, 2, 3, 3)
    found = pseudo_keypoints(scores, points, 0.05)
    assert found.cell.tolist() == [[0, 1, 2, 0], [1, 0, 1, 1]]
    torch.testing.assert_close(found.score, tensor([0.9, 0.5]))
    assert found.point.tolist() == [[24.0, 33.0], [40.0, 49.0]]


def test_no_gradient_reaches_the_scores() -> None:
    scores = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    points = torch.zeros(1, 1, 2, 2, 2, requires_grad=True)
    found = pseudo_keypoints(scores, points, 0.1)
    (pseudo_target(found, (1, 1, 2, 2)).sum() + found.point.sum()).backward()
    assert scores.grad is None
    assert points.grad is not None


def test_map_by_hand() -> None:
    middle = pseudo_target(one(-0.25, 0.25, 0.8), SHAPE)[0, 0]  # the centre of the cell in row 2, column 1
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[1:4, 0:3] = 0.8
    torch.testing.assert_close(middle, expected)
    # A tenth of a cell to the right: the left edge loses a tenth, the next column gains one.
    moved = pseudo_target(one(-0.2, 0.25, 1.0), SHAPE)[0, 0]
    torch.testing.assert_close(moved[2], tensor([0.9, 1.0, 1.0, 0.1], dtype=torch.float64))


def test_the_highest_score_counts_where_squares_overlap() -> None:
    cell = tensor([[0, 0, 0, 0]] * 2)
    points = tensor([[-0.25, -0.25], [0.25, -0.25]], dtype=torch.float64)
    both = pseudo_target(PseudoKeypoints(cell, points, tensor([0.3, 0.6]).double()), SHAPE)[0, 0]
    torch.testing.assert_close(both[1], tensor([0.3, 0.6, 0.6, 0.6], dtype=torch.float64))


def test_points_outside_leave_no_mark() -> None:
    for place in (-3.0, 50.0, 1e9):
        assert not pseudo_target(one(place, 0.0, 1.0), SHAPE).any()


def test_nothing_found_is_an_empty_map() -> None:
    found = pseudo_keypoints(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 2, 3, 3), 0.05)
    assert not pseudo_target(found, (1, 2, 3, 3)).any()


def test_gradients_reach_the_points() -> None:
    torch.manual_seed(0)
    cell = torch.zeros(3, 4, dtype=torch.long)
    points = (torch.rand(3, 2, dtype=torch.float64) - 0.5).requires_grad_()
    score = torch.rand(3, dtype=torch.float64)
    weight = torch.rand(SHAPE, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda at: (pseudo_target(PseudoKeypoints(cell, at, score), SHAPE) * weight).sum(), (points,)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 7), st.integers(0, 7))
def test_at_a_cells_centre_it_is_the_target_of_a_label(column: int, row: int) -> None:
    at = tensor([[(2 * column + 1) / 8 - 1, (2 * row + 1) / 8 - 1]])
    label = pose_targets(Keypoints(at.view(1, 1, 1, 2), torch.ones(1, 1, 1)), (8, 8))
    found = PseudoKeypoints(tensor([[0, 0, row, column]]), at, tensor([1.0]))
    torch.testing.assert_close(pseudo_target(found, (1, 1, 8, 8)), label.keypoints)
