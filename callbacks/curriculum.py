"""What training demands, little by little: loss terms that begin later (the indicator of 000, eq. 5.4), and
the number of instances that a sequential method is asked for (000, 3.6).
"""  # noqa: D205

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
    """What a term's weight is multiplied with: 0 before ``start``, then up to 1 in equal steps.

    With ``ramp_epochs`` r, epochs start, start + 1, ... have 1/(r+1), 2/(r+1), ...; from start + r on 1.
    """
    if epoch < start:
        return 0.0
    return min(1.0, (epoch - start + 1) / (ramp_epochs + 1))


class Curriculum(L.Callback):
    """Sets the weights in force from the configured ones, as a pure function of the epoch or step.

    So there is no state to save for them, and a resumed run has the weights of an undisturbed one.  Counts
    during ``fit`` only: ``validate`` and ``test`` use the configured weights.

    The number of ``instances`` may depend on the loss too; what is known of that is saved with the checkpoint.
    It limits the training batches of methods that have ``instance_limit``, and no others.

    Args:
        start: Epoch (from 0) from which a term counts, by the name of its weight; the others count always.
        ramp_epochs: Epochs below full weight after ``start``.
        unit: ``step``: ``start`` and ``ramp_epochs`` count optimiser steps in place of epochs.
        instances: How many instances are asked for; by default all.
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
                f"Curriculum counts {unit}s from 0; start {start} and ramp_epochs {ramp_epochs} were given.",
                remedy="Give numbers that are not negative.",
            )
        self.start: Mapping[str, int] = dict(start)
        self.ramp_epochs = ramp_epochs
        self.unit: Unit = unit
        self.instances = instances
        self.convergence = Convergence()
        self.running = RunningLoss()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse terms that the method does not have."""
        if not isinstance(pl_module, Method):
            raise ConfigurationError(
                f"Curriculum changes the weights of a Method; {type(pl_module).__name__} is none.",
                remedy="Take it out of trainer.callbacks.",
            )
        if self.instances is not None and not hasattr(pl_module, "instance_limit"):
            raise ConfigurationError(
                f"Curriculum limits the number of instances; {type(pl_module).__name__} finds all at once.",
                remedy="Leave `instances` out of the Curriculum, or train a PersonParser.",
            )
        for name in self.start:
            if name not in pl_module.base_weights:
                raise ConfigurationError(
                    f"Curriculum starts the term {name}, which {type(pl_module).__name__} does not have.",
                    remedy=did_you_mean(name, pl_module.base_weights),
                )

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._apply(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._apply(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # An epoch's loss is judged when the next one begins: a checkpoint written anywhere between carries it.
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
        """Add the batch's loss to those of its epoch."""
        if self.instances is not None:
            self.running.add(trainer.current_epoch, outputs["loss"])

    def state_dict(self) -> dict[str, Any]:
        """What is known of the loss's convergence."""
        if self.instances is None:
            return {}
        return {"convergence": asdict(self.convergence), "running": self.running.plain()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        if state_dict:
            self.convergence = Convergence(**state_dict["convergence"])
            self.running = RunningLoss(**state_dict["running"])

    def _apply(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        assert isinstance(method, Method)  # setup has refused everything else
        now = trainer.current_epoch if self.unit == "epoch" else trainer.global_step
        for name, start in self.start.items():
            share = factor(now, start, self.ramp_epochs)
            method.loss_weights[name] = share * method.base_weights[name]
        if self.instances is not None:
            limit = self.instances.limit(trainer.current_epoch, self.convergence.converged)
            setattr(method, "instance_limit", limit)  # noqa: B010  (a Method need not have it; setup has asked)
