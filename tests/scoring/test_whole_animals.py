"""Scores of whole animals, with a method that returns given points."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from archives import archive
from PIL import Image
from torch import Tensor
from trained_networks import checkpoint

from lightning_kp.batches import LabelledImages
from lightning_kp.cli import main
from lightning_kp.datamodules import LabelledGroups
from lightning_kp.errors import DataError
from lightning_kp.keypoints import Keypoints
from lightning_kp.labels.animals import LabelledAnimals
from lightning_kp.labels.reading import read_animals
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.oks import OKSAveragePrecision
from lightning_kp.scoring.label_file import FileScore
from lightning_kp.scoring.whole_animals import score_whole_animals
from lightning_kp.verbs.score import over_runs

FRAMES, SIDE = 3, 64
TWO = torch.tensor([[[-0.5, -0.5], [-0.3, -0.5]], [[0.4, 0.2], [0.4, 0.4]]])


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class Fixed(KeypointMethod):
    """Finds ``points`` (I, K, 2) with ``confidence`` (I, K) in every image."""

    batch_type = LabelledImages
    weights_type = Weights
    keypoint_names = ("head", "tail")

    def __init__(self, points: Tensor, confidence: Tensor | None = None, sigma: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters("sigma")
        self.given = points, torch.ones(points.shape[:2]) if confidence is None else confidence

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, image: Tensor) -> Keypoints:
        return Keypoints(*(each.expand(len(image), *each.shape) for each in self.given))


def labels(points: Tensor = TWO) -> LabelledAnimals:
    image = torch.zeros(FRAMES, 3, SIDE, SIDE, dtype=torch.uint8)
    return LabelledAnimals(image, points.expand(FRAMES, *points.shape).clone(), ("head", "tail"))


def test_animals_in_another_order_are_the_same() -> None:
    found = score_whole_animals(Fixed(TWO.flip(0)), labels())
    assert (found.found, found.false_positives_per_frame, found.placed_share, found.animals) == (
        1,
        0,
        1,
        2 * FRAMES,
    )
    assert (found.part_median, found.oks["AP"]) == (pytest.approx(0, abs=1e-5), pytest.approx(1))


def test_how_far_parts_are_off() -> None:
    moved = TWO.clone()
    moved[:, 1, 0] += 0.02  # a hundredth of the side
    found = score_whole_animals(Fixed(moved), labels())
    assert found.per_part == pytest.approx({"head": 0.0, "tail": 1.0}, abs=1e-4)
    assert found.part_mean == pytest.approx(0.5, abs=1e-4)


def test_missed_invented_and_silent() -> None:
    far = torch.tensor([[[-0.9, 0.9], [-0.8, 0.9]]])
    confidence = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found = score_whole_animals(Fixed(torch.cat((TWO[:1], far)), confidence), labels())
    assert (found.found, found.false_positives_per_frame, found.placed_share) == (0.5, 1.0, 0.5)
    assert found.oks["AR"] < 0.6


def test_distances_are_those_of_the_original_pictures() -> None:
    """Twice as wide as high: a step down in the squashed square is half as long as one to the right."""
    wide = labels()._replace(shown_px=torch.tensor([[100.0, 200.0]]).expand(FRAMES, 2))
    right, down = TWO.clone(), TWO.clone()
    right[:, 1, 0] += 0.02
    down[:, 1, 1] += 0.02
    assert score_whole_animals(Fixed(right), wide).per_part["tail"] == pytest.approx(1, abs=1e-4)
    assert score_whole_animals(Fixed(down), wide).per_part["tail"] == pytest.approx(0.5, abs=1e-4)


def test_the_precision_is_that_of_a_test(tmp_path: Path) -> None:
    """The same network and frames by `kp score` and by the method's own test."""
    file = archive(tmp_path, animals=2)
    for number in range(6):  # twice as wide as high
        Image.new("RGB", (32, 16), (40 * number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
    data = LabelledGroups(file, test_frames=5, size=32, fit="squash", root=str(tmp_path), batch_size=5)
    data.setup()
    assert data.shown_px == (16, 32)
    (batch,) = data.test_dataloader()
    wrong = batch.points[0] + torch.tensor([0.05, -0.08])
    told = Fixed(wrong, sigma=0.5)
    precision = OKSAveragePrecision(0.5, 2, at_most=2)
    wanted = Keypoints(batch.points, batch.confidence)
    precision.update(told(batch.image), wanted, size=(16, 32))
    found = score_whole_animals(
        told,
        read_animals(tmp_path / file, 32, "squash")._replace(points=wanted.points[:1].expand(6, -1, -1, -1)),
    )
    assert found.oks["AP"] == pytest.approx(precision.compute()["AP"].item(), abs=1e-6)
    assert 0 < found.oks["AP"] < 1


def test_animals_of_one_point() -> None:
    found = score_whole_animals(Fixed(TWO[:, :1]), labels(TWO[:, :1])._replace(names=("head",)))
    assert (found.found, found.false_positives_per_frame) == (1, 0)


def test_the_score_from_which_on_animals_are_there() -> None:
    far = torch.tensor([[[-0.9, 0.9], [-0.8, 0.9]]])
    confidence = torch.tensor([[0.9, 0.7], [0.6, 0.6], [0.3, 0.3]])
    found = score_whole_animals(Fixed(torch.cat((TWO, far)), confidence), labels())
    assert (found.found, found.false_positives_per_frame) == (1, 1)
    assert 0.3 < found.best_threshold <= 0.6
    assert (found.recall_at_best, found.false_positives_at_best) == (1, 0)


def test_a_method_that_says_nothing() -> None:
    found = score_whole_animals(Fixed(TWO, torch.zeros(2, 2)), labels())
    assert (found.found, found.false_positives_per_frame, found.placed_share) == (0, 0, 0)
    assert np.isnan(found.part_median)
    assert "0.0%" in found.lines()[0]


def test_what_lies_out_of_view_is_not_missed() -> None:
    points = TWO.clone()
    points[1] += 2
    assert score_whole_animals(Fixed(TWO[:1]), labels(points)).found == 1
    with pytest.raises(DataError, match="that the network sees"):
        score_whole_animals(Fixed(TWO), labels(points[1:]))


@pytest.mark.parametrize("name", ["DirectPose", "PersonParser"])
def test_kp_score_of_whole_animals(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = tmp_path / "run", archive(tmp_path, animals=2)
    checkpoint(name, run)
    assert main(["score", str(run), "--labels", str(tmp_path / file)]) == 0
    assert "of 12 labelled" in capsys.readouterr().out
    kept = json.loads((run / "metrics.json").read_text())
    assert kept["animals_frames"] == 6
    assert 0 <= kept["animals_AP"] <= 1
    assert set(kept["animals_per_part"]) == {"nose", "tail"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1.0, 2.0], "parts over 2 runs: median 1.50, mean 1.50 ± 0.71 % of it"),
        ([1.0, float("nan"), 2.0], "parts over 2 runs (of 3): median 1.50, mean 1.50 ± 0.71 % of it"),
        ([float("nan"), 2.0], "parts over 2 runs: known for 1"),
    ],
)
def test_runs_that_find_nothing_have_no_distance(values: list[float], told: str) -> None:
    assert over_runs("parts", "% of it", values) == told


def test_runs_are_told_together_in_the_unit_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = TWO.clone()
    moved[..., 0] += 0.02
    found = score_whole_animals(Fixed(moved), labels())
    monkeypatch.setattr(
        "lightning_kp.scoring.label_file.score_file", lambda *given, **options: FileScore(found, FRAMES)
    )
    files = [str(checkpoint("DirectPose", tmp_path / name)) for name in ("a", "b")]
    assert main(["score", *files, "--labels", "labels.npz"]) == 0
    told = "parts, median, over 2 runs: median 1.00, mean 1.00 ± 0.00 % of the longer side"
    assert told in capsys.readouterr().out.splitlines()


def test_scored_on_what_it_learnt_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, path = archive(tmp_path, animals=1), checkpoint("DirectPose", tmp_path / "run")
    content = torch.load(path, weights_only=True)
    content["lightning_kp"]["data"] |= {"labels": [file], "root": str(tmp_path)}
    torch.save(content, path)
    assert main(["score", str(path), "--labels", str(tmp_path / file)]) == 0
    assert "may have trained this network" in capsys.readouterr().err
    assert main(["score", str(path), "--labels", str(tmp_path / f"{file}#test")]) == 0
    assert "may have trained this network" in capsys.readouterr().err
    content["lightning_kp"]["data"] |= {"labels": [f"{file}#train"]}
    torch.save(content, path)
    assert main(["score", str(path), "--labels", str(tmp_path / f"{file}#test")]) == 0
    assert "may have trained" not in capsys.readouterr().err


def test_labels_with_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, path = archive(tmp_path, 1, ("nose", "wing")), checkpoint("DirectPose", tmp_path / "run")
    assert main(["score", str(path), "--labels", str(tmp_path / file)]) == 2
    assert "has no point called tail" in capsys.readouterr().err
