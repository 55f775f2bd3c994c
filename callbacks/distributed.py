"""Checks for training on several devices."""

from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy

from lightning_kp.errors import ConfigurationError
from lightning_kp.method import Method

REMEDY = "Use --trainer.strategy=ddp_find_unused_parameters_true"
MAX_MODULES_SHOWN = 4


class UnusedParameters(L.Callback):
    """Raises an error that names the remedy if plain ``ddp`` meets parameters that no loss term uses yet.

    A term whose weight is 0, or that a curriculum starts later, is not computed, so parameters that only this
    term uses get no gradient. Plain ddp then stops in the second step with a message about its buckets. Only a
    backward pass shows which parameters these are (a late term may have none of its own), so the callback checks
    after the first one, before ddp fails. With any other strategy nothing is checked.
    """

    def __init__(self) -> None:
        super().__init__()
        self._checking = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._checking = is_plain_ddp(trainer.strategy)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._checking:
            return
        self._checking = False
        if idle := idle_parameters(pl_module):
            raise ConfigurationError(message(pl_module, idle), remedy=REMEDY)


def is_plain_ddp(strategy: Any) -> bool:
    """Whether the strategy is ddp and expects a gradient for every parameter in every step."""
    if not isinstance(strategy, DDPStrategy):
        return False
    settings = strategy._ddp_kwargs
    return not settings.get("find_unused_parameters") and not settings.get("static_graph")


def idle_parameters(method: L.LightningModule) -> list[str]:
    """Names of the trainable parameters without a gradient after the last backward pass."""
    return [name for name, value in method.named_parameters() if value.requires_grad and value.grad is None]


def message(method: L.LightningModule, idle: list[str]) -> str:
    """Error message with the modules of the idle parameters and the terms that are switched off."""
    parts = sorted({name.rpartition(".")[0] or name for name in idle})
    shown = ", ".join(parts[:MAX_MODULES_SHOWN]) + (", ..." if len(parts) > MAX_MODULES_SHOWN else "")
    off = (
        [name for name, weight in method.loss_weights.items() if weight == 0]
        if isinstance(method, Method)
        else []
    )
    why = f" while the weight of {' and '.join(off)} is 0" if off else ""
    return f"Plain ddp needs a gradient for every parameter in every step, but {shown} had none{why}."
