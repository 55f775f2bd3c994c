"""kp report: the page of a run, and the verdict on what `kp fit` trained."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_runs import error_line, trained_with

from lightning_kp.api.reporting import training_videos
from lightning_kp.cli import main
from lightning_kp.datamodules import LabelledFrames, SyntheticArena
from lightning_kp.method import class_path
from lightning_kp.runs.folder import RunFolder


def test_report_is_written_anew(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder" in error_line(capsys)


def test_a_fitted_run_is_judged_like_a_discovery(
    run: Path, videos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`kp fit` leaves what it learnt; with --judge its folder has the shape of every run's."""
    fitted = tmp_path / "fitted"
    (fitted / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "metrics.csv", "checkpoints/last.ckpt"):
        shutil.copy(run / name, fitted / name)
    assert main(["report", str(fitted), "--judge"]) == 0
    assert "Discovery:" in capsys.readouterr().out
    for name in ("tracks/it's.csv", "overlays/b.2.mp4", "diagnostics.json", "metrics.json", "report.html"):
        assert (fitted / name).is_file(), name


def test_videos_that_a_datamodule_makes_are_judged_too(tmp_path: Path) -> None:
    made = {
        "root": str(tmp_path),
        "frames": 12,
        "test_frames": 4,
        "frame_px": 48,
        "videos": ["elsewhere.mp4"],
    }
    data = {"settings": made, "class": class_path(SyntheticArena)}
    checkpoint = torch.load(trained_with(tmp_path, data["class"], data["settings"]), weights_only=True)
    assert checkpoint["lightning_kp"]["data_class_path"] == data["class"]
    paths = training_videos(RunFolder(tmp_path))
    assert len(paths) == 2
    assert all(path.is_file() for path in paths)


def test_a_run_on_labels_has_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"settings": {}, "class": class_path(LabelledFrames)}
    trained_with(tmp_path, data["class"], data["settings"])
    assert main(["report", str(tmp_path), "--judge"]) == 2
    assert "kp track" in error_line(capsys)
