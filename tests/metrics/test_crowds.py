"""Figures of crowds by hand: counting, AP by number, PCK of matched people."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, tensor
from two_processes import on_two_processes

from lightning_kp.batches import CrowdImages
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.crowds import CrowdScores, confusion, matched_hits

SIDE = 100.0


def batch(points: Tensor, confidence: Tensor) -> CrowdImages:
    """Crowds with points (B, I, K, 2) in pixels of a square of 100 px."""
    images, people = confidence.shape[:2]
    return CrowdImages(
        torch.zeros(images, 3, 8, 8), (2 * points + 1) / SIDE - 1, confidence, torch.full((images, people), 900.0),
        torch.full((images,), SIDE), torch.ones(images, 8, 8, dtype=torch.bool),
        torch.full((images, 1, 4), torch.nan),
    )  # fmt: skip


def crowds() -> CrowdImages:
    """Image 0: two people, 20 px high; image 1: one."""
    one, two = [[10.0, 10], [10, 30]], [[60.0, 60], [60, 80]]
    return batch(tensor([[one, two], [one, one]]), tensor([[[1.0, 1], [1, 1]], [[1, 1], [0, 0]]]))


def test_counting_by_hand() -> None:
    labelled = crowds()
    # Both found in image 0; nobody in image 1.
    found = labelled.confidence.clone()
    found[1] = 0
    scores = CrowdScores([0.1, 0.1])
    scores.add(Keypoints(labelled.points, found), labelled)
    result = scores.compute()
    assert result["confusion"].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert result["count_right"] == 0.5
    assert result["count_off"] == 0.5
    assert result["AP_2"] == 1
    assert result["AP_1"] == 0
    assert result["AR"] == pytest.approx(2 / 3)
    assert result["PCK"] == 1  # of the people that were matched


def test_who_need_not_be_found_counts_neither_way() -> None:
    """A bystander is found with the highest score of all: in AP, counts and PCK as if nobody had looked there."""
    labelled = crowds()
    bystander = tensor([[80.0, 20], [80, 40]])
    box = tensor([70.0, 10, 90, 50])
    others = torch.full((2, 2, 4), torch.nan)
    others[0, 0] = (2 * box + 1) / SIDE - 1
    points = torch.cat((labelled.points, ((2 * bystander + 1) / SIDE - 1).expand(2, 1, 2, 2)), dim=1)
    confidence = torch.cat((0.8 * labelled.confidence, tensor([[[0.9, 0.9]], [[0.0, 0.0]]])), dim=1)
    for known, right in ((others, True), (torch.full_like(others, torch.nan), False)):
        scores = CrowdScores([0.1, 0.1])
        scores.add(Keypoints(points, confidence), labelled._replace(others=known))
        result = scores.compute()
        assert bool(result["AP"] == 1) == right
        assert bool(result["count_right"] == 1) == right
        assert result["PCK"] == 1


def test_one_person_missed_and_a_bystander_found_is_no_right_count() -> None:
    labelled = crowds()
    bystander = (2 * tensor([[80.0, 20], [80, 40]]) + 1) / SIDE - 1
    others = torch.full((2, 1, 4), torch.nan)
    others[0, 0] = (2 * tensor([70.0, 10, 90, 50]) + 1) / SIDE - 1
    points = labelled.points.clone()
    points[0, 1] = bystander
    scores = CrowdScores([0.1, 0.1])
    scores.add(Keypoints(points, labelled.confidence), labelled._replace(others=others))
    assert scores.compute()["confusion"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_a_single_point_has_no_box_to_measure_by() -> None:
    labelled = crowds()
    labelled = labelled._replace(confidence=labelled.confidence * tensor([1.0, 0.0]))
    scores = CrowdScores([0.1, 0.1])
    scores.add(Keypoints(labelled.points, labelled.confidence), labelled)
    result = scores.compute()
    assert result["AP"] == 1
    assert result["counted"].sum() == 0


def test_pck_by_hand() -> None:
    labelled = crowds()
    # Predictions in the other order; one point 4 px off (a fifth of 20: right), one 5 px off, one absent.
    points = labelled.points[:1].flip(1).clone()
    points[0, 0, 0, 0] += 2 * 4 / SIDE - 1e-6
    points[0, 1, 1, 1] += 2 * 5 / SIDE
    confidence = tensor([[[1.0, 1], [0, 1]]])
    scores = CrowdScores([0.1, 0.1])
    scores.add(Keypoints(points, confidence), CrowdImages(*(field[:1] for field in labelled)))
    result = scores.compute()
    assert result["hits"].tolist() == [1, 1]
    assert result["counted"].tolist() == [2, 2]
    assert result["PCK"] == 0.5


def test_many_people_share_a_figure() -> None:
    spots = tensor([[10.0 * n, 50.0] for n in range(1, 9)]).unsqueeze(1)
    points = torch.stack((spots, spots + 5), dim=1).squeeze(2).unsqueeze(0)
    labelled = batch(points, torch.ones(1, 8, 2))
    scores = CrowdScores([0.1, 0.1])
    scores.add(Keypoints(labelled.points, labelled.confidence), labelled)
    result = scores.compute()
    assert result["AP_6+"] == 1
    assert "AP_8" not in result


def test_nothing_at_all() -> None:
    empty = torch.zeros(0, 8)
    assert confusion(empty, torch.zeros(0, 13)).shape == (1, 1)
    hits, counted = matched_hits(empty, torch.zeros(0, 13), (0.1, 0.1))
    assert hits.sum() == counted.sum() == 0


def test_the_summary() -> None:
    labelled = crowds()
    scores = CrowdScores([0.1, 0.1])
    scores.add(Keypoints(labelled.points, labelled.confidence), labelled)
    figures, page = scores.summary(["nose", "tail"])
    assert figures["AP"] == figures["count_right"] == 1
    assert "confusion" not in figures
    assert "| nose | tail |" in page
    assert "| 2 | 0 | 0 | 1 |" in page


def test_distances_are_those_of_the_original_picture() -> None:
    labelled = crowds()
    shifted = Keypoints(labelled.points + 0.03, labelled.confidence)
    near, far = CrowdScores([0.1, 0.1]), CrowdScores([0.1, 0.1])
    near.add(shifted, labelled)
    far.add(
        shifted, labelled._replace(side=labelled.side * 4)
    )  # the same share of a larger picture, area the same
    assert far.compute()["AP"] < near.compute()["AP"]


def test_the_summary_of_nothing() -> None:
    figures, page = CrowdScores([0.1, 0.1]).summary(["a", "b"])
    assert "AP" in figures
    assert "| 0 |" in page


# Two processes


def drawn(seed: int) -> tuple[Keypoints, CrowdImages]:
    """Four crowds of two or three people, found more or less."""
    random = torch.Generator().manual_seed(seed)
    pixels = 80 * torch.rand(4, 3, 2, 2, generator=random) + 10
    seen = (torch.rand(4, 3, 2, generator=random) > 0.2).float()
    seen[:, 2] *= torch.rand(4, 1, generator=random) > 0.5
    labelled = batch(pixels, seen)
    near = labelled.points + 0.05 * torch.randn(4, 3, 2, 2, generator=random)
    told = torch.rand(4, 3, 2, generator=random)
    return Keypoints(near, told * (told.amax(dim=-1, keepdim=True) > 0.5)), labelled


def measure(rank: int, world: int) -> dict[str, Tensor]:
    """Two batches for process 0, one for process 1."""
    scores = CrowdScores([0.1, 0.1])
    for seed in [0, 1, 2] if world == 1 else [[0, 1], [2]][rank]:
        scores.add(*drawn(seed))
    return dict(scores.compute())


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    alone = measure(0, 1)
    assert {"AP_2", "AP_3", "PCK", "confusion", "hits"} <= alone.keys()
    assert 0 < alone["PCK"] < 1
    assert int(alone["confusion"].sum()) == 12
    for shared in on_two_processes(measure, tmp_path):
        assert shared.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, equal_nan=True)
