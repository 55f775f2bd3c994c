"""Learning-rate schedules that last as long as the training does."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

FINAL_SHARE = 0.001


class WarmupCosine(LRScheduler):
    """Rises linearly over the first ``warmup`` of the steps, then falls as a cosine to nearly nothing.

    Counts optimiser steps.  How many there will be is told by :meth:`last_for` (a Method does it), so
    that a longer or shorter training needs no second option; until then the rate is constant.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.1) -> None:
        self.warmup = warmup
        self.total_steps = 0
        super().__init__(optimizer)

    def last_for(self, total_steps: int) -> None:
        """Fix the number of optimiser steps of the whole training."""
        self.total_steps = total_steps
        self._set_rates()

    def factor(self, step: int) -> float:
        """What the base rate is multiplied with at a step (from 0)."""
        if self.total_steps <= 0:
            return 1.0
        rising = max(1.0, self.warmup * self.total_steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        progress = min(1.0, (step - rising) / max(1.0, self.total_steps - rising))
        return FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * progress)) / 2

    def get_lr(self) -> list[Any]:
        return [rate * self.factor(self.last_epoch) for rate in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume; the length is that of the present training, which may have been extended."""
        super().load_state_dict({**state_dict, "total_steps": self.total_steps})
        self._set_rates()

    def _set_rates(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
