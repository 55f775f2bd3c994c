"""G, U and P worked out by hand, and their equivariance to the positions of the animals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.keypoints import Keypoints, from_missing
from lightning_kp.losses.direct_pose import (
    PoseTargets,
    PseudoKeypoints,
    pose_targets,
    pseudo_keypoints,
    pseudo_target,
)

SHAPE = (1, 1, 4, 4)  # a cell is half wide; centres at -0.75, -0.25, 0.25, 0.75

NAN = float("nan")
GRID = (8, 8)  # a cell is a quarter wide; the centre of cell i lies at (2 i + 1) / 8 - 1


def centre(column: int, row: int) -> list[float]:
    return [(2 * column + 1) / 8 - 1, (2 * row + 1) / 8 - 1]


def labelled(*animals: list[list[float]]) -> Keypoints:
    return from_missing(torch.tensor([animals]))


def cells(values: Tensor) -> list[tuple[int, int]]:
    """(row, column) of all non-zero cells."""
    return [(row, column) for row, column in values.nonzero().tolist()]


def test_windows_and_boxes_by_hand() -> None:
    found = pose_targets(labelled([centre(2, 1), centre(5, 1)]), GRID, window=1, margin=1.0)
    assert cells(found.keypoints[0, 0]) == [(row, column) for row in (0, 1, 2) for column in (1, 2, 3)]
    box = [(row, column) for row in (0, 1, 2) for column in range(1, 7)]
    assert cells(found.boxes[0, 0]) == cells(found.boxes[0, 1]) == box
    assert found.counted.all()
    assert torch.equal(found.known, found.boxes.bool())


def test_a_window_has_as_many_cells_wherever_it_lies() -> None:
    for shift in (0.0, 0.05, 0.124, 0.125, 0.2):
        point = torch.tensor(centre(3, 4)) + shift
        found = pose_targets(labelled([point.tolist()]), GRID, window=1)
        assert int(found.keypoints.sum()) == 9


def test_vectors_point_at_the_keypoint() -> None:
    found = pose_targets(labelled([centre(2, 1), centre(5, 1)]), GRID)
    torch.testing.assert_close(found.vectors[0, 0, :, 1, 5], torch.tensor([-0.75, 0.0]))
    torch.testing.assert_close(found.vectors[0, 1, :, 2, 5], torch.tensor([0.0, -0.25]))


def test_a_missing_part_is_not_learnt_within_its_animal() -> None:
    found = pose_targets(labelled([centre(2, 1), [NAN, NAN]], [centre(6, 6), centre(6, 5)]), GRID)
    near = [(row, column) for row in (0, 1, 2) for column in (1, 2, 3)]
    assert cells(~found.counted[0, 1]) == near
    assert not found.boxes[0, 1, :3, 1:4].any()
    assert not found.known[0, 1, :3, 1:4].any()
    assert found.counted[0, 0].all()


def test_one_labelled_part_says_nothing_of_where_the_body_is() -> None:
    """Within half an animal no keypoint counts, except in the window and the box of the labelled one."""
    found = pose_targets(labelled([centre(3, 3), [NAN, NAN]]), GRID, window=0, margin=0, reach=0.6)
    near = {(row, column) for row in range(1, 6) for column in range(1, 6)}  # two cells of 0.25 on each side
    assert set(cells(~found.counted[0, 1])) == near
    assert set(cells(~found.counted[0, 0])) == near - {(3, 3)}
    whole = pose_targets(labelled([centre(3, 3), centre(3, 4)]), GRID, reach=0.6)
    assert whole.counted.all()
    long = pose_targets(
        labelled([centre(1, 3), centre(6, 3), [NAN, NAN]]), GRID, window=0, margin=0, reach=0.6
    )
    assert set(cells(~long.counted[0, 2])) == {(3, column) for column in range(1, 7)}


def two_animals_that_overlap() -> Keypoints:
    """A long animal from column 1 to 6 of row 3, and a short one in columns 5 and 6 of rows 3 and 4."""
    return labelled([centre(1, 3), centre(6, 3)], [centre(5, 4), centre(6, 4)])


def test_whose_keypoints_a_cell_names() -> None:
    nearest = pose_targets(two_animals_that_overlap(), GRID, owner="keypoint")
    animal = pose_targets(two_animals_that_overlap(), GRID, owner="animal")
    # Cell (3, 4): the short animal's box (area 0.25 x 0 + its margin) contains it, and its first keypoint is nearest.
    torch.testing.assert_close(nearest.vectors[0, 0, :, 3, 4], torch.tensor([0.25, 0.25]))
    torch.testing.assert_close(nearest.vectors[0, 1, :, 3, 4], torch.tensor([0.5, 0.0]))  # the long one's
    torch.testing.assert_close(animal.vectors[0, :, :, 2, 3], torch.tensor([[-0.5, 0.25], [0.75, 0.25]]))
    assert torch.equal(animal.known, animal.boxes.bool())


def test_an_image_without_animals() -> None:
    found = pose_targets(labelled([[NAN, NAN]]), GRID, owner="animal")
    assert not found.boxes.any()
    assert not found.keypoints.any()
    assert not found.known.any()
    assert found.counted.all()
    assert found.vectors.isfinite().all()


@pytest.mark.parametrize("owner", ["keypoint", "animal"])
def test_where_it_points_is_a_keypoint_of_that_kind(owner: str) -> None:
    torch.manual_seed(0)
    given_ = Keypoints(1.6 * torch.rand(2, 6, 3, 2) - 0.8, torch.ones(2, 6, 3))
    found = pose_targets(given_, (16, 12), owner=owner)  # type: ignore[arg-type]  # pytest gives text
    from lightning_kp.nn.direct_pose import Branches

    at = Branches(found.keypoints, found.boxes, found.vectors).points
    apart = at.flatten(3).permute(0, 1, 3, 2).unsqueeze(3) - given_.points.transpose(1, 2).unsqueeze(2)
    nearest = apart.norm(dim=-1).amin(dim=-1).view(found.boxes.shape)
    assert float((nearest * found.known).max()) < 1e-5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["keypoint", "animal"]))
def test_the_order_of_the_animals_plays_no_part(seed: int, owner: str) -> None:
    torch.manual_seed(seed)
    points = 1.6 * torch.rand(1, 5, 3, 2) - 0.8
    seen = torch.ones(1, 5, 3)
    seen[..., 2] = (
        torch.rand(1, 5) > 0.4
    ).float()  # two keypoints are always present, since boxes of a single one have equal areas
    order = torch.randperm(5)
    options = {"owner": owner}
    first: PoseTargets = pose_targets(Keypoints(points, seen), GRID, **options)  # type: ignore[arg-type]
    second: PoseTargets = pose_targets(Keypoints(points[:, order], seen[:, order]), GRID, **options)  # type: ignore[arg-type]
    assert torch.equal(first.known, second.known)
    known = first.known.unsqueeze(2)  # elsewhere a vector has no meaning
    first, second = (each._replace(vectors=each.vectors * known) for each in (first, second))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


def test_a_small_animal_on_a_large_one_keeps_its_cells() -> None:
    large, small = [centre(0, 0), centre(7, 7)], [centre(3, 3), centre(4, 3)]
    for animals in ([large, small], [small, large]):
        found = pose_targets(labelled(*animals), GRID, owner="animal")
        torch.testing.assert_close(found.vectors[0, 0, :, 3, 4], torch.tensor([-0.25, 0.0]))
        torch.testing.assert_close(found.vectors[0, 0, :, 6, 6], torch.tensor([-1.5, -1.5]))


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
