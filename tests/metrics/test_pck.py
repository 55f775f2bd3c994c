"""Metrics by hand, against independent references, and on two processes."""

from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from golden_values import Goldens
from one_instance import keypoints
from torch import tensor
from two_processes import on_two_processes

from lightning_kp.errors import ConfigurationError
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.mpjpe import MPJPE, PAMPJPE
from lightning_kp.metrics.pck import PCK, GreedyPCK, Matching

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


# Procrustes


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


@pytest.mark.parametrize("matching", ["any", "one_to_one"])
@pytest.mark.parametrize("threshold", [0.1, 0.2])
def test_golden_greedy_pck(goldens: Goldens, matching: Matching, threshold: float) -> None:
    values = {name: torch.from_numpy(value) for name, value in goldens("stills/greedy_pck").items()}
    predicted = Keypoints(values["predicted_px"].unsqueeze(1), torch.ones(12, 1, 5))
    labelled = Keypoints(values["labelled_px"].unsqueeze(1), values["visible"].double().unsqueeze(1))
    metric = GreedyPCK(5, threshold, matching)
    for rows in (slice(0, 5), slice(5, 12)):
        both = [Keypoints(*(field[rows] for field in each)) for each in (predicted, labelled)]
        metric.update(*both, values["shorter_side_px"][rows])
    torch.testing.assert_close(
        metric.compute().double(), values[f"{matching}_{threshold}"], rtol=1e-6, atol=1e-7
    )


def test_a_prediction_that_is_absent_is_a_miss() -> None:
    metric = GreedyPCK(2)
    points = torch.zeros(1, 1, 2, 2)
    metric.update(
        Keypoints(points, torch.tensor([[[1.0, 0.0]]])), Keypoints(points, torch.ones(1, 1, 2)), torch.ones(1)
    )
    assert metric.compute().tolist() == [1, 0]


def test_a_matching_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="any or one_to_one, got 'best'"):
        GreedyPCK(2, matching="best")  # type: ignore[arg-type]
