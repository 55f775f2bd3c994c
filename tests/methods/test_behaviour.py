"""Behaviour classifier: shape of the benchmark's network, learning, checkpoints, errors, results and the command."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from behaviour_sets import write_calms21

from lightning_kp.batches import LabelledWindows
from lightning_kp.behaviour.bouts import read_bouts
from lightning_kp.behaviour.ethogram import colours, write_ethogram
from lightning_kp.behaviour.results import (
    ClassifiedRecording,
    Setting,
    classify_recordings,
    overall_metrics,
    table_lines,
)
from lightning_kp.behaviour.windows import Recording
from lightning_kp.checkpoints import load_method
from lightning_kp.cli import main
from lightning_kp.datamodules import CalMS21
from lightning_kp.errors import ConfigurationError
from lightning_kp.methods import BehaviourClassifier
from lightning_kp.nn.temporal import WindowClassifier, output_length
from lightning_kp.tracks.table import TrackInfo, make_tracks


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, **options,
    )  # fmt: skip


def small_data(root: Path, **options: Any) -> CalMS21:
    return CalMS21(root=str(write_calms21(root, frames=240)), past=4, future=4, stride=1, **options)


def test_the_benchmarks_network() -> None:
    """201 frames: 5 wide and halved, three times: 98, 47, 21; weights counted by hand."""
    assert [output_length(201, layers, 5) for layers in (1, 2, 3)] == [98, 47, 21]
    network = WindowClassifier(28, 201, 4)
    convolutions = 28 * 5 * 128 + 128 + 128 * 5 * 64 + 64 + 64 * 5 * 32 + 32
    norms = 2 * (28 + 128 + 64 + 32)
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms + 32 * 21 * 4 + 4
    assert network(torch.rand(2, 201, 28)).shape == (2, 4)


def test_the_benchmarks_hyper_parameters() -> None:
    method = BehaviourClassifier(28, 201, ("a", "b"))
    drops = [module.p for module in method.modules() if isinstance(module, torch.nn.Dropout)]
    assert drops == [0.5] * 3
    optimizer = method.default_optimizer()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 1e-3


def test_learning_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    method = BehaviourClassifier(3, 9, ("a", "b"), widths=(8,), dropout=0.0)
    behaviour = torch.randint(2, (64,), generator=generator)
    window = torch.rand(64, 9, 3, generator=generator) + behaviour[:, None, None]
    batch = LabelledWindows(window, behaviour, torch.zeros(64), torch.arange(64))
    optimizer = method.default_optimizer()
    losses = []
    for _ in range(20):
        loss = method.terms(batch)["classification"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_it_takes_what_it_needs_from_the_data_and_the_checkpoint_is_enough(tmp_path: Path) -> None:
    data = small_data(tmp_path, val_fraction=0.2)
    method = BehaviourClassifier(widths=(8,))
    runner = trainer(tmp_path, max_epochs=2)
    runner.fit(method, datamodule=data)
    assert (method.features, method.length, method.background) == (28, 9, "other")
    assert method.behaviours == ("attack", "investigation", "mount", "other")
    logged = {name for name in runner.callback_metrics if name.startswith("val_")}
    assert {"val_map", "val_mean_f1", "val_ap_attack", "val_f1_mount"} <= logged
    runner.save_checkpoint(tmp_path / "model.ckpt")
    loaded = load_method(tmp_path / "model.ckpt")
    assert isinstance(loaded, BehaviourClassifier)
    assert (loaded.background, loaded.widths) == ("other", (8,))
    ours, theirs = classify_recordings(method, data), classify_recordings(loaded, data)
    np.testing.assert_array_equal(ours[0].probability, theirs[0].probability)
    assert [len(each.probability) for each in ours] == [240, 241]
    np.testing.assert_allclose(ours[1].probability.sum(axis=1), 1, rtol=1e-5)


def test_scores_of_the_trainer_and_of_whole_recordings_agree(tmp_path: Path) -> None:
    data = small_data(tmp_path, batch_size=32)
    method = BehaviourClassifier(widths=(8,))
    runner = trainer(tmp_path, max_epochs=8)
    runner.fit(method, datamodule=data)
    tested = runner.test(method, datamodule=data, verbose=False)[0]
    figures = overall_metrics(classify_recordings(method, data))
    assert tested["test_map"] == pytest.approx(figures.map, abs=1e-4)
    assert figures.map > 0.6  # the distance between the mice determines their behaviour


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    with pytest.raises(ConfigurationError, match=r"built for features 5; CalMS21 yields 28"):
        trainer(tmp_path, max_steps=1).fit(BehaviourClassifier(features=5), datamodule=data)
    with pytest.raises(ConfigurationError, match="window of 9 frames is too short"):
        trainer(tmp_path, max_steps=1).fit(BehaviourClassifier(), datamodule=data)
    with pytest.raises(ConfigurationError, match="needs the number of features"):
        BehaviourClassifier().setup("fit")


def scored(labels: list[int], probability: list[list[float]]) -> ClassifiedRecording:
    frames = len(labels)
    shape = (frames, 1, 1)
    arrays = {
        "times_s": np.arange(frames) / 10, "points_px": np.ones((*shape, 2), np.float32),
        "confidence": np.ones(shape, np.float32), "covariance_px": np.ones((*shape, 3), np.float32),
    }  # fmt: skip
    tracks = make_tracks(TrackInfo("a.mp4", (8, 8), 10.0, ("k",)), arrays)
    recording = Recording("set/a", tracks, np.array(labels, np.int64))
    return ClassifiedRecording(
        recording, np.array(probability, np.float32), ("run", "rest", "other"), "other"
    )


RESULT = scored([0, 0, 2, 1, -1], [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0, 0, 1], [0.1, 0.9, 0], [0, 0.7, 0.3]])


def test_bouts_by_hand() -> None:
    assert [tuple(bout[:3]) for bout in RESULT.bouts] == [("run", 0, 1), ("rest", 3, 4)]
    assert [bout.confidence for bout in RESULT.bouts] == pytest.approx([0.7, 0.8])
    figures = overall_metrics([RESULT])
    assert figures.map == figures.mean_f1 == 1  # the unlabelled frame does not count


def test_written_results_are_labels_again(tmp_path: Path) -> None:
    frames, bouts = RESULT.write(tmp_path)
    assert frames.name == "set_a.frames.csv"
    rows = list(csv.DictReader(frames.open()))
    assert rows[3] == {
        "frame": "3", "time_s": "0.3000", "behaviour": "rest", "run": "0.1000", "rest": "0.9000", "other": "0.0000",
    }  # fmt: skip
    again = read_bouts(bouts, 10.0, video="set_a")[""]
    assert [tuple(bout[:3]) for bout in again] == [("run", 0, 1), ("rest", 3, 4)]


def test_ethogram(tmp_path: Path) -> None:
    path = write_ethogram([RESULT, RESULT], tmp_path / "new" / "e.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert len(set(colours(RESULT).values())) == 3


def test_table_by_hand() -> None:
    settings = [
        Setting(
            "pose", {0: {"map": 0.5, "ap_a": 1.0, "f1_a": 0.1}, 1: {"map": 0.7, "ap_a": None, "f1_a": 0.2}}
        ),
        Setting("covariance", {}, "left out: none"),
    ]
    assert settings[0].summary()["map"] == pytest.approx((0.6, math.sqrt(0.02)))
    assert table_lines(settings) == [
        "|  | MAP | AP a | F1 a | seeds |",
        "| --- | --- | --- | --- | --- |",
        "| pose | 0.600 ± 0.141 | 1.000 ± 0.000 | 0.150 ± 0.071 | 2 |",
        "| covariance | – | – | – | left out: none |",  # noqa: RUF001
    ]
    one = Setting("", {0: {"map": 0.5, "f1_left_turn": 0.25, "ap_left_turn": 0.75, "mean_f1": 0.25}})
    assert table_lines([one])[0] == "|  | MAP | mean F1 | AP left_turn | F1 left_turn | seeds |"
    assert table_lines([one])[2] == "| all | 0.500 | 0.250 | 0.750 | 0.250 | 1 |"


CONFIG = """
model:
  class_path: BehaviourClassifier
  init_args:
    widths: [4]
data:
  class_path: CalMS21
  init_args:
    past: 4
    future: 4
trainer:
  max_epochs: 1
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two settings, two seeds; finished runs are not repeated, and a setting that fails reports why."""
    write_calms21(tmp_path)
    config, out = tmp_path / "small.yaml", tmp_path / "out"
    config.write_text(CONFIG)
    command = [
        "behaviour", "--config", str(config), "--out", str(out), "--seeds", "2", f"--data.root={tmp_path}",
        "--vary", "data.features=[pose]|[covariance]",
    ]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "pose, seed 1: MAP" in printed
    assert "covariance: skipped." in printed
    done = json.loads((out / "behaviour.json").read_text())
    assert [setting["setting"] for setting in done] == ["pose", "covariance"]
    assert set(done[0]["seeds"]) == {"0", "1"}
    assert done[0]["mean"]["map"] == pytest.approx(np.mean([s["map"] for s in done[0]["seeds"].values()]))
    run = out / "pose" / "seed-0"
    assert (run / "ethogram.png").is_file()
    assert sorted(p.name for p in (run / "behaviour").iterdir())[0].endswith(".bouts.csv")
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert main(command) == 0
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    assert json.loads((out / "behaviour.json").read_text()) == done
    write_calms21(tmp_path, frames=61)
    assert main(command) == 0
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns > before  # other tracks, other metrics


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    assert main(["behaviour", "--config", str(config), "--vary", "data.features"]) == 2
    assert "gives no values" in capsys.readouterr().err
    assert main(["behaviour"]) == 2
    assert "missing --config" in capsys.readouterr().err
