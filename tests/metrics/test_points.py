"""Metrics by hand, against independent references, and on two processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, tensor
from two_processes import on_two_processes

from lightning_kp.errors import ConfigurationError
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.points import MPJPE, PAMPJPE, PCK, align_similarity


def keypoints(points: Tensor, confidence: Tensor | None = None) -> Keypoints:
    """Points (B, K, D) of one instance, all present unless ``confidence`` says otherwise."""
    seen = torch.ones(points.shape[:-1]) if confidence is None else confidence
    return Keypoints(points.unsqueeze(1), seen.unsqueeze(1))


# PCK


def test_pck_by_hand() -> None:
    # Distances of keypoint 0: 0.1 and 0.5 (a 3-4-5 triangle); keypoint 1: 0 and absent. Radius 0.1 * 2.
    predicted = keypoints(tensor([[[0.1, 0.0], [0.5, 0.5]], [[0.3, 0.4], [0.9, 0.9]]]))
    labelled = keypoints(
        tensor([[[0.0, 0.0], [0.5, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]), tensor([[1.0, 1.0], [1.0, 0.0]])
    )
    metric = PCK(2, threshold=0.1)
    metric.update(predicted, labelled)
    scores = metric.compute()
    assert scores.per_keypoint.tolist() == [0.5, 1.0]
    assert scores.counted.tolist() == [2, 1]
    assert scores.mean == pytest.approx(2 / 3)


def test_pck_border_counts_and_threshold_scales() -> None:
    predicted, labelled = keypoints(tensor([[[0.25, 0.0]]])), keypoints(tensor([[[0.0, 0.0]]]))
    for threshold, hit in ((0.125, 1.0), (0.1249, 0.0)):
        metric = PCK(1, threshold=threshold)
        metric.update(predicted, labelled, 2.0)
        assert metric.compute().mean == hit


def test_pck_length_per_image_and_per_instance() -> None:
    # Both instances of both images are 0.3 off; which ones count depends on their own size.
    labelled = Keypoints(torch.zeros(2, 2, 1, 2), torch.ones(2, 2, 1))
    predicted = labelled._replace(points=tensor([0.3, 0.0]).expand(2, 2, 1, 2))
    for length, share in (
        (tensor([1.0, 0.5]), 0.5),
        (tensor([[1.0, 0.5], [0.5, 0.5]]), 0.25),
        (tensor([[1.0, 0.5], [1.0, 1.0]]), 0.75),
    ):
        metric = PCK(1, threshold=0.5)
        metric.update(predicted, labelled, length)
        assert metric.compute().mean == share


def test_pck_absent_prediction_is_a_miss() -> None:
    points = tensor([[[0.0, 0.0], [0.0, 0.0]]])
    metric = PCK(2)
    metric.update(keypoints(points, tensor([[1.0, 0.0]])), keypoints(points))
    assert metric.compute().per_keypoint.tolist() == [1.0, 0.0]


def test_pck_without_any_labelled_point_is_nan() -> None:
    metric = PCK(1)
    metric.update(keypoints(torch.zeros(1, 1, 2)), keypoints(torch.zeros(1, 1, 2), torch.zeros(1, 1)))
    assert metric.compute().mean.isnan()


# MPJPE


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


# Procrustes


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


# Use on batches and processes


def drawn(seed: int, images: int = 24) -> tuple[Keypoints, Keypoints]:
    """Two discovered points, and three labelled ones that depend on them, some absent."""
    random = torch.Generator().manual_seed(seed)
    discovered = torch.rand(images, 1, 2, 2, generator=random) - 0.5
    labelled = torch.cat((discovered, discovered.flip(2).mean(dim=2, keepdim=True)), dim=2)
    labelled = labelled + 0.1 * torch.randn(labelled.shape, generator=random)
    confidence = (torch.rand(images, 1, 3, generator=random) > 0.2).float()
    return Keypoints(discovered, torch.ones(images, 1, 2)), Keypoints(labelled, confidence)


def portion(pair: tuple[Keypoints, Keypoints], part: slice) -> tuple[Keypoints, Keypoints]:
    return Keypoints(*(x[part] for x in pair[0])), Keypoints(*(x[part] for x in pair[1]))


def test_wrong_use_is_refused() -> None:
    discovered, labelled = drawn(0)
    with pytest.raises(ConfigurationError, match=r"\(24, 1, 2, 2\) and \(24, 1, 3, 2\)"):
        PCK(2).update(discovered, labelled)
    with pytest.raises(ConfigurationError, match=r"\(B, I, 5, D\)"):
        MPJPE(5).update(labelled, labelled)


# Two processes


def measure(rank: int, world: int) -> dict[str, list[float]]:
    """Every metric on this process's share: 7 of 24 images for process 0, the rest for process 1."""
    share = slice(None) if world == 1 else (slice(0, 7), slice(7, None))[rank]
    _, labelled = portion(drawn(1), share)
    results = {}
    for name, average in {"pck": PCK(3, 0.05), "mpjpe": MPJPE(3), "pa": PAMPJPE(3)}.items():
        average.update(Keypoints(labelled.points.flip(2), labelled.confidence), labelled)
        results[name] = average.compute()
    return {name: [score.mean.item(), *score.per_keypoint.tolist()] for name, score in results.items()}


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    expected = measure(0, 1)
    assert len(expected) == 3
    for rank, found in enumerate(on_two_processes(measure, tmp_path)):
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, rel=1e-6), (rank, name)
