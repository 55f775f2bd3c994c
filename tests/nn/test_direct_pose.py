"""DirectPose's network: shapes, initial scores, and the alignment, which samples where the coarse step points."""

import pytest
import torch

from lightning_kp.nn.direct_pose import Branches, DirectPoseNet, KeypointAlignment, PyramidLevel


def pyramid() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.rand(2, 8, 16, 12), torch.rand(2, 12, 8, 6), torch.rand(2, 16, 4, 3)]


def test_branches_share_one_size() -> None:
    net = DirectPoseNet((8, 12, 16), keypoints=5, width=8, convolutions=2, per_keypoint=4, reach=0.1)
    found = net(pyramid())
    assert found.keypoints.shape == found.boxes.shape == (2, 5, 16, 12)
    assert found.vectors.shape == found.points.shape == (2, 5, 2, 16, 12)
    assert float(found.boxes.detach().sigmoid().mean()) == pytest.approx(0.01, rel=0.5)
    assert float(found.vectors.detach().abs().max()) < 0.1


def test_points_are_vectors_from_the_cells() -> None:
    zero = torch.zeros(1, 1, 2, 2, 4)
    found = Branches(zero, zero, zero).points[0, 0]
    assert found[:, 0, 0].tolist() == [-0.75, -0.5]
    assert found[:, 1, 3].tolist() == [0.75, 0.5]


def test_coarser_levels_reach_the_finest() -> None:
    level = PyramidLevel((8, 12, 16), 8)
    maps = pyramid()
    before = level(maps)
    maps[2] = maps[2] + 1
    assert not torch.allclose(level(maps), before)


def test_every_parameter_learns() -> None:
    net = DirectPoseNet((8, 12, 16), keypoints=2, width=8, convolutions=1, per_keypoint=4, reach=0.1)
    found = net(pyramid())
    sum(each.square().sum() for each in found).backward()  # type: ignore[union-attr]  # tensors add up to one
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_the_second_step_reads_where_the_first_one_points() -> None:
    """A feature lies two cells to the right and one below; only an offset of this size reaches it."""
    step = KeypointAlignment(width=1, keypoints=1, per_keypoint=1, reach=0.5)
    features = torch.zeros(1, 1, 8, 8)
    features[0, 0, 4, 5] = 1.0
    with torch.no_grad():
        for layer in (step.coarse, step.reduce, step.fine):
            layer.weight.zero_()
            layer.bias.zero_()
        step.reduce.weight.fill_(1.0)
        step.aligned.fill_(1.0)
        step.fine.weight.fill_(1.0)
        step.coarse.bias.copy_(
            torch.tensor([1.0, 0.5])
        )  # x, y in units of reach: 0.5 and 0.25, two cells and one
        found = step(features)[0, 0]
    # At row 3, column 3 the coarse vector (0.5, 0.25) and a fine one of 1 reach on both axes.
    torch.testing.assert_close(found[:, 3, 3], torch.tensor([1.0, 0.75]))
    torch.testing.assert_close(found[:, 3, 4], torch.tensor([0.5, 0.25]))


def test_vectors_keep_their_length_at_any_size() -> None:
    """Offsets are normalised: the same weights reach as far in a larger grid."""
    step = KeypointAlignment(width=1, keypoints=1, per_keypoint=1, reach=0.5)
    with torch.no_grad():
        step.coarse.weight.zero_()
        step.fine.weight.zero_()
        step.coarse.bias.fill_(1.0)
        for size in (8, 16):
            torch.testing.assert_close(
                step(torch.zeros(1, 1, size, size)), torch.full((1, 1, 2, size, size), 0.5)
            )
