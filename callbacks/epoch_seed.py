"""The seed of an epoch, so that a resumed training draws what it would have drawn."""

import os
import random
from typing import Any

import lightning as L
import numpy as np
import torch


class EpochSeed(L.Callback):
    """Random numbers as a function of seed and epoch, so that a resumed run repeats the undisturbed one.

    Lightning's checkpoints hold no state of the generators.  One stream serves the loading of the first batch,
    another what comes after: starting workers draws a number, and a resumed run starts them anew.
    """

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _seed(2 * trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            _seed(2 * trainer.current_epoch + 1)


def _seed(stream: int) -> None:
    """Seed torch, numpy and random with the configured seed and a stream; without a seed leave them alone."""
    base = os.environ.get("PL_GLOBAL_SEED")
    if base is not None:
        mixed = int(np.random.SeedSequence((int(base), stream)).generate_state(1)[0])
        torch.manual_seed(mixed)
        np.random.seed(mixed)  # noqa: NPY002  (libraries that draw from the global generator)
        random.seed(mixed)
