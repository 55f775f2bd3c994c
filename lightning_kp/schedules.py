"""Learning-rate schedules: one that lasts as long as the training, and one in steps of epochs."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

FINAL_FACTOR = 0.001
"""Share of the base learning rate that is left at the end (ours)."""


class WarmupSteps(LRScheduler):
    """A small rate in the first epochs, then the base rate, which falls by a factor every ``every`` epochs.

    Counts epochs.  The defaults are those of 000, section 2.5, for ImageNet; the rate of the warm-up is a tenth, as in
    He et al. 2016 for their deepest network.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: int = 5,
        warmup_factor: float = 0.1,
        every: int = 30,
        factor: float = 0.1,
    ) -> None:
        self.warmup, self.warmup_factor, self.every, self.drop = warmup, warmup_factor, every, factor
        super().__init__(optimizer)

    def factor(self, epoch: int) -> float:
        """Factor of the base rate in an epoch (counted from 0)."""
        return self.warmup_factor if epoch < self.warmup else self.drop ** (epoch // self.every)

    def get_lr(self) -> list[Any]:
        return [rate * self.factor(self.last_epoch) for rate in self.base_lrs]


class WarmupCosine(LRScheduler):
    """Rises linearly over the share ``warmup`` of the steps, then falls as a cosine to a thousandth of the base rate.

    Counts optimiser steps.  A Method sets their number with :meth:`set_total_steps`, so that a longer or
    shorter training needs no second option; until then the rate is constant.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.1) -> None:
        self.warmup = warmup
        self.total_steps = 0
        super().__init__(optimizer)

    def set_total_steps(self, total_steps: int) -> None:
        """Set the number of optimiser steps of the whole training."""
        self.total_steps = total_steps
        self._set_rates()

    def factor(self, step: int) -> float:
        """Factor of the base rate at a step (counted from 0)."""
        if self.total_steps <= 0:
            return 1.0
        rising = max(1.0, self.warmup * self.total_steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min(1.0, (step - rising) / max(1.0, self.total_steps - rising))
        return FINAL_FACTOR + (1 - FINAL_FACTOR) * (1 + math.cos(math.pi * progress)) / 2

    def get_lr(self) -> list[Any]:
        return [rate * self.factor(self.last_epoch) for rate in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume; the total number of steps stays that of this training, which may be longer than the saved one."""
        super().load_state_dict({**state_dict, "total_steps": self.total_steps})
        self._set_rates()

    def _set_rates(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
