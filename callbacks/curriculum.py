"""Curriculum: loss terms that start later in training, and a growing number of instances to find.

Source: 000, the indicator in eq. 5.4 (terms) and section 3.6 (instances of a sequential method).
Ours: a ramp after the start of a term, and counting in optimiser steps.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import lightning as L
import torch

from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.method import Method
from lightning_kp.runs.instance_schedule import Convergence, InstanceSchedule, RunningLoss

Unit = Literal["epoch", "step"]


def factor(epoch: int, start: int, ramp_epochs: int = 0) -> float:
    """Multiplier of a term's weight: 0 before ``start``, then rising to 1 in equal steps.

    With ``ramp_epochs`` r, epochs start, start + 1, ... have 1/(r+1), 2/(r+1), ...; from epoch start + r it is 1.

    >>> [factor(epoch, start=1, ramp_epochs=1) for epoch in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """
    if epoch < start:
        return 0.0
    return min(1.0, (epoch - start + 1) / (ramp_epochs + 1))


class Curriculum(L.Callback):
    """Sets the current loss weights from the configured ones, as a pure function of the epoch or step.

    The weights therefore have no state to save, and a resumed run has the weights of an uninterrupted one. The
    curriculum applies during ``fit`` only: ``validate`` and ``test`` use the configured weights.

    The number of ``instances`` may also depend on the loss; that state is saved with the checkpoint. The limit
    applies to training batches of methods that have an ``instance_limit``.

    Args:
        start: First epoch (counted from 0) in which a term counts, by the name of its weight. Terms that are
            not listed always count.
        ramp_epochs: Epochs below full weight after ``start``.
        unit: With ``step``, ``start`` and ``ramp_epochs`` count optimiser steps instead of epochs.
        instances: Schedule of the number of instances to find; by default all.

    Raises:
        ConfigurationError: A number is negative, or (in setup) the method lacks a term or ``instance_limit``.
    """

    def __init__(
        self,
        start: dict[str, int] | None = None,
        ramp_epochs: int = 0,
        unit: Unit = "epoch",
        instances: InstanceSchedule | None = None,
    ) -> None:
        super().__init__()
        start = start or {}
        if ramp_epochs < 0 or any(epoch < 0 for epoch in start.values()):
            raise ConfigurationError(
                f"Curriculum counts {unit}s from 0, but got start={start} and ramp_epochs={ramp_epochs}.",
                remedy="Use numbers of at least 0.",
            )
        self.start: Mapping[str, int] = dict(start)
        self.ramp_epochs = ramp_epochs
        self.unit: Unit = unit
        self.instances = instances
        self.convergence = Convergence()
        self.running = RunningLoss()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse terms and limits that the method does not have."""
        if not isinstance(pl_module, Method):
            raise ConfigurationError(
                f"Curriculum changes the loss weights of a Method, but {type(pl_module).__name__} is not a Method.",
                remedy="Remove it from trainer.callbacks.",
            )
        if self.instances is not None and not hasattr(pl_module, "instance_limit"):
            raise ConfigurationError(
                f"Curriculum limits the number of instances, but {type(pl_module).__name__} finds all at once.",
                remedy="Remove `instances` from the Curriculum, or train a PersonParser.",
            )
        self.start = {pl_module.earlier_terms.get(name, name): epoch for name, epoch in self.start.items()}
        for name in self.start:
            if name not in pl_module.base_weights:
                raise ConfigurationError(
                    f"Curriculum sets the start of {name}, a term that {type(pl_module).__name__} does not have.",
                    remedy=did_you_mean(name, pl_module.base_weights),
                )

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._apply(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._apply(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # An epoch's loss is recorded when the next one begins, so that any checkpoint in between contains it.
        if self.instances is not None and self.running.epoch < trainer.current_epoch and self.running.count:
            mean = torch.tensor(self.running.mean, device=pl_module.device)
            loss = float(trainer.strategy.reduce(mean, reduce_op="mean"))
            self.convergence.note(self.running.epoch, loss, self.instances)
            self.running = RunningLoss()
        self._apply(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.unit == "step":
            self._apply(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss of the batch to the sum of its epoch."""
        if self.instances is not None:
            self.running.add(trainer.current_epoch, outputs["loss"])

    def state_dict(self) -> dict[str, Any]:
        """State of the loss's convergence; empty without an instance schedule."""
        if self.instances is None:
            return {}
        return {"convergence": asdict(self.convergence), "running": self.running.plain()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        if state_dict:
            self.convergence = Convergence(**state_dict["convergence"])
            self.running = RunningLoss(**state_dict["running"])

    def _apply(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        assert isinstance(method, Method)  # setup refuses anything else
        now = trainer.current_epoch if self.unit == "epoch" else trainer.global_step
        for name, start in self.start.items():
            share = factor(now, start, self.ramp_epochs)
            method.loss_weights[name] = share * method.base_weights[name]
        if self.instances is not None:
            limit = self.instances.limit(trainer.current_epoch, self.convergence.converged)
            setattr(method, "instance_limit", limit)  # noqa: B010  (optional attribute of a Method; checked in setup)
