"""Loss terms that begin to count at a later epoch (the indicator of 000, eq. 5.4)."""

from collections.abc import Mapping

import lightning as L

from lightning_kp.errors import ConfigurationError
from lightning_kp.messages import did_you_mean
from lightning_kp.method import Method


def factor(epoch: int, start: int, ramp_epochs: int = 0) -> float:
    """What a term's weight is multiplied with: 0 before ``start``, then up to 1 in equal steps.

    With ``ramp_epochs`` r, epochs start, start + 1, ... have 1/(r+1), 2/(r+1), ...; from start + r on 1.
    """
    if epoch < start:
        return 0.0
    return min(1.0, (epoch - start + 1) / (ramp_epochs + 1))


class Curriculum(L.Callback):
    """Sets the weights in force from the configured ones, as a pure function of the epoch.

    So there is no state to save, and a resumed run has the weights of an undisturbed one.  Counts during
    ``fit`` only: ``validate`` and ``test`` use the configured weights.

    Args:
        start: Epoch (from 0) from which a term counts, by the name of its weight; the others count always.
        ramp_epochs: Epochs below full weight after ``start``.
    """

    def __init__(self, start: dict[str, int], ramp_epochs: int = 0) -> None:
        super().__init__()
        if ramp_epochs < 0 or any(epoch < 0 for epoch in start.values()):
            raise ConfigurationError(
                f"Curriculum counts epochs from 0; start {start} and ramp_epochs {ramp_epochs} were given.",
                remedy="Give numbers that are not negative.",
            )
        self.start: Mapping[str, int] = dict(start)
        self.ramp_epochs = ramp_epochs

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse terms that the method does not have."""
        if not isinstance(pl_module, Method):
            raise ConfigurationError(
                f"Curriculum changes the weights of a Method; {type(pl_module).__name__} is none.",
                remedy="Take it out of trainer.callbacks.",
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
        self._apply(trainer, pl_module)

    def _apply(self, trainer: L.Trainer, method: L.LightningModule) -> None:
        assert isinstance(method, Method)  # setup has refused everything else
        for name, start in self.start.items():
            share = factor(trainer.current_epoch, start, self.ramp_epochs)
            method.loss_weights[name] = share * method.base_weights[name]
