"""MPJPE and PA-MPJPE: by hand, and against SciPy."""

import numpy as np
import pytest
import torch
from one_instance import keypoints
from torch import Tensor, tensor

from lightning_kp.metrics.mpjpe import MPJPE, PAMPJPE, align_similarity


def test_mpjpe_by_hand() -> None:
    # 3-4-5 and 2-3-6-7 triangles in mm; the third joint is not labelled.
    labelled = keypoints(torch.zeros(1, 3, 3), tensor([[1.0, 1.0, 0.0]]))
    predicted = keypoints(tensor([[[3.0, 0.0, 4.0], [2.0, 3.0, 6.0], [100.0, 0.0, 0.0]]]))
    metric = MPJPE(3)
    metric.update(predicted, labelled)
    scores = metric.compute()
    assert scores.per_keypoint[:2].tolist() == [5.0, 7.0]
    assert scores.per_keypoint[2].isnan()
    assert scores.mean == 6.0


def test_mpjpe_relative_to_the_root() -> None:
    labelled = keypoints(
        tensor([[[1.0, 1.0], [2.0, 1.0]], [[5.0, 5.0], [0.0, 0.0]]]), tensor([[1.0, 1], [0, 1]])
    )
    predicted = keypoints(tensor([[[9.0, 9.0], [10.0, 12.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    metric = MPJPE(2, root=0)
    metric.update(predicted, labelled)
    scores = metric.compute()
    assert scores.per_keypoint.tolist() == [0.0, 3.0]  # (1, 3) against (1, 0)
    assert scores.counted.tolist() == [1, 1]  # the second pose has no root


def rotation_z(degrees: float) -> Tensor:
    angle = torch.deg2rad(tensor(degrees, dtype=torch.float64))
    turn = torch.eye(3, dtype=torch.float64)
    turn[:2, :2] = torch.stack(
        (torch.stack((angle.cos(), -angle.sin())), torch.stack((angle.sin(), angle.cos())))
    )
    return turn


def test_pa_mpjpe_forgives_rotation_scale_and_place() -> None:
    pose = torch.randn(4, 7, 3).double()
    moved = 3.5 * pose @ rotation_z(75.0).T + tensor([10.0, -4.0, 2.0])
    metric = PAMPJPE(7)
    metric.update(keypoints(moved), keypoints(pose))
    assert metric.compute().mean < 1e-5
    torch.testing.assert_close(align_similarity(moved, pose), pose)


def test_pa_mpjpe_never_reflects_by_hand() -> None:
    # The prediction is the mirror image of a cross with arms 2 and 1. A reflection would fit exactly; the
    # best rotation is none (8 - 2 > 0), the best scale (8 - 2) / (8 + 2) = 0.6, which leaves 0.8 on the
    # long arms and 1.6 on the short ones: 1.2 on average.
    cross = tensor([[[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    mirrored = cross * tensor([1.0, -1.0])
    aligned = align_similarity(mirrored, cross)
    torch.testing.assert_close(aligned, (0.6 * mirrored).double())
    metric = PAMPJPE(4)
    metric.update(keypoints(mirrored), keypoints(cross))
    torch.testing.assert_close(metric.compute().per_keypoint, tensor([0.8, 0.8, 1.6, 1.6]))
    assert metric.compute().mean == pytest.approx(1.2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_alignment_agrees_with_scipy(mirrored: bool) -> None:
    transform = pytest.importorskip("scipy.spatial.transform")
    random = np.random.default_rng(4)
    for _ in range(5):
        target, source = random.normal(size=(2, 6, 3))
        if mirrored:
            source = target * [1, 1, -1] + 0.1 * source
        a, b = target - target.mean(axis=0), source - source.mean(axis=0)
        turned = transform.Rotation.align_vectors(a, b)[0].apply(b)
        expected = turned * (turned * a).sum() / (turned * turned).sum() + target.mean(axis=0)
        ours = align_similarity(torch.from_numpy(source), torch.from_numpy(target))
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-9)


def test_alignment_sees_only_present_points() -> None:
    pose = torch.randn(2, 6, 2).double()
    moved = 0.5 * pose @ rotation_z(200.0)[:2, :2].T + 1
    seen = tensor([[1.0, 1, 1, 0, 1, 0], [0.0, 1, 1, 1, 1, 1]])
    spoiled = torch.where(seen.bool().unsqueeze(-1), moved, 50.0)
    aligned = align_similarity(spoiled, pose, seen.bool())
    torch.testing.assert_close(aligned[seen.bool()], pose[seen.bool()])
    metric = PAMPJPE(6)
    metric.update(keypoints(spoiled), keypoints(pose, seen))
    assert metric.compute().mean < 1e-6
    assert metric.compute().counted.tolist() == [1, 2, 2, 1, 2, 1]


def test_pa_mpjpe_ignores_poses_that_any_similarity_fits() -> None:
    metric = PAMPJPE(3)
    metric.update(keypoints(torch.randn(1, 3, 2)), keypoints(torch.randn(1, 3, 2), tensor([[1.0, 1.0, 0.0]])))
    assert metric.compute().counted.sum() == 0


def test_alignment_of_a_collapsed_pose_is_the_mean() -> None:
    target = tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    aligned = align_similarity(torch.full((3, 2), 7.0), target)
    torch.testing.assert_close(aligned, tensor([1.0, 1.0]).double().expand(3, 2))
