"""How many instances a sequential method is asked for while it learns (000, 3.6).

The paper: two people until the loss converges, then one more every two epochs.  When a loss has converged it
does not say; here: when the mean training loss of an epoch has not fallen by ``least_gain`` for ``patience``
epochs.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_kp.errors import ConfigurationError


@dataclass(frozen=True)
class InstanceSchedule:
    """Instances asked for by epoch.

    Args:
        first: How many until the loss converges (000: 2).
        every_n_epochs: Epochs between one more and one more (000: 2).
        from_epoch: The epoch (from 0) that is the first with one more; by default found from the loss.
        patience: Epochs without gain that count as convergence (ours).
        least_gain: Fall of the loss, as a share of it, that counts as gain (ours).
    """

    first: int = 2
    every_n_epochs: int = 2
    from_epoch: int | None = None
    patience: int = 3
    least_gain: float = 0.02

    def __post_init__(self) -> None:
        if min(self.first, self.every_n_epochs, self.patience) < 1 or not 0 <= self.least_gain < 1:
            raise ConfigurationError(
                f"The schedule asks for {self.first} instances, {self.every_n_epochs} epochs between and "
                f"{self.patience} of patience, with a gain of {self.least_gain}.",
                remedy="Give at least 1, and a gain in [0, 1).",
            )

    def limit(self, epoch: int, converged: int | None = None) -> int:
        """Most instances asked for in ``epoch``, where ``converged`` is the first epoch after convergence."""
        begin = converged if self.from_epoch is None else self.from_epoch
        if begin is None or epoch < begin:
            return self.first
        return self.first + 1 + (epoch - begin) // self.every_n_epochs


@dataclass
class Convergence:
    """What is known of a loss: ``best`` at the last gain, epochs since, and the first epoch after it ``converged``."""

    best: float = math.inf
    stale: int = 0
    converged: int | None = None

    def note(self, epoch: int, loss: float, schedule: InstanceSchedule) -> None:
        """Take the mean loss of an epoch that has ended."""
        if self.converged is not None:
            return
        gained = loss < self.best * (1 - schedule.least_gain) or not math.isfinite(self.best)
        # Small gains add up against the last one that counted: a loss that creeps down has not converged.
        self.best = loss if gained else self.best
        self.stale = 0 if gained else self.stale + 1
        if self.stale >= schedule.patience:
            self.converged = epoch + 1


@dataclass
class RunningLoss:
    """The losses of an epoch's batches so far; stays on their device until the mean is asked for."""

    epoch: int = -1
    total: Tensor | float = 0.0
    count: int = 0

    def add(self, epoch: int, loss: Tensor) -> None:
        """Take a batch's loss; a new epoch begins a new sum."""
        if epoch != self.epoch:
            self.epoch, self.total, self.count = epoch, 0.0, 0
        self.total = self.total + loss.detach().double()
        self.count += 1

    @property
    def mean(self) -> float:
        """Mean loss of the batches."""
        return float(self.total) / max(1, self.count)

    def plain(self) -> dict[str, Any]:
        """As numbers, for a checkpoint."""
        return {"epoch": self.epoch, "total": float(self.total), "count": self.count}
