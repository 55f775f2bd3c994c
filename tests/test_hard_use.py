"""Failures of unattended runs: killed processes, full disks, foreign files, impossible settings.

Each ends in one line that says what to do, without a traceback, and what was finished before is kept.
Checkpoints are also tested in test_checkpoints.py, options in test_cli.py, the cache in test_frame_cache.py.
"""

import csv
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clips
import pytest
import torch
import toy  # noqa: F401  (also before a test captures the stream that Lightning logs to)
from repository import HELPERS

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.checkpoints import read_checkpoint
from lightning_kp.cli import main
from lightning_kp.datamodules import VideoFramePairs

QUIET = [
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
]  # fmt: skip
TOY = ["--model=toy.Toy", "--data=toy.NoiseData", *QUIET]
TINY_BKIND = [
    "--model=BKinD", "--model.encoder=tiny", "--model.pretrained=false", "--model.reconstruction=structural",
    "--model.keypoints=3", "--model.pose_width=8", "--model.decoder_widths=[8,8,8]",
    "--model.variances=[0.1,0.03,0.005]", *QUIET,
]  # fmt: skip
PAIRS = ["--data=VideoFramePairs", "--data.size=48", "--data.batch_size=2"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("KP_DEBUG", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a toy that finished two epochs."""
    folder = tmp_path_factory.mktemp("toy") / "run"
    assert main(["fit", *TOY, "--trainer.max_epochs=2", f"--trainer.default_root_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_arena(
        ArenaSettings(size=48, frames=30, animals=1), tmp_path_factory.mktemp("videos"), "arena"
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run ``kp`` on input that it must refuse and return its one-line error."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    output = capsys.readouterr().err
    lines = [line for line in output.splitlines() if line.startswith("kp: ")]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    return lines[0].removeprefix("kp: error: ")


# ---------------------------------------------------------------- killed


@pytest.mark.slow
def test_a_killed_training_on_videos_repeats_the_undisturbed_one(video: Path, tmp_path: Path) -> None:
    options = [*TINY_BKIND, *PAIRS, f"--data.videos=[{video}]", "--data.gap=2", "--model.augment=true"]
    options += ["--model.rotations=one", "--trainer.max_epochs=3", "--trainer.limit_train_batches=4"]
    options += ["--trainer.limit_val_batches=1", "--trainer.log_every_n_steps=1"]

    def fit(folder: str, *more: str) -> int:
        places = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "lightning_kp", "fit", *options, *more]
        command.append(f"--trainer.default_root_dir={folder}")
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": places}, check=False, capture_output=True, text=True
        )
        assert done.returncode in (0, -9), done.stderr
        return done.returncode

    stop = ["--trainer.callbacks+=toy.Stop", "--trainer.callbacks.epoch=1", "--trainer.callbacks.kill=true"]
    assert fit("whole") == 0
    assert fit("part", *stop) == -9
    assert fit("part", "--ckpt_path=part") == 0
    curves = [list(csv.DictReader((tmp_path / run / "metrics.csv").open())) for run in ("whole", "part")]
    assert len(curves[0]) >= 12
    assert curves[0] == curves[1]
    weights = [read_checkpoint(tmp_path / run)["state_dict"] for run in ("whole", "part")]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


# ---------------------------------------------------------------- disks

FULL = "The disk is full"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write a file beyond ``size`` bytes, in the middle of the write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    logging.raiseExceptions = False  # what pytest captures of the log is a file, too
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        logging.raiseExceptions = True


@pytest.mark.parametrize("size", [10, 6000], ids=["configuration", "checkpoint"])
def test_a_disk_that_fills_up_while_training(size: int, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("run")
    with files_of_at_most(size):
        line = refused(capsys, "fit", *TOY, "--trainer.max_epochs=1", f"--trainer.default_root_dir={folder}")
    assert line.startswith(f"{FULL} while writing ")
    assert "run" in line
    assert not list(folder.rglob("*.ckpt"))


def test_a_disk_that_fills_up_while_tracking(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    video = clips.write_numbered(tmp_path / "v.mp4", 12)
    track = [
        "track",
        str(trained),
        str(video),
        "--formats=csv",
        "--device=cpu",
        "--batch-size=4",
        "--out=out",
    ]
    with files_of_at_most(800):
        line = refused(capsys, *track)
    assert "v.tracks.part" in line
    assert "Free some space" in line
    kept = (tmp_path / "out/tracks/v.tracks.part").stat().st_size
    assert 0 < kept <= 800
    assert main(track) == 0  # and goes on with what was written
    with (tmp_path / "out/tracks/v.csv").open() as file:
        frames = [int(row["frame"]) for row in csv.DictReader(file)]
    assert sorted(set(frames)) == list(range(12))
    assert len(frames) == 12 * 3


@pytest.mark.parametrize("verb", ["discover", "track", "demo"])
def test_a_folder_that_cannot_be_written(
    verb: str, trained: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("a file")
    given = {"discover": [str(video)], "track": [str(trained), str(video)], "demo": ["--frames=10"]}[verb]
    line = refused(capsys, verb, *given, "--out=taken/run")
    assert "taken/run" in line
    assert "Not a directory" in line or "cannot be written" in line


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_permission(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "locked/run cannot be written" in refused(capsys, "discover", str(video), "--out=locked/run")


# ---------------------------------------------------------------- checkpoints


def test_checkpoints_that_track_refuses(
    trained: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "it_ran",)

    good = (trained / "checkpoints/last.ckpt").read_bytes()
    content = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    Path("short.ckpt").write_bytes(good[: len(good) // 2])
    torch.save(content | {"extra": Evil()}, "tampered.ckpt")
    torch.save(content | {"lightning_kp": content["lightning_kp"] | {"data": {}}}, "blind.ckpt")
    torch.save(content | {"hyper_parameters": {"keypoints": 4}}, "other_keypoints.ckpt")
    Path("text.ckpt").write_text("any text")
    for name, message in {
        "short.ckpt": "is cut short",
        "tampered.ckpt": "could run foreign code",
        "blind.ckpt": "does not say how its images were made",
        "other_keypoints.ckpt": "net.weight",
        "text.ckpt": "is not a checkpoint",
        "none.ckpt": "There is no checkpoint none.ckpt",
    }.items():
        assert message in refused(capsys, "track", name, str(video), "--device=cpu", "--out=out"), name
    assert not (tmp_path / "it_ran").exists()
    assert not Path("out").exists()


def test_discovery_does_not_go_on_from_another_method(
    trained: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(trained, "run")
    line = refused(capsys, "discover", str(video), "--out=run", "--model.encoder=tiny", *QUIET)
    assert "belongs to toy.Toy, not to BKinD. To discover keypoints, choose a new folder" in line


# ---------------------------------------------------------------- settings and data


def test_a_method_that_cannot_read_the_data(
    video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes before an hour of video is decoded."""
    monkeypatch.setattr(VideoFramePairs, "prepare_data", lambda self: pytest.fail("decoded"))
    line = refused(capsys, "fit", *TINY_BKIND, "--data=toy.NoiseData")
    assert line.startswith("BKinD reads FramePairs; NoiseData yields Images.")
    line = refused(
        capsys, "fit", "--model=toy.Toy", *QUIET, *PAIRS, f"--data.videos=[{video}]", "--data.gap=2"
    )
    assert line.startswith("Toy reads Images; VideoFramePairs yields FramePairs.")


@pytest.mark.parametrize(("frames", "gap"), [(20, "20"), (20, "5s"), (1, "1")])
def test_videos_shorter_than_the_gap(
    frames: int, gap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = clips.write_numbered(tmp_path / "short.mp4", frames)
    line = refused(capsys, "fit", *TINY_BKIND, *PAIRS, f"--data.videos=[{video}]", f"--data.gap={gap}")
    assert f"short.mp4 has {frames} frame(s)" in line
    assert "Set a shorter gap (--data.gap), or give longer videos." in line


def test_discovery_in_a_single_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = clips.write_numbered(tmp_path / "single.mp4", 1)
    line = refused(capsys, "discover", str(video), "--out=run", "--model.encoder=tiny", *QUIET)
    assert "single.mp4" in line


@pytest.mark.parametrize("content", [b"", b"no video"], ids=["empty", "text"])
def test_discovery_in_something_else(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert "a.mp4" in refused(capsys, "discover", "a.mp4", "--out=run")
    assert "No video found for 'none.mp4'" in refused(capsys, "discover", "none.mp4", "--out=run")


def test_a_misspelt_option_of_discovery(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "discover", str(video), "--out=run", "--model.keypoint=3")
    assert line == "--model.keypoint is not an option of BKinD. Did you mean --model.keypoints?"


BREAKS = """
from toy import Toy
import torch

class Breaks(Toy):
    def terms(self, batch):
        terms = super().terms(batch)
        if self.training and self.global_step == LAST:  # finite, but its gradient is not
            terms["rotation"] = terms["rotation"] + (sum(p.sum() for p in self.parameters()) * 0).sqrt()
        return terms
"""
EXPLODES = """
from toy import Toy


class Explodes(Toy):
    def terms(self, batch):
        terms = super().terms(batch)
        if self.training and self.current_epoch == 1 and self.global_step >= 8:
            terms["rotation"] = terms["rotation"] * float("nan")
        return terms
"""


@pytest.mark.parametrize("last", [5, 11])  # six batches an epoch
def test_weights_that_became_nan_are_not_saved(last: int, capsys: pytest.CaptureFixture[str]) -> None:
    """After the last batch of an epoch no further loss would show it."""
    Path(f"broken{last}.py").write_text(BREAKS.replace("LAST", str(last)))
    options = [f"--model=broken{last}.Breaks", "--data=toy.NoiseData", *QUIET, "--trainer.max_epochs=3"]
    line = refused(capsys, "fit", *options, "--trainer.default_root_dir=run")
    assert "not finite, although the loss was" in line
    if last == 5:
        assert "No checkpoint has been written yet." in line
        assert not Path("run/checkpoints/last.ckpt").exists()
        return
    assert "/run/checkpoints/last.ckpt. Try" in line
    kept = read_checkpoint("run")
    assert kept["epoch"] == 0
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_the_smaller_rate_that_divergence_names_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.py").write_text(EXPLODES)
    options = ["--model=bad.Explodes", "--data=toy.NoiseData", *QUIET, "--trainer.max_epochs=2"]
    line = refused(capsys, "fit", *options, "--trainer.default_root_dir=run")
    typed = line.split("learning rate (")[1].split(")")[0].split()
    line = refused(capsys, "fit", *options, *typed, "--trainer.default_root_dir=again")
    assert line.startswith("The loss became nan")
    assert float(line.split("lr=")[1].split(")")[0]) < float(typed[-1].split("=")[1])


def test_a_loss_that_becomes_nan_keeps_the_last_good_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.py").write_text(EXPLODES)
    options = ["--model=bad.Explodes", "--data=toy.NoiseData", *QUIET, "--trainer.max_epochs=3"]
    line = refused(capsys, "fit", *options, "--trainer.default_root_dir=run")
    # Six batches an epoch: global step 8 is batch 2 of the second.
    assert line.startswith("The loss became nan in epoch 1, batch 2: term rotation.")
    assert "last good checkpoint is kept: " in line
    assert "/run/checkpoints/last.ckpt. Try" in line
    kept = read_checkpoint("run")
    assert kept["epoch"] == 0
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())
