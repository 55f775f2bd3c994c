"""Small videos and runs of a few steps, made once per test process and shared by the tests of verbs and API."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.checkpoints import write_method
from lightning_kp.cli import main
from lightning_kp.methods import BKinD

FRAMES = 30
SIZE, LABELLED_FRAMES = 48, 24
TINY = [
    "--model.encoder=tiny", "--model.keypoints=3", "--model.pose_width=8", "--data.size=48",
    "--data.batch_size=2", "--data.gap=2", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
]  # fmt: skip
ONE_EPOCH = "--trainer.max_epochs=1"


T = TypeVar("T")


def once(build: Callable[[pytest.TempPathFactory], T]) -> Callable[[pytest.TempPathFactory], T]:
    """Build what several conftest files hand on, at the first call only."""
    built: list[T] = []

    @wraps(build)
    def shared(factory: pytest.TempPathFactory) -> T:
        if not built:
            built.append(build(factory))
        return built[0]

    return shared


@once
def two_videos(factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos with awkward names."""
    folder = factory.mktemp("videos")
    settings = [ArenaSettings(size=SIZE, frames=FRAMES, animals=1, seed=seed) for seed in (0, 1)]
    return [write_arena(each, folder, name) for each, name in zip(settings, ("it's", "b.2"), strict=True)]


@once
def frame_cache(factory: pytest.TempPathFactory) -> Path:
    """The folder for KP_CACHE_DIR."""
    return factory.mktemp("cache")


@once
def discovery_run(factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished discovery of one epoch on the two videos."""
    folder = factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KP_CACHE_DIR", str(frame_cache(factory)))
        videos = map(str, two_videos(factory))
        assert main(["discover", *videos, "--out", str(folder), *TINY, ONE_EPOCH]) == 0
    return folder


@once
def labelled_run(factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, its labels (arena.truth.npz) and a run of two steps (run)."""
    made = factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KP_CACHE_DIR", str(frame_cache(factory)))
        video = write_arena(ArenaSettings(size=SIZE, frames=LABELLED_FRAMES, animals=1), made, "arena")
        options = [
            "--model=BKinD", "--model.keypoints=3", "--model.encoder=tiny", "--model.pretrained=false",
            "--model.reconstruction=structural", "--model.pose_width=8", "--model.decoder_widths=[8,8,8]",
            "--model.variances=[0.1,0.03,0.005]", "--data=VideoFramePairs", f"--data.videos={video}",
            f"--data.size={SIZE}", "--data.gap=2", "--data.batch_size=2", "--trainer.max_epochs=1",
            "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0", "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        ]  # fmt: skip
        assert main(["fit", *options, f"--trainer.default_root_dir={made / 'run'}"]) == 0
    return made


@once
def named_run(factory: pytest.TempPathFactory) -> Path:
    """The labelled run after `kp name`."""
    made = labelled_run(factory)
    assert main(["name", str(made / "run"), str(made / "arena.truth.npz")]) == 0
    return made / "run-named"


def trained_with(folder: Path, data_class: str, settings: dict[str, Any]) -> Path:
    """A checkpoint that says with which data it was trained."""
    path = folder / "checkpoints" / "last.ckpt"
    write_method(path, BKinD(keypoints=2, encoder="tiny", pretrained=False, reconstruction="structural"), {})
    content = torch.load(path, weights_only=True)
    content["lightning_kp"] |= {"data_class_path": data_class, "data": settings}
    torch.save(content, path)
    return path


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command wrote about an error."""
    written = capsys.readouterr().err
    assert "Traceback" not in written
    lines = [line for line in written.splitlines() if line.startswith(("kp: error", "kp: stopped"))]
    assert len(lines) == 1, written
    return lines[0]
