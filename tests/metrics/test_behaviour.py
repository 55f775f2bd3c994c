"""Average precision and F1: by hand, against torchmetrics, and summed over processes."""

import math

import pytest
import torch
from torchmetrics.functional.classification import binary_average_precision, multiclass_f1_score

from lightning_kp.metrics.behaviour import BehaviourScores, average_precision, behaviour_metrics, f1_score


def test_average_precision_by_hand() -> None:
    """Positive at ranks 1 and 3 of 4: (1/1 + 2/3) / 2."""
    score, positive = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([1, 0, 1, 0]).bool()
    assert average_precision(score, positive).item() == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(torch.zeros(4), positive).item() == pytest.approx(0.5)  # one step: all at once
    assert math.isnan(average_precision(score, torch.zeros(4).bool()).item())
    assert math.isnan(average_precision(score, torch.ones(4).bool()).item())  # nothing was to be found


@pytest.mark.parametrize("levels", [5, 10_000])
def test_average_precision_agrees_with_torchmetrics(levels: int) -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        score = torch.randint(levels, (300,), generator=generator) / levels
        positive = torch.rand(300, generator=generator) < 0.2
        expected = binary_average_precision(score, positive.int())
        assert average_precision(score, positive).item() == pytest.approx(expected.item(), abs=1e-5)


def test_f1_by_hand_and_against_torchmetrics() -> None:
    chosen, positive = torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 0, 0, 1]).bool()
    assert f1_score(chosen, positive).item() == pytest.approx(2 / 5)
    probability, behaviour = torch.rand(200, 3), torch.randint(3, (200,))
    found = behaviour_metrics(probability, behaviour, ("a", "b", "c"))
    expected = multiclass_f1_score(probability.argmax(1), behaviour, 3, average="none")
    assert list(found.f1.values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_every_behaviour_of_interest_weighs_the_same() -> None:
    """Nine frames of a, one of b: perfect on a, as bad as can be on b; the background counts in no mean."""
    behaviour = torch.tensor([0] * 9 + [1] + [2] * 5)
    probability = torch.zeros(15, 3)
    probability[:9, 0], probability[9:, 2] = 1, 1
    probability[:9, 1], probability[10:, 1] = 0.5, 0.5
    figures = behaviour_metrics(probability, behaviour, ("a", "b", "other"), "other")
    assert figures.precision["a"] == 1
    assert figures.precision["b"] == pytest.approx(1 / 15)
    assert figures.map == pytest.approx((1 + 1 / 15) / 2)
    assert figures.mean_f1 == pytest.approx(0.5)
    assert set(figures.as_metrics()) >= {"map", "mean_f1", "ap_other", "f1_b"}


def test_what_never_occurs_and_what_is_unlabelled_is_left_out() -> None:
    probability = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.2, 0.6], [0.4, 0.6, 0.0]])
    figures = behaviour_metrics(probability, torch.tensor([0, 2, -1]), ("a", "b", "c"))
    assert figures.map == figures.precision["a"] == 1
    assert math.isnan(figures.precision["b"])
    assert math.isnan(behaviour_metrics(probability, torch.tensor([-1, -1, -1]), ("a", "b", "c")).map)


def test_where_all_frames_are_alike_nothing_was_found() -> None:
    """A recording without any bout would give the background an average precision of 1 for any classifier."""
    probability = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    figures = behaviour_metrics(probability, torch.tensor([1, 1, 1]), ("a", "other"), "other")
    assert math.isnan(figures.precision["other"])
    assert math.isnan(figures.map)
    assert figures.f1["other"] == pytest.approx(0.8)  # 2 of 3 are named right


def test_batches_and_processes_agree_with_everything_at_once() -> None:
    probability, behaviour = torch.rand(50, 3).softmax(1), torch.randint(3, (50,))
    names = ("a", "b", "other")
    first, second = BehaviourScores(names, "other"), BehaviourScores(names, "other")
    for start in range(0, 50, 10):
        metric = first if start < 30 else second
        metric.update(probability[start : start + 10], behaviour[start : start + 10])
    # what torchmetrics does with the states of two processes
    first.probability += second.probability
    first.behaviour += second.behaviour
    assert first.compute() == behaviour_metrics(probability, behaviour, names, "other")
