"""Errors of classification: the share of images whose class is not among the first guesses."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class TopError(Metric):
    """Per cent of images whose label is none of the ``guesses`` highest scores, over batches and processes.

    A class that shares its score with the label is taken to be ahead of it, so that a constant output has an
    error of 100.
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
        """Scores (B, C) of any kind, the highest being the first guess, and labels (B,)."""
        own = scores.gather(1, label.unsqueeze(1))
        ahead = (~(scores < own)).sum(dim=1) - 1  # the label itself; a score that is no number is ahead
        self.wrong += (ahead >= self.guesses).sum()
        self.count += len(label)

    def compute(self) -> Tensor:
        """The error in per cent, NaN before the first image."""
        return 100 * self.wrong / self.count
