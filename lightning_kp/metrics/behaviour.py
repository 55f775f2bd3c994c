"""Average precision, its mean over behaviours (MAP), and F1 of a frame-by-frame behaviour classifier.

N frames, C behaviours.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class BehaviourMetrics(NamedTuple):
    """Metrics in [0, 1]; NaN for a behaviour that occurs in no labelled frame, which the means then skip.

    So is the average precision of a behaviour that all labelled frames show.

    ``map`` and ``mean_f1`` weigh every behaviour equally (000, 5.5), without the background if there is one.
    ``precision`` (average precision) and ``f1`` are by behaviour, including the background.
    """

    map: float
    mean_f1: float
    precision: dict[str, float]
    f1: dict[str, float]

    def as_metrics(self) -> dict[str, float]:
        """All metrics by name: map, mean_f1, ap_<behaviour>, f1_<behaviour>."""
        average = {f"ap_{name}": value for name, value in self.precision.items()}
        return {"map": self.map, "mean_f1": self.mean_f1, **average, **_named("f1_", self.f1)}


def _named(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def average_precision(score: Tensor, positive: Tensor) -> Tensor:
    """Area under the stepwise precision-recall curve.

    Each step of recall counts with the precision at its lower end; equal scores make one step.

    Args:
        score: Scores (N,) of any range.
        positive: Frames (N,) bool that show the behaviour.

    Returns:
        A value () in [0, 1]; NaN without a positive frame, and where all are positive: nothing was to be found then.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([True, False, True])).item()
        0.8333333333333333
    """
    order = score.argsort(descending=True, stable=True)
    score, hits = score[order], positive[order].double().cumsum(0)
    ranks = torch.arange(1, len(score) + 1, device=score.device)
    steps = torch.cat((score[1:] != score[:-1], score.new_ones(1, dtype=torch.bool)))[: len(score)]
    hits, ranks = hits[steps], ranks[steps]
    gained = torch.diff(hits, prepend=hits.new_zeros(1))
    value = (gained * hits / ranks).sum() / positive.sum()
    return torch.where(positive.all(), torch.nan, value)


def f1_score(chosen: Tensor, positive: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN) of the predicted and the positive frames.

    Args:
        chosen: Frames (N,) bool that are predicted to show the behaviour.
        positive: Frames (N,) bool that show it.

    Returns:
        A value () in [0, 1]; NaN without a positive frame.

    Example:
        >>> f1_score(torch.tensor([True, True, False]), torch.tensor([True, False, False])).item()
        0.6666666865348816
    """
    total = positive.sum()
    value = 2 * (chosen & positive).sum() / (chosen.sum() + total)
    return torch.where(total > 0, value, torch.nan)


def behaviour_metrics(
    probability: Tensor, behaviour: Tensor, names: Sequence[str], background: str | None = None
) -> BehaviourMetrics:
    """Compute all metrics of one set of frames.

    Args:
        probability: Probabilities (N, C) of each behaviour.
        behaviour: Labels (N,) as positions in ``names``; frames with a label below 0 are ignored.
        names: Names of the C behaviours.
        background: The behaviour that the means leave out, if any.
    """
    known = behaviour >= 0
    probability, behaviour = probability[known], behaviour[known]
    chosen = probability.argmax(dim=1)
    precision, f1 = {}, {}
    for number, name in enumerate(names):
        positive = behaviour == number
        precision[name] = average_precision(probability[:, number], positive).item()
        f1[name] = f1_score(chosen == number, positive).item()
    return BehaviourMetrics(_mean(precision, background), _mean(f1, background), precision, f1)


def _mean(values: dict[str, float], background: str | None) -> float:
    counted = [value for name, value in values.items() if name != background and value == value]
    return sum(counted) / len(counted) if counted else float("nan")


class BehaviourScores(Metric):
    """:func:`behaviour_metrics` accumulated over batches and processes."""

    is_differentiable = False
    full_state_update = False
    probability: list[Tensor]
    behaviour: list[Tensor]

    def __init__(self, names: Sequence[str], background: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names, self.background = tuple(names), background
        self.add_state("probability", [], dist_reduce_fx="cat")
        self.add_state("behaviour", [], dist_reduce_fx="cat")

    def update(self, probability: Tensor, behaviour: Tensor) -> None:
        """Add frames with their probabilities (N, C) and labels (N,); labels below 0 are ignored."""
        self.probability.append(probability.float())
        self.behaviour.append(behaviour)

    def compute(self) -> BehaviourMetrics:
        return behaviour_metrics(
            dim_zero_cat(self.probability), dim_zero_cat(self.behaviour), self.names, self.background
        )
