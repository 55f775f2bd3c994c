"""Seeds the random number generators anew in every epoch, so that a resumed run repeats an uninterrupted one.

``kp fit`` adds this callback to every training (ours; no paper). Lightning's checkpoints hold no state of the
generators of torch, NumPy and Python, so a resumed run would otherwise draw other augmentations and orders.
"""

import os
import random
from typing import Any

import lightning as L
import numpy as np
import torch


class EpochSeed(L.Callback):
    """Makes random numbers a function of the configured seed (``seed_everything``) and the epoch.

    Each epoch has two streams: one for loading its first batch and one for everything after it. They are separate
    because starting worker processes draws a number, and only a resumed run starts them in the middle of training.
    Without a configured seed the callback does nothing.
    """

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _seed(2 * trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            _seed(2 * trainer.current_epoch + 1)


def _seed(stream: int) -> None:
    """Seed torch, NumPy and random from the configured seed and the stream; do nothing without a seed."""
    base = os.environ.get("PL_GLOBAL_SEED")
    if base is not None:
        mixed = int(np.random.SeedSequence((int(base), stream)).generate_state(1)[0])
        torch.manual_seed(mixed)
        np.random.seed(mixed)  # noqa: NPY002  (some libraries draw from the global generator)
        random.seed(mixed)
