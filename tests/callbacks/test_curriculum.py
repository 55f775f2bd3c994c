"""The curriculum is a pure function of the epoch, is applied in time, and refuses unknown terms."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.callbacks import Curriculum
from lightning_kp.callbacks.curriculum import factor
from lightning_kp.errors import ConfigurationError


class Record(L.Callback):
    """Records the current weights: (stage, epoch, rotation, reconstruction)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, float, float]] = []

    def _note(self, stage: str, trainer: L.Trainer, module: Any) -> None:
        weights = module.loss_weights
        self.seen.append((stage, trainer.current_epoch, weights["rotation"], weights["reconstruction"]))

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self._note("train", trainer, module)

    def on_validation_batch_start(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        self._note("sanity" if trainer.sanity_checking else "validate", trainer, module)


def trainer(folder: Path, *callbacks: L.Callback, epochs: int = 3) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, limit_train_batches=1, limit_val_batches=1,
        callbacks=list(callbacks), num_sanity_val_steps=1,
    )  # fmt: skip


def test_hand_computed_factors() -> None:
    assert [factor(epoch, 2) for epoch in range(4)] == [0, 0, 1, 1]
    assert [factor(epoch, 1, 3) for epoch in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]


@given(st.integers(0, 100), st.integers(0, 50), st.integers(0, 20))
def test_factors_rise_from_nothing_to_one(epoch: int, start: int, ramp: int) -> None:
    value = factor(epoch, start, ramp)
    assert 0 <= value <= factor(epoch + 1, start, ramp) <= 1
    assert (value == 0) == (epoch < start)
    assert (value == 1) == (epoch >= start + ramp)


def test_weights_in_force_in_every_stage(tmp_path: Path) -> None:
    record = Record()
    method = toy.Toy(weights=toy.ToyWeights(reconstruction=1.0, rotation=0.5))
    trainer(tmp_path, Curriculum({"rotation": 1}, ramp_epochs=1), record).fit(method, toy.NoiseData())
    assert record.seen == [
        ("sanity", 0, 0.0, 1.0),
        ("train", 0, 0.0, 1.0), ("validate", 0, 0.0, 1.0),
        ("train", 1, 0.25, 1.0), ("validate", 1, 0.25, 1.0),
        ("train", 2, 0.5, 1.0), ("validate", 2, 0.5, 1.0),
    ]  # fmt: skip


def test_a_resumed_run_has_the_weights_of_its_epoch(tmp_path: Path) -> None:
    first = trainer(tmp_path, Curriculum({"rotation": 1}), epochs=2)
    first.fit(toy.Toy(), toy.NoiseData())
    first.save_checkpoint(tmp_path / "x.ckpt")
    record = Record()
    second = trainer(tmp_path, Curriculum({"rotation": 1}), record, epochs=3)
    second.fit(toy.Toy(), toy.NoiseData(), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert record.seen == [("sanity", 2, 0.5, 1.0), ("train", 2, 0.5, 1.0), ("validate", 2, 0.5, 1.0)]


def test_validation_alone_uses_the_configured_weights(tmp_path: Path) -> None:
    record = Record()
    trainer(tmp_path, Curriculum({"rotation": 5}), record).validate(toy.Toy(), toy.NoiseData(), verbose=False)
    assert record.seen == [("validate", 0, 0.5, 1.0)]


def test_a_term_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"rotatoin, a term that Toy does not have\. Did you mean rotation\?"
    ):
        trainer(tmp_path, Curriculum({"rotatoin": 5})).fit(toy.Toy(), toy.NoiseData())


def test_a_module_that_is_no_method(tmp_path: Path) -> None:
    from lightning.pytorch.demos.boring_classes import BoringModel

    with pytest.raises(ConfigurationError, match="BoringModel is not a Method"):
        trainer(tmp_path, Curriculum({"rotation": 5})).fit(BoringModel())


def test_steps_in_place_of_epochs(tmp_path: Path) -> None:
    record = Record()
    callbacks = [Curriculum({"rotation": 3}, ramp_epochs=1, unit="step"), record]
    runner = trainer(tmp_path, *callbacks, epochs=2)
    runner.limit_train_batches = 3
    runner.fit(toy.Toy(weights=toy.ToyWeights(reconstruction=1.0, rotation=0.5)), toy.NoiseData())
    assert [rotation for stage, _, rotation, _ in record.seen if stage == "train"] == [
        0,
        0,
        0,
        0.25,
        0.5,
        0.5,
    ]


def test_a_resumed_run_has_the_weights_of_its_step(tmp_path: Path) -> None:
    first = trainer(tmp_path, Curriculum({"rotation": 2}, unit="step"), epochs=2)
    first.fit(toy.Toy(), toy.NoiseData())
    first.save_checkpoint(tmp_path / "x.ckpt")
    record = Record()
    second = trainer(tmp_path, Curriculum({"rotation": 2}, unit="step"), record, epochs=3)
    second.fit(toy.Toy(), toy.NoiseData(), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert record.seen == [("sanity", 2, 0.5, 1.0), ("train", 2, 0.5, 1.0), ("validate", 2, 0.5, 1.0)]


@pytest.mark.parametrize(("start", "ramp"), [({"rotation": -1}, 0), ({"rotation": 1}, -2)])
def test_negative_epochs(start: dict[str, int], ramp: int) -> None:
    with pytest.raises(ConfigurationError, match="counts epochs from 0"):
        Curriculum(start, ramp)
