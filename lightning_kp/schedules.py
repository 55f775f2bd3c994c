"""Learning-rate schedules that last as long as the training."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

FINAL_FACTOR = 0.001
"""Share of the base learning rate that is left at the end (ours)."""


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
