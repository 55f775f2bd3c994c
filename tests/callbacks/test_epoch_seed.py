"""Random numbers depend on the configured seed and the epoch, and on nothing else."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from lightning_kp.callbacks import EpochSeed


class AtEpoch:
    """All that the callback asks of a trainer."""

    def __init__(self, epoch: int) -> None:
        self.current_epoch = epoch


def drawn(epoch: int, batch_idx: int | None) -> tuple[float, float, float]:
    """One number of each generator after the start of an epoch (None) or of a batch."""
    callback = EpochSeed()
    trainer: Any = AtEpoch(epoch)
    module: Any = None
    if batch_idx is None:
        callback.on_train_epoch_start(trainer, module)
    else:
        callback.on_train_batch_start(trainer, module, None, batch_idx)
    return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002


@pytest.fixture(autouse=True)
def _seed_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")


def test_an_epoch_draws_the_same_numbers_whatever_was_drawn_before() -> None:
    first = drawn(3, None)
    torch.rand(100)
    np.random.rand(100)  # noqa: NPY002
    random.random()
    assert drawn(3, None) == first


def test_epochs_and_both_streams_of_an_epoch_differ() -> None:
    streams = [drawn(epoch, batch) for epoch in range(3) for batch in (None, 0)]
    assert len(set(streams)) == 6
    assert len({number for stream in streams for number in stream}) == 18


def test_another_seed_draws_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    first = drawn(0, 0)
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    assert drawn(0, 0) != first


def test_batches_after_the_first_are_not_seeded() -> None:
    drawn(0, 0)
    later = drawn(0, 1)
    drawn(0, 0)
    assert drawn(0, 1) == later  # both continue the stream of the first batch
    assert drawn(0, 1) != later


def test_without_a_seed_the_generators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert drawn(0, 0) != drawn(0, 0)
