"""Similarity and average precision: by hand, against a plain version, and on two processes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor
from two_processes import on_two_processes

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import normalise
from lightning_kp.keypoints import Keypoints, bounding_box, box_area, oks
from lightning_kp.metrics.oks import COCO_SIGMA, CROWDPOSE_SIGMA, METRIC_NAMES, OKSAveragePrecision

SIZE = (100, 100)


def posed(points_px: list[object], confidence: list[object] | None = None) -> Keypoints:
    """One image with instances (I, K, 2) in pixels."""
    points = normalise(tensor(points_px, dtype=torch.float64), SIZE).unsqueeze(0)
    seen = torch.ones(points.shape[:-1]) if confidence is None else tensor(confidence).unsqueeze(0)
    return Keypoints(points, seen)


def test_similarity_by_hand() -> None:
    # Keypoint 0: distance 5, (2 sigma)^2 = 0.04, A = 100 -> 25 / 8 = 3.125; keypoint 1: exact; 2: unlabelled.
    found = oks(
        tensor([[3.0, 4.0], [7.0, 7.0], [9.0, 9.0]]), tensor([[0.0, 0.0], [7.0, 7.0], [0.0, 0.0]]),
        tensor([True, True, False]), tensor(100.0), tensor([0.1, 0.1, 0.1]),
    )  # fmt: skip
    assert found.item() == pytest.approx((math.exp(-3.125) + 1) / 2)


def test_nothing_labelled_is_similar_to_nothing() -> None:
    assert oks(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2), tensor(1.0), tensor(1.0)) == 0


@given(st.floats(0.1, 10), st.floats(-50, 50))
def test_neither_scale_nor_place_matters(scale: float, shift: float) -> None:
    one, other = torch.randn(2, 5, 2, dtype=torch.float64)
    present, area = torch.rand(5) > 0.3, tensor(2.0, dtype=torch.float64)
    plain = oks(one, other, present, area, tensor(0.3))
    moved = oks(scale * one + shift, scale * other + shift, present, scale**2 * area, tensor(0.3))
    torch.testing.assert_close(plain, moved)


def test_all_pairs_by_broadcasting() -> None:
    one, other, sigma = torch.randn(3, 4, 2), torch.randn(5, 4, 2), torch.rand(4) + 0.1
    present, area = torch.rand(5, 4) > 0.2, torch.rand(5) + 1
    pairs = oks(one.unsqueeze(1), other, present, area, sigma)
    assert pairs.shape == (3, 5)
    torch.testing.assert_close(pairs[2, 4], oks(one[2], other[4], present[4], area[4], sigma))


def test_box_and_area_of_the_present_points() -> None:
    points = tensor([[1.0, 2.0], [4.0, 8.0], [99.0, 99.0]])
    assert bounding_box(points, tensor([True, True, False])).tolist() == [1, 2, 3, 6]
    assert box_area(points, tensor([True, True, False])) == 18
    assert bounding_box(points, torch.zeros(3, dtype=torch.bool)).tolist() == [0, 0, 0, 0]
    assert box_area(points, tensor([True, False, False])) == 1


def test_published_spreads() -> None:
    assert len(COCO_SIGMA) == 17
    assert len(CROWDPOSE_SIGMA) == 14
    assert COCO_SIGMA[0] == 0.026
    assert COCO_SIGMA[11] == CROWDPOSE_SIGMA[6] == 0.107


# Average precision


def scored(predicted: Keypoints, labelled: Keypoints, **facts: Tensor) -> dict[str, float]:
    metric = OKSAveragePrecision(0.1, keypoints=predicted.points.shape[2])
    metric.update(predicted, labelled, facts.pop("area", None), size=SIZE, **facts)
    return {name: value.item() for name, value in metric.compute().items()}


def test_average_precision_by_hand() -> None:
    # Two labels. The best prediction is right, the second matches nothing, the third is right: precision is
    # 1 up to recall 0.5 and 2/3 beyond. Of 101 recalls 0, 0.01 ... 1 the first 51 lie at 0.5 or below.
    labelled = posed([[[10, 10], [20, 20]], [[60, 60], [70, 70]]])
    predicted = posed(
        [[[60, 60], [70, 70]], [[10, 90], [20, 90]], [[10, 10], [20, 20]]],
        [[0.9, 0.9], [0.5, 0.5], [0.2, 0.2]],
    )
    found = scored(predicted, labelled, area=tensor([[2000.0, 10000.0]]))
    assert found["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert found["AP50"] == pytest.approx(found["AP"])
    assert found["AR"] == 1
    # Areas: the first label is medium (32^2 to 96^2), the second large. Predictions that are neither are ignored.
    assert found["ARM"] == found["ARL"] == 1


def test_thresholds_by_hand() -> None:
    # One label of area 100 and one keypoint 2 px off: exp(-4 / (2 * 100 * 0.04)) = 0.6065, right at 0.5 to 0.6.
    found = scored(posed([[[52, 50]]]), posed([[[50, 50]]]), area=tensor([[100.0]]))
    assert found["AP"] == pytest.approx(0.3)
    assert found["AP50"] == 1
    assert found["AP75"] == 0
    assert math.isnan(found["APM"])


def test_the_finer_score_is_that_of_a_narrower_sigma() -> None:
    predicted, labelled, area = drawn(10)
    both, narrow = (OKSAveragePrecision(0.2, 3, finer=0.5), OKSAveragePrecision(0.1, 3))
    for metric in (both, narrow):
        metric.update(predicted, labelled, area, size=SIZE)
    figures = both.compute()
    assert figures["AP_fine"] == narrow.compute()["AP"] < figures["AP"]


def test_padding_counts_nowhere() -> None:
    labelled = posed([[[10, 10], [20, 20]], [[0, 0], [0, 0]]], [[1.0, 1.0], [0.0, 0.0]])
    predicted = posed([[[10, 10], [20, 20]], [[50, 50], [50, 50]]], [[0.3, 0.3], [0.0, 0.0]])
    found = scored(predicted, labelled)
    assert found["AP"] == found["AR"] == 1


def test_an_absent_predicted_point_is_a_miss() -> None:
    labelled = posed([[[10, 10], [60, 60]]])
    found = scored(posed([[[10, 10], [60, 60]]], [[1.0, 0.0]]), labelled)
    assert found["AP50"] == 1  # half of the points right: OKS 0.5
    assert found["AP75"] == 0


@pytest.mark.parametrize("by_box", [False, True])
def test_what_is_ignored_counts_neither_way(by_box: bool) -> None:
    seen = [[1.0, 1.0], [0.0, 0.0]] if by_box else [[1.0, 1.0], [1.0, 1.0]]
    labelled = posed([[[10, 10], [20, 20]], [[60, 60], [70, 70]]], seen)
    predicted = posed([[[60, 60], [70, 70]], [[10, 10], [20, 20]]], [[0.9, 0.9], [0.5, 0.5]])
    box = tensor([[[10, 10, 10, 10], [60, 60, 10, 10]]])
    found = scored(
        predicted, labelled, ignored=tensor([[False, True]]), box=box, area=tensor([[100.0, 100.0]])
    )
    assert found["AP"] == found["AR"] == 1


def test_a_prediction_in_an_image_without_animals_is_wrong() -> None:
    labels = Keypoints(torch.zeros(2, 1, 1, 2), tensor([[[1.0]], [[0.0]]]))
    predicted = Keypoints(torch.zeros(2, 1, 1, 2), tensor([[[0.4]], [[0.9]]]))
    assert scored(predicted, labels)["AP"] == pytest.approx(0.5)


def test_without_labels_there_is_no_figure() -> None:
    empty = Keypoints(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2))
    assert all(math.isnan(value) for value in scored(empty, empty).values())


def drawn(images: int, seed: int = 0) -> tuple[Keypoints, Keypoints, Tensor]:
    """Crowds of up to 4 animals with 3 keypoints, found more or less well."""
    generator = torch.Generator().manual_seed(seed)
    points = 1.6 * torch.rand(images, 4, 1, 2, generator=generator, dtype=torch.float64) - 0.8
    points = points + 0.2 * torch.randn(images, 4, 3, 2, generator=generator)
    seen = (torch.rand(images, 4, 3, generator=generator) > 0.2).double()
    seen *= torch.arange(4).view(1, -1, 1) < torch.randint(1, 5, (images, 1, 1), generator=generator)
    noise = 0.1 * torch.rand(images, 4, 1, 1, generator=generator)
    found = points + noise * torch.randn(images, 4, 3, 2, generator=generator)
    confidence = torch.rand(images, 4, 3, generator=generator)
    confidence = confidence * (torch.rand(images, 4, 1, generator=generator) > 0.2)
    area = 400 + 4000 * torch.rand(images, 4, generator=generator)
    return Keypoints(found, confidence), Keypoints(points, seen), area


def plain_average_precision(predicted: Keypoints, labelled: Keypoints, area: Tensor) -> float:
    """AP as COCO defines it, written out: greedy matches by score, precision at 101 recalls."""
    labels = labelled.present.any(dim=-1)
    averages = []
    for threshold in np.linspace(0.5, 0.95, 10):
        hits: list[tuple[float, bool]] = []
        for image in range(len(area)):
            free = set(torch.nonzero(labels[image]).flatten().tolist())
            for number in predicted.score[image].argsort(descending=True).tolist():
                if predicted.score[image, number] == 0:
                    continue
                near = {
                    other: oks(
                        50 * predicted.points[image, number], 50 * labelled.points[image, other],
                        labelled.present[image, other], area[image, other].double(), tensor(0.1),
                    ).item()
                    for other in free
                }  # fmt: skip
                best = max(near, key=lambda other: near[other], default=None)
                hit = best is not None and near[best] >= threshold
                if hit and best is not None:
                    free.remove(best)
                hits.append((predicted.score[image, number].item(), hit))
        hits.sort(key=lambda pair: -pair[0])
        right = np.cumsum([hit for _, hit in hits])
        precision, recall = right / np.arange(1, len(hits) + 1), right / int(labels.sum())
        averages.append(
            np.mean([precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)])
        )
    return float(np.mean(averages))


@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_the_plain_version(seed: int) -> None:
    predicted, labelled, area = drawn(30, seed)
    ours = scored(predicted, labelled, area=area)["AP"]
    assert ours == pytest.approx(plain_average_precision(predicted, labelled, area), abs=1e-9)
    assert 0.2 < ours < 0.9


def test_only_the_best_count() -> None:
    labelled = posed([[[10, 10]], [[60, 60]]])
    metric = OKSAveragePrecision(0.1, keypoints=1, at_most=1)
    metric.update(labelled._replace(confidence=tensor([[[0.4], [0.9]]])), labelled, size=SIZE)
    assert metric.compute()["AR"] == 0.5


def test_wrong_shapes_and_spreads_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one sigma above 0"):
        OKSAveragePrecision(0.1)
    with pytest.raises(ConfigurationError, match="for 3 keypoints"):
        OKSAveragePrecision(COCO_SIGMA, keypoints=3)
    with pytest.raises(ConfigurationError, match=r"\(B, I, 17, 2\)"):
        OKSAveragePrecision().update(*drawn(2)[:2], size=SIZE)


# Two processes


def measure(rank: int, world: int) -> dict[str, float]:
    """This process's share: 7 of 24 images for process 0 in two calls, the rest for process 1."""
    share = [slice(None)] if world == 1 else ([slice(0, 3), slice(3, 7)], [slice(7, None)])[rank]
    metric, lonely = (OKSAveragePrecision(0.1, keypoints=3) for _ in range(2))
    predicted, labelled, area = drawn(24)
    for part in share:
        values = [Keypoints(each.points[part], each.confidence[part]) for each in (predicted, labelled)]
        metric.update(values[0], values[1], area[part], size=SIZE)
    if rank == 0:
        lonely.update(predicted, labelled, area, size=SIZE)
    alone = {f"{name} alone": value.item() for name, value in lonely.compute().items()}
    return {name: value.item() for name, value in metric.compute().items()} | alone


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    expected = measure(0, 1)
    assert len(expected) == 2 * len(METRIC_NAMES)
    for rank, found in enumerate(on_two_processes(measure, tmp_path)):
        assert found == pytest.approx(expected, nan_ok=True), rank


def crossed(rank: int, world: int) -> float:
    """Each image's animal is found where the other image has one."""
    here = posed([[[10.0, 10.0], [20.0, 10.0]]])
    there = posed([[[70.0, 70.0], [80.0, 70.0]]])
    metric = OKSAveragePrecision(0.1, keypoints=2)
    pairs = [(there, here), (here, there)]
    for found, labelled in pairs if world == 1 else [pairs[rank]]:
        metric.update(found, labelled, size=SIZE)
    return float(metric.compute()["AP"])


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_images_of_two_processes_are_not_mixed(tmp_path: Path) -> None:
    assert crossed(0, 1) == 0
    assert on_two_processes(crossed, tmp_path) == [0, 0]


def test_sizes_of_images_may_differ() -> None:
    predicted, labelled, area = drawn(4)
    one, each = (OKSAveragePrecision(0.1, keypoints=3) for _ in range(2))
    one.update(predicted, labelled, area, size=(60, 90))
    each.update(predicted, labelled, area, size=tensor([[60, 90]] * 4))
    assert {name: value.item() for name, value in each.compute().items()} == pytest.approx(
        {name: value.item() for name, value in one.compute().items()}, nan_ok=True
    )
