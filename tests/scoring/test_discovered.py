"""Scores against labels, with a method whose points are known."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_kp.batches import Images
from lightning_kp.errors import DataError
from lightning_kp.keypoints import Keypoints
from lightning_kp.labels.animals import LabelledSet
from lightning_kp.method import KeypointMethod
from lightning_kp.scoring.discovered import discovered_points, score_regression

OFFSET = torch.tensor((0.5, -1.0))


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class Fixed(KeypointMethod):
    """Keypoint 1 is at (1, 1), keypoint 2 where the first two pixels say; untrained, both at the centre."""

    batch_type = Images
    weights_type = Weights

    def __init__(self, keypoints: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.gain = nn.Parameter(torch.zeros(()))

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        return torch.full((len(image), self.hparams["keypoints"], 2, 2), 0.25)

    def forward(self, image: Tensor) -> Keypoints:
        assert not self.training
        told = image[:, 0, 0, :2] * 2 - 1
        points = torch.stack((torch.ones_like(told), told), dim=1) * self.gain
        return Keypoints(points[:, None], torch.ones(len(image), 1, 2))


@pytest.fixture
def trained() -> Fixed:
    method = Fixed()
    nn.init.ones_(method.gain)
    return method


def labels(x: list[int]) -> LabelledSet:
    """Images that tell (x, 1), and labels OFFSET away from it; the second point has no label at all."""
    image = torch.full((len(x), 3, 4, 4), 255, dtype=torch.uint8)
    image[:, 0, 0, 0] = torch.tensor([255 if value > 0 else 0 for value in x], dtype=torch.uint8)
    told = torch.stack((torch.tensor(x), torch.ones(len(x)))).T
    points = torch.stack((told + OFFSET, torch.full_like(told, torch.nan)), dim=1)
    return LabelledSet(image, points, ("nose", "hidden"))


def test_figures_by_hand(trained: Fixed) -> None:
    figures = score_regression(trained, labels([-1, 1, -1, 1, 1, 1, 1, 1]))
    # Keypoint 2 lies a constant away from the label, and keypoint 1, which never moves, serves as a bias.
    assert figures.matched == pytest.approx(0, abs=1e-5)
    assert figures.linear == pytest.approx(0, abs=1e-4)
    assert figures.matches["nose"] == 1
    assert figures.matched_per_point["nose"] == pytest.approx(0, abs=1e-5)
    # In the first half x is 0 on average, in the second it is 1: half the image's side away.
    assert figures.mean_pose == pytest.approx(50)
    # Untrained, no point ever moves: the best constant offset is the mean pose.
    assert figures.untrained_matched == pytest.approx(50)
    # Without a bias zeros say the image's centre; the label is at (1.5, 0).
    assert figures.untrained_linear == pytest.approx(75)


def test_the_first_half_is_never_scored(trained: Fixed) -> None:
    data = labels([-1, 1, -1, 1, 1, 1, 1, 1])
    spoilt = data.points.clone()
    spoilt[4:, 0, 0] += 0.2  # a tenth of the side
    figures = score_regression(trained, data._replace(points=spoilt))
    assert figures.matched == pytest.approx(10, abs=1e-4)


def test_the_method_is_left_as_it_was(trained: Fixed) -> None:
    score_regression(trained, labels([-1, 1] * 4))
    assert trained.gain.item() == 1
    assert discovered_points(trained, labels([1]).image).tolist() == [[[1, 1], [1, 1]]]


def test_untrained_figures_do_not_disturb_the_random_state(trained: Fixed) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    score_regression(trained, labels([-1, 1] * 4))
    assert torch.rand(1) == wanted


def test_metrics_by_name(trained: Fixed) -> None:
    figures = score_regression(trained, labels([-1, 1] * 4))
    assert set(figures.as_metrics("m4s1_")) == {
        f"m4s1_{name}"
        for name in (
            "linear", "matched", "untrained_linear", "untrained_matched", "mean_pose", "matched_per_point",
            "matches",
        )
    }  # fmt: skip
    table = figures.lines()
    assert table[1].split() == ["this", "run", "0.00", "0.00"]
    assert "nose <- kp02 (0.0)" in table[-1]


def test_too_few_labels(trained: Fixed) -> None:
    with pytest.raises(DataError, match="at least 8 labelled frames, got 7"):
        score_regression(trained, labels([1] * 7))
