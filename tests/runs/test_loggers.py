"""Loggers by name: Weights & Biases offline without a key, TensorBoard, and the table that is always written."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy  # noqa: F401  (before a test captures the stream that Lightning logs to)

from lightning_kp.cli import main
from lightning_kp.errors import ConfigurationError
from lightning_kp.runs.loggers import (
    chosen_loggers,
    log_pictures,
    log_rows,
    markdown,
    stay_offline_without_key,
)

TOY = ["--model=toy.Toy", "--data=toy.NoiseData", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)


def mode(monkeypatch: pytest.MonkeyPatch) -> str | None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", {**os.environ})
        stay_offline_without_key()
        return os.environ.get("WANDB_MODE")


def test_without_a_key_weights_and_biases_stays_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mode(monkeypatch) == "offline"


@pytest.mark.parametrize("host", ["api.wandb.ai", "wandb.lab.example"])
def test_a_key_of_the_login_is_found(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text(f"machine {host}\n  login user\n  password {'0' * 40}\n")
    assert mode(monkeypatch) == (None if host == "api.wandb.ai" else "offline")
    monkeypatch.setenv("WANDB_BASE_URL", f"https://{host}")
    assert mode(monkeypatch) is None


def test_a_damaged_netrc_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine\nmachine what is this")
    assert mode(monkeypatch) == "offline"


def test_what_the_user_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode(monkeypatch) == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert mode(monkeypatch) is None


def test_loggers_by_name(tmp_path: Path) -> None:
    assert chosen_loggers("csv", tmp_path) == []
    kinds = [type(logger).__name__ for logger in chosen_loggers("wandb, tensorboard,wandb", tmp_path)]
    assert kinds == ["WandbLogger", "TensorBoardLogger"]
    with pytest.raises(
        ConfigurationError, match=r"--log=tensorbord is not a logger\. Did you mean --log=tensorboard\?"
    ):
        chosen_loggers("tensorbord", tmp_path)


class Taker:
    """A logger that records its calls."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def log_image(self, **given: Any) -> None:
        self.got.append(given)

    log_table = log_image


class Board:
    """A logger with the interface of TensorBoard's."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.experiment = self

    def add_image(self, *given: Any, **named: Any) -> None:
        self.got.append((*given, named))

    def add_text(self, *given: Any) -> None:
        self.got.append(given)


def test_pictures_and_tables_go_to_whoever_takes_them() -> None:
    taker, board = Taker(), Board()
    loggers: Any = [taker, object(), board]
    picture = np.zeros((2, 3, 3), np.uint8)
    log_pictures(loggers, "a", picture, 7)
    log_rows(loggers, "b", ("k", "why"), [("kp01", "x|y")], 8)
    image, table = taker.got
    assert (image["key"], image["step"], image["images"][0].shape) == ("a", 7, (2, 3, 3))
    assert table == {"key": "b", "columns": ["k", "why"], "data": [["kp01", "x|y"]], "step": 8}
    (name, shown, step, named), text = board.got
    assert (name, shown.shape, step, named) == ("a", (2, 3, 3), 7, {"dataformats": "HWC"})
    assert text == ("b", "| k | why |\n| --- | --- |\n| kp01 | x\\|y |", 8)
    assert markdown(["a"], []) == "| a |\n| --- |"


def test_a_run_with_tensorboard_keeps_its_table() -> None:
    assert main(["fit", *TOY, *QUIET, "--log=tensorboard", "--trainer.default_root_dir=run"]) == 0
    assert (Path("run") / "metrics.csv").is_file()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(Path("run") / "tensorboard")).Reload()
    assert "val/loss" in events.Tags()["scalars"]
    assert "val/keypoints" in events.Tags()["images"]


def test_loggers_of_the_trainer_come_beside_the_table() -> None:
    own = "--trainer.logger=lightning.pytorch.loggers.CSVLogger"
    assert (
        main(["fit", *TOY, *QUIET, own, "--trainer.logger.save_dir=mine", "--trainer.default_root_dir=run"])
        == 0
    )
    assert (Path("run") / "metrics.csv").is_file()
    assert list(Path("mine").rglob("metrics.csv"))


@pytest.mark.slow
def test_weights_and_biases_writes_into_the_run_folder() -> None:
    assert main(["fit", *TOY, *QUIET, "--log=wandb", "--trainer.default_root_dir=run"]) == 0
    assert list((Path("run") / "wandb").glob("offline-run-*/*.wandb"))
    assert list((Path("run") / "wandb").rglob("*.png"))


def test_an_unknown_logger_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *TOY, *QUIET, "--log=wandbb"]) == 2
    assert "Did you mean --log=wandb?" in capsys.readouterr().err
