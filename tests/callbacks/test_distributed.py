"""Several processes: idle parameters are named before ddp stops, and metrics equal those of one process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import toy
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from repository import HELPERS
from torch.multiprocessing import ProcessRaisedException

from lightning_kp.callbacks import Curriculum, distributed
from lightning_kp.callbacks.distributed import (
    UnusedParameters,
    idle_parameters,
    is_plain_ddp,
    lost_worker,
    message,
)
from lightning_kp.errors import ConfigurationError, WorkerError

OPTIONS = ["--model", "toy.Toy", "--data", "toy.NoiseData", "--trainer.accelerator=cpu"]
OPTIONS += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def kp(folder: Path, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "lightning_kp", verb, *OPTIONS, *options],
        cwd=folder, env=os.environ | {"PYTHONPATH": places}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_which_strategies_are_plain() -> None:
    assert is_plain_ddp(DDPStrategy())
    assert not is_plain_ddp(DDPStrategy(find_unused_parameters=True))
    assert not is_plain_ddp(DDPStrategy(static_graph=True))
    assert not is_plain_ddp(SingleDeviceStrategy())


def test_parameters_without_a_gradient_are_named_with_the_term_that_is_off() -> None:
    method = toy.Toy()
    method.head.bias.requires_grad_(False)
    method.points(toy.Noise(1, 8, False)[0].image[None] / 255).sum().backward()
    assert idle_parameters(method) == ["head.weight"]
    method.loss_weights["rotation"] = 0
    line = message(method, idle_parameters(method))
    assert line.endswith(", but head had none while the weight of rotation is 0.")


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_check_runs_after_the_first_backward_pass(tmp_path: Path, weight: float) -> None:
    check = UnusedParameters()
    trainer = L.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, callbacks=[check],
    )  # fmt: skip
    method = toy.Toy(weights=toy.ToyWeights(rotation=weight))
    trainer.fit(method, toy.NoiseData())  # one process: nothing to check
    check._checking = True
    method.zero_grad(set_to_none=True)
    method.training_step = lambda batch, index: method.terms(batch)["reconstruction"]  # type: ignore[method-assign]
    batch = next(iter(trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]
    sum(method.terms(method.on_after_batch_transfer(batch, 0)).values()).backward()  # type: ignore[union-attr]
    if weight:
        check.on_after_backward(trainer, method)
    else:
        with pytest.raises(ConfigurationError, match="ddp_find_unused_parameters_true"):
            check.on_after_backward(trainer, method)
    check.on_after_backward(trainer, method)  # and never again


def forked(folder: Path, strategy: str, *callbacks: L.Callback) -> L.Trainer:
    """A trainer whose second process is a fork of this one, which starts fast."""
    return L.Trainer(
        accelerator="cpu", devices=1 if strategy == "auto" else 2, strategy=strategy, logger=False, max_epochs=2,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=list(callbacks),
    )  # fmt: skip


@pytest.mark.parametrize("images", [12, 13, 15])
def test_two_processes_measure_what_one_measures(images: int, tmp_path: Path) -> None:
    """Also if the number of images is odd: none counts twice."""
    found = []
    for strategy in ("auto", "ddp_fork"):
        torch.manual_seed(0)
        path = tmp_path / f"{strategy}.json"
        forked(tmp_path, strategy, toy.WriteMetrics(str(path))).validate(
            toy.Toy(), toy.NoiseData(length=images), verbose=False
        )
        found.append(json.loads(path.read_text()))
    one, two = found
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    assert one.keys() == two.keys() >= {"val/loss", "val/reconstruction", "val/rotation"}
    assert two == pytest.approx(one, rel=1e-6)
    assert len(set(one.values())) == 3  # not the same constant everywhere


def test_a_late_term_with_a_head_of_its_own_on_two_processes(tmp_path: Path) -> None:
    late = Curriculum({"rotation": 1})
    with pytest.raises(ProcessRaisedException, match="head had none while the weight of rotation is 0"):
        forked(tmp_path, "ddp_fork", late, UnusedParameters()).fit(toy.Toy(), toy.NoiseData())
    patient = "ddp_fork_find_unused_parameters_true"
    trainer = forked(tmp_path, patient, late, UnusedParameters())
    trainer.fit(toy.Toy(), toy.NoiseData())
    assert {
        "train/rotation",
        "val/rotation",
    } <= trainer.callback_metrics.keys()  # the term started in the second epoch


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_find_unused_parameters_true"])
def test_a_late_term_with_a_head_of_its_own(tmp_path: Path, strategy: str) -> None:
    done = kp(
        tmp_path, "fit", "--trainer.devices=2", f"--trainer.strategy={strategy}", "--trainer.max_epochs=3",
        "--trainer.callbacks+=Curriculum", '--trainer.callbacks.start={"rotation": 2}',
    )  # fmt: skip
    if strategy == "ddp":
        assert done.returncode == 2
        assert "kp: error: Plain ddp needs a gradient" in done.stderr
        assert "--trainer.strategy=ddp_find_unused_parameters_true" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / "toy-1" / "checkpoints" / "last.ckpt").is_file()
        assert not (tmp_path / "runs" / "toy-2").exists()


class Worker:
    """A process that ended with a code, or runs (None)."""

    def __init__(self, returncode: int | None) -> None:
        self.returncode = returncode

    def poll(self) -> int | None:
        return self.returncode


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([None, -9], "Process 2 was killed (SIGKILL), so process 0 of 3 stopped."),
        ([1, None], "Process 1 failed (exit code 1), so process 0 of 3 stopped."),
        ([None, None], "Another process has ended, so process 0 of 3 stopped."),
        ([], "Process 0, or one that it started, has ended, so process 0 of 3 stopped."),
    ],
)
def test_the_process_that_ended_is_named(
    codes: list[int | None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "ENDING_S", 0.1)
    launcher = SimpleNamespace(procs=[Worker(code) for code in codes])
    trainer = SimpleNamespace(
        world_size=3, global_rank=0, strategy=SimpleNamespace(launcher=launcher),
        checkpoint_callback=SimpleNamespace(best_model_path="run/last.ckpt"),
    )  # fmt: skip
    gloo = RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3456")
    found = lost_worker(trainer, gloo)  # type: ignore[arg-type]
    assert isinstance(found, WorkerError)
    assert found.problem == f"{told} Kept: run/last.ckpt."
    assert found.remedy == "Continue with the same command and --ckpt_path run/last.ckpt"
    assert lost_worker(trainer, RuntimeError("shapes do not match")) is None  # type: ignore[arg-type]
    trainer.world_size = 1
    assert lost_worker(trainer, gloo) is None  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_others_in_one_line(tmp_path: Path, rank: int) -> None:
    start = time.monotonic()
    done = kp(
        tmp_path, "fit", "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=50",
        "--trainer.callbacks+=toy.Die", f"--trainer.callbacks.rank={rank}", "--trainer.callbacks.epoch=1",
    )  # fmt: skip
    assert time.monotonic() - start < 120
    assert "Traceback" not in done.stderr
    if rank:
        assert done.returncode == 2
        last = tmp_path / "runs" / "toy-1" / "checkpoints" / "last.ckpt"
        line = f"Process 1 was killed (SIGKILL), so process 0 of 2 stopped. Kept: {last.resolve()}."
        assert line in done.stderr
        assert last.is_file()
    else:
        assert done.returncode == -9
