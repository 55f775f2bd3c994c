"""Figures of classifiers: top-k error, the error of votes, and the entropy of feature maps."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_kp.heatmaps import map_entropy


class TopError(Metric):
    """Top-k error in per cent: images whose label is not among the ``guesses`` highest scores.

    A class whose score equals that of the label ranks before it, so that a constant output has an error of 100.
    Images of all batches and processes count alike.

    Example:
        >>> error = TopError()
        >>> error.update(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]))
        >>> error.compute().item()
        50.0
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    wrong: Tensor
    count: Tensor

    def __init__(self, guesses: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.guesses = guesses
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Tensor, label: Tensor) -> None:
        """Add images with scores (B, C) of any range, the highest being the first guess, and labels (B,)."""
        own = scores.gather(1, label.unsqueeze(1))
        ahead = (~(scores < own)).sum(dim=1) - 1  # without the label itself; a NaN ranks before the label
        self.wrong += (ahead >= self.guesses).sum()
        self.count += len(label)

    def compute(self) -> Tensor:
        """The error () in per cent, from 0 to 100; NaN before the first image."""
        return 100 * self.wrong / self.count


class VotedError(Metric):
    """Error in per cent of groups whose members vote: the class with the highest mean probability is that of the group.

    Members of a group may lie in different batches and processes.  Of equal classes the first wins.

    Example:
        >>> error = VotedError()
        >>> error.update(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([1, 1]), torch.tensor([7, 7]))
        >>> error.compute().item()
        100.0
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    probability: list[Tensor]
    label: list[Tensor]
    group: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("probability", "label", "group"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, probability: Tensor, label: Tensor, group: Tensor) -> None:
        """Add members with probabilities (B, C), labels (B,), the same within a group, and group numbers (B,)."""
        self.probability.append(probability)
        self.label.append(label)
        self.group.append(group)

    def compute(self) -> Tensor:
        """The error () in per cent, from 0 to 100; NaN before the first member."""
        if not len(self.label):
            return torch.tensor(torch.nan)
        probability, label, group = (
            dim_zero_cat(each) for each in (self.probability, self.label, self.group)
        )
        groups, member_of = group.unique(return_inverse=True)
        total = probability.new_zeros(len(groups), probability.shape[1]).index_add(0, member_of, probability)
        truth = label.new_zeros(len(groups)).scatter(0, member_of, label)
        return 100 * (total.argmax(dim=1) != truth).float().mean()


class MapEntropy(Metric):
    """Mean entropy of feature maps in nats, of all images and channels that are not dead (004, Figure 6).

    The mean of ``compute`` is NaN before the first living map.

    Example:
        >>> entropy = MapEntropy()
        >>> entropy.update(torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]]))
        >>> mean, dead = entropy.compute()
        >>> round(mean.item(), 3), dead.item()
        (0.693, 0.5)
    """

    full_state_update = False
    total: Tensor
    living: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("living", "count"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, maps: Tensor) -> None:
        """Add feature maps (B, C, h, w) >= 0."""
        entropy = map_entropy(maps.detach())
        alive = ~entropy.isnan()
        self.total += entropy[alive].double().sum()
        self.living += alive.sum()
        self.count += alive.numel()

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean entropy () in nats, and the share () of maps that were zero everywhere."""
        return (self.total / self.living).float(), 1 - self.living / self.count
