"""Balances the loss terms of any method in training, by one of the ways of 003, 4.4.2.2.

The mathematics are in :mod:`lightning_kp.losses.balance`.  The weight that each term effectively has, the derivative of
the objective by the term, is logged in every step as ``balance/<term>``.
"""

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.losses.balance import SCALE, Kind, build_balance
from lightning_kp.method import Method


class LossBalance(L.Callback):
    """Sums the loss terms of a method in training; validation and tests use the configured weights.

    With the losses of 003 (0.001 to 4), e^(l / 50) weighs tasks within 8 % of each other: compare it with ``fixed``.

    Args:
        kind: ``exponential`` e^(l / scale), ``logarithmic`` log(1 + l), ``uncertainty`` (learned with the network, and
            saved and resumed with it), ``pareto`` (the min-norm point of the gradients), or ``fixed`` weights.
        terms: Names of the terms to balance, by default all that have a weight; others keep their weights.
        scale: The scale of ``exponential`` (003: 50).

    Raises:
        ConfigurationError: In setup: the module is no Method, or lacks a term; the optimiser does not train the
            uncertainties; or a Pareto balance would not be exact: the method's terms share no tensor, there are fewer
            than two terms, losses are scaled (16-mixed), batches are accumulated, or several processes train.
    """

    def __init__(self, kind: Kind = "exponential", terms: Sequence[str] = (), scale: float = SCALE) -> None:
        super().__init__()
        build_balance(kind, (), scale)  # refuses wrong options at once
        self.kind: Kind = kind
        self.terms = tuple(terms)
        self.scale = scale

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the method its balance before its optimiser is built."""
        if not isinstance(pl_module, Method):
            raise ConfigurationError(
                f"LossBalance sums the terms of a Method, but {type(pl_module).__name__} is not a Method.",
                remedy="Remove it from trainer.callbacks.",
            )
        if stage != "fit":
            return
        for name in self.terms:
            if name not in pl_module.base_weights:
                raise ConfigurationError(
                    f"LossBalance balances {name}, a term that {type(pl_module).__name__} does not have.",
                    remedy=did_you_mean(name, pl_module.base_weights),
                )
        names = self.terms or tuple(name for name, weight in pl_module.base_weights.items() if weight)
        if self.kind == "pareto":
            _refuse_inexact(trainer, pl_module, names)
        pl_module.balance = build_balance(self.kind, names, self.scale).to(pl_module.device)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse an optimiser that was built for some parameters only, without those of the balance."""
        assert isinstance(pl_module, Method)  # setup refuses anything else
        assert pl_module.balance is not None
        trained = {
            id(each)
            for optimizer in trainer.optimizers
            for group in optimizer.param_groups
            for each in group["params"]
        }
        if any(id(each) not in trained for each in pl_module.balance.parameters()):
            raise ConfigurationError(
                f"The default optimiser of {type(pl_module).__name__} trains some of its parameters only, so it would "
                "not learn the uncertainties.",
                remedy="Set --model.optimizer=torch.optim.Adam, or another kind of LossBalance.",
            )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the method as it was before."""
        if isinstance(pl_module, Method) and stage == "fit":
            pl_module.balance = None


def _refuse_inexact(trainer: L.Trainer, method: Method, names: Sequence[str]) -> None:
    """Raise ConfigurationError where the weights of a Pareto balance would not be those of the min-norm point."""
    kind = type(method).__name__
    accumulates = any(isinstance(each, GradientAccumulationScheduler) for each in trainer.callbacks)  # type: ignore[attr-defined]
    reasons = {
        f"all terms of {kind} do not share one tensor": not method.shared_by_terms,
        f"{kind} has {len(names)} term with a weight": len(names) < 2,
        "mixed precision of 16 bits scales the loss": trainer.precision == "16-mixed",
        "gradients of several batches are accumulated": trainer.accumulate_grad_batches != 1 or accumulates,
        f"each of {trainer.world_size} processes has gradients of its own": trainer.world_size > 1,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise ConfigurationError(
            f"LossBalance kind=pareto needs the gradients of two or more terms at one tensor, but {found[0]}.",
            remedy="Use kind=exponential, or one process with precision bf16-mixed or 32-true and "
            "accumulate_grad_batches=1.",
        )
