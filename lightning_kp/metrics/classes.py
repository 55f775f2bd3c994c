"""Top-k error of a classifier."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


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
