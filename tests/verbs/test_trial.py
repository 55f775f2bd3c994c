"""One trial: what it leaves behind when it works, when it fails, and when an agent runs it."""

import json
from pathlib import Path
from typing import Any

import lightning  # noqa: F401  (before a test captures the stream that it logs to)
import pytest
import yaml
from archives import archive

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.cli import main

TOY = [
    "--model=toy.Toy", "--data=toy.NoiseData", "--trainer.accelerator=cpu", "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
]  # fmt: skip
ARENA = [
    "--model=BKinD", "--model.encoder=tiny", "--model.pretrained=false", "--model.reconstruction=structural",
    "--model.keypoints=3", "--model.pose_width=8", "--model.decoder_widths=[8,8,8]",
    "--model.variances=[0.1,0.03,0.005]", "--data=SyntheticArena", "--data.size=48", "--data.gap=2",
    "--data.batch_size=2", "--data.frames=40", "--data.test_frames=16", "--data.frame_px=48",
    "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "KP_DEBUG", "PL_GLOBAL_SEED"):
        monkeypatch.delenv(name, raising=False)


def result(folder: str) -> dict[str, Any]:
    return dict(json.loads((Path(folder) / "trial.json").read_text()))


def test_a_trial_on_the_arena_is_scored_against_the_truth() -> None:
    assert main(["trial", "--out=a", *ARENA, "--prepare"]) == 0
    rendered = sorted(Path("arena").glob("*.mp4"))
    assert len(rendered) == 2
    assert not Path("a").exists()
    before = [path.stat().st_mtime_ns for path in rendered]
    assert main(["trial", "--out=a", *ARENA]) == 0
    assert [path.stat().st_mtime_ns for path in rendered] == before
    told = result("a")
    assert told["state"] == "complete"
    figures = told["figures"]
    assert figures["keypoints"] == 3
    assert 0 < figures["linear"] < 100
    assert {"val/loss", "matched", "untrained_matched", "verdict"} <= figures.keys()
    assert (Path("a") / "diagnostics.json").is_file()


def test_labels_of_ones_own(tmp_path: Path) -> None:
    video = write_arena(ArenaSettings(size=48, frames=20, animals=1, seed=5), tmp_path, "other")
    labels = str(video.with_suffix(".truth.npz"))
    data = ["--data=VideoFramePairs", f"--data.videos=[{video}]", "--data.size=48", "--data.gap=2"]
    model = [word for word in ARENA if not word.startswith("--data")]
    assert main(["trial", "--out=a", f"--labels={labels}", *model, *data]) == 0
    assert 0 < result("a")["figures"]["matched"] < 100


@pytest.mark.parametrize("method", ["DirectPose", "SupervisedKeypoints"])
def test_methods_with_labels_are_tried_too(method: str, tmp_path: Path) -> None:
    """Their datamodules name the files that train ``labels``: nothing to be called."""
    labels = archive(tmp_path, animals=1, frames=10)
    small = ["--model.width=8", "--model.convolutions=1", "--model.each=4"] if method == "DirectPose" else []
    given = [
        f"--model={method}", "--model.names=[nose,tail]", "--model.encoder=tiny", "--model.pretrained=false",
        "--model.stride=4", *small, "--data=LabelledFrames", f"--data.labels={labels}", "--data.size=32",
        "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    given = [each for each in given if method == "DirectPose" or not each.startswith("--model.stride")]
    assert main(["trial", "--out=a", *given]) == 0
    assert "val/loss" in result("a")["figures"]
    assert main(["trial", "--out=b", *given, "--labels", labels]) == 0
    # Nine of the ten frames trained: they are scored apart from the one that was held out.
    scored = {
        "DirectPose": {"animals_found", "trained_animals_found"},
        "SupervisedKeypoints": {"named_mean_px", "trained_linear", "trained_named_mean_px"},
    }
    figures = result("b")["figures"]
    assert scored[method] <= figures.keys()
    if method == "DirectPose":
        assert (figures["animals_frames"], figures["trained_animals_frames"]) == (1, 9)


def test_a_killed_trial_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", "--out=a", *TOY]) == 0
    epochs = [*TOY, "--trainer.max_epochs=3"]
    assert main(["trial", "--out=a", *epochs]) == 0
    lines = (Path("a") / "metrics.csv").read_text().splitlines()
    logged = {line.split(",")[0] for line in lines[1:]}
    assert logged == {"0", "1", "2"}
    config = yaml.safe_load((Path("a") / "config.yaml").read_text())
    assert config["ckpt_path"] is None
    assert config["trainer"]["default_root_dir"] is None


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--model.keypoints=0", "Toy needs a keypoint. Use --model.keypoints=3"),
        ("--model.keypoint=2", "Did you mean --model.keypoints?"),
        ("--trainer.callbacks+=toy.Nothing", "toy.Nothing cannot be imported"),
    ],
)
def test_a_failure_is_told_in_the_result(option: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", "--out=a", *TOY, option]) == 2
    assert told in capsys.readouterr().err
    assert told in result("a")["reason"]
    assert result("a")["state"] == "failed"
    assert result("a")["figures"] == {}


def test_an_error_of_ours_is_told_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import toy

    def broken(self: Any, batch: Any) -> Any:
        raise RuntimeError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(toy.Toy, "terms", broken)
    assert main(["trial", "--out=a", *TOY]) == 2
    assert result("a")["reason"] == "RuntimeError: CUDA out of memory. Tried to allocate"


class Run:
    """What a trial says to Weights & Biases."""

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.codes: list[int] = []

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


def test_an_agent_hears_of_a_failure_but_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    run = Run()
    monkeypatch.setattr(wandb, "run", run)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    assert main(["trial", *TOY, "--model.keypoints=0"]) == 0
    assert "Toy needs a keypoint" in run.summary["reason"]
    assert run.codes == [1]
    assert result("runs/trials/r1")["state"] == "failed"


def test_an_agent_gets_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    from lightning_kp.command import training

    run, logged = Run(), []
    real = training.launch

    def launch(verb: str, options: list[str], **more: Any) -> Any:
        logged.append(options[-1])
        return real(verb, options[:-1], **more)

    monkeypatch.setattr(training, "launch", launch)
    monkeypatch.setattr(wandb, "run", run)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert main(["trial", *TOY]) == 0
    assert logged == ["--log=wandb"]
    assert run.codes == [0]
    assert run.summary["val/loss"] > 0
    assert "reason" not in run.summary
    assert result("runs/trials/1")["state"] == "complete"
