"""How many instances a sequential method must find at each stage of training (000, section 3.6).

Paper: two people until the loss converges, then one more every two epochs. It does not define convergence.
Ours: the loss has converged when the mean training loss of an epoch has not fallen by ``least_gain`` for
``patience`` epochs.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_kp.errors import ConfigurationError


@dataclass(frozen=True)
class InstanceSchedule:
    """Number of instances to find in each epoch.

    Args:
        first: Instances until the loss converges (000: 2).
        every_n_epochs: Epochs after which one more instance is added (000: 2).
        from_epoch: First epoch (counted from 0) with one more instance; by default determined from the loss.
        patience: Epochs without improvement that count as convergence (ours).
        least_gain: Smallest fall of the loss, as a share of it, that counts as an improvement (ours).

    Raises:
        ConfigurationError: A number is below 1, or ``least_gain`` lies outside [0, 1).
    """

    first: int = 2
    every_n_epochs: int = 2
    from_epoch: int | None = None
    patience: int = 3
    least_gain: float = 0.02

    def __post_init__(self) -> None:
        if min(self.first, self.every_n_epochs, self.patience) < 1 or not 0 <= self.least_gain < 1:
            raise ConfigurationError(
                "InstanceSchedule needs first, every_n_epochs and patience of at least 1 and least_gain in [0, 1); "
                f"got first={self.first}, every_n_epochs={self.every_n_epochs}, patience={self.patience}, "
                f"least_gain={self.least_gain}.",
                remedy="Correct these settings of the Curriculum's `instances`.",
            )

    def limit(self, epoch: int, converged: int | None = None) -> int:
        """Maximum number of instances in ``epoch``; ``converged`` is the first epoch after convergence.

        >>> [InstanceSchedule(first=2, every_n_epochs=2).limit(epoch, converged=3) for epoch in range(7)]
        [2, 2, 2, 3, 3, 4, 4]
        """
        begin = converged if self.from_epoch is None else self.from_epoch
        if begin is None or epoch < begin:
            return self.first
        return self.first + 1 + (epoch - begin) // self.every_n_epochs


@dataclass
class Convergence:
    """Progress of a loss towards convergence.

    Attributes:
        best: Loss at the last improvement.
        stale: Epochs since the last improvement.
        converged: First epoch after convergence, or None before.
    """

    best: float = math.inf
    stale: int = 0
    converged: int | None = None

    def note(self, epoch: int, loss: float, schedule: InstanceSchedule) -> None:
        """Record the mean loss of an epoch that has ended."""
        if self.converged is not None:
            return
        gained = loss < self.best * (1 - schedule.least_gain) or not math.isfinite(self.best)
        # Compared with the last improvement that counted: a loss that falls slowly has not converged.
        self.best = loss if gained else self.best
        self.stale = 0 if gained else self.stale + 1
        if self.stale >= schedule.patience:
            self.converged = epoch + 1


@dataclass
class RunningLoss:
    """Sum of the losses of an epoch's batches so far, kept on their device until the mean is needed."""

    epoch: int = -1
    total: Tensor | float = 0.0
    count: int = 0

    def add(self, epoch: int, loss: Tensor) -> None:
        """Add a batch's loss, a scalar (). A new epoch starts a new sum."""
        if epoch != self.epoch:
            self.epoch, self.total, self.count = epoch, 0.0, 0
        self.total = self.total + loss.detach().double()
        self.count += 1

    @property
    def mean(self) -> float:
        """Mean loss of the batches so far; 0 before the first."""
        return float(self.total) / max(1, self.count)

    def plain(self) -> dict[str, Any]:
        """The fields as plain numbers, for a checkpoint."""
        return {"epoch": self.epoch, "total": float(self.total), "count": self.count}
