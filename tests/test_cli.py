"""The command: its help, its errors in one line, its run folder, and runs that resume exactly."""

import csv
import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy  # noqa: F401  (before a test captures the stream that Lightning logs to)
import yaml
from repository import HELPERS

from lightning_kp import __version__, cli
from lightning_kp.cli import main
from lightning_kp.command.messages import condense
from lightning_kp.errors import ConfigurationError, DataError, did_you_mean, explain

TOY = ["--model", "toy.Toy", "--data", "toy.NoiseData", "--trainer.accelerator=cpu"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    monkeypatch.delenv("KP_DEBUG", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])


def fit(*options: str) -> int:
    return main(["fit", *TOY, *QUIET, *options])


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command wrote about an error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kp: ")]
    assert len(lines) == 1, lines
    return lines[0]


def losses(folder: Path) -> list[tuple[str, ...]]:
    """(epoch, step, column, value) of everything that a run logged."""
    with (folder / "metrics.csv").open() as file:
        return [
            (row["epoch"], row["step"], name, value)
            for row in csv.DictReader(file)
            for name, value in sorted(row.items())
            if value and name not in ("epoch", "step")
        ]


# ---------------------------------------------------------------- help


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from lightning_kp.cli import main; main(['--help']);"
        "print(sorted({'torch', 'lightning', 'numpy', 'pandas', 'jsonargparse', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for verb in cli.VERBS:
        assert f"  {verb} " in done.stdout


def test_no_verb_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "usage: kp VERB" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"kp {__version__}"


@pytest.mark.parametrize("verb", sorted(set(cli.VERBS) - set(cli.TRAINER_VERBS)))
def test_every_verb_of_the_table_can_run(verb: str) -> None:
    module = importlib.import_module(f"lightning_kp.verbs.{verb}")
    assert callable(module.run)


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discvoer", "x.mp4"]) == 2
    assert error_line(capsys) == "kp: error: There is no `kp discvoer`. Did you mean `kp discover`?"


def test_a_verb_without_arguments_takes_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "foo"]) == 2
    assert (
        error_line(capsys)
        == "kp: error: foo is not an option of kp methods. `kp methods --help` lists all options."
    )


# ---------------------------------------------------------------- errors

MISTAKES = {
    "--model.weights.rotatoin=1": (
        "--model.weights.rotatoin is not",
        "Did you mean --model.weights.rotation?",
    ),
    "--model.keypoint=3": ("--model.keypoint is not an option of Toy", "Did you mean --model.keypoints?"),
    "--data.batchsize=3": ("--data.batchsize", "Did you mean --data.batch_size?"),
    "--trainer.max_epochz=3": ("--trainer.max_epochz", "Did you mean --trainer.max_epochs?"),
    "--modl=toy.Toy": ("--modl ", "Did you mean --model?"),
    "--model=BKInD": ("no class BKInD", "Did you mean BKinD?"),
    "--trainer.callbacks+=Curriculm": ("--trainer.callbacks", "Did you mean Curriculum?"),
    "--model.optimizer=Adm": ("--model.optimizer", "Did you mean Adam?"),
    "--model.optimizer=torch.optim.Adam --model.optimizer.lrr=3": (
        "lrr",
        "Did you mean --model.optimizer.lr?",
    ),
    "--model=toy.Tooy": ("toy.Tooy cannot be imported", "FILE.CLASS"),
    "--model=octopus.Octopus": ("octopus.Octopus cannot be imported", "FILE.CLASS"),
    "--model.keypoints=many": ("--model.keypoints needs a whole number; 'many' was given",),
    "--model.weights.rotation=big": ("--model.weights.rotation needs a number; 'big'",),
    "--model.keypoints=0": ("Toy needs a keypoint. Use --model.keypoints=3",),
    "--config=none.yaml": ("--config: there is no file", "none.yaml"),
    "--data.batch_size=0": ("batch_size is 0", "--data.batch_size=16"),
    "--ckpt_path=none.ckpt": ("There is no checkpoint none.ckpt",),
    "--trainer.accelerator=cudaa": ("--trainer: ", "cudaa"),
    "--data=toy.FramesData": ("Toy reads Images; FramesData yields Frames", "Choose a datamodule"),
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_is_told_in_one_line(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.fast_dev_run=1", *options.split()) == 2
    line = error_line(capsys)
    assert line.startswith("kp: error: ")
    for part in MISTAKES[options]:
        assert part in line
    assert "Traceback" not in line


def test_mistakes_in_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = {"class_path": "toy.Toy", "init_args": {"weights": {"rotatoin": 2}}}
    Path("wrong.yaml").write_text(yaml.safe_dump({"model": method, "data": "toy.NoiseData"}))
    assert main(["fit", "--config", "wrong.yaml"]) == 2
    assert "Did you mean --model.weights.rotation?" in error_line(capsys)


@pytest.mark.parametrize("form", ["--config={}", "--config {}"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x00\x9d\xff", "given.yaml cannot be read (it is not text). A YAML text file is needed"),
        (b"model: [1, 2", "given.yaml cannot be read (while parsing"),
        (b"hello", "given.yaml holds no settings such as `data: ...`. A YAML text file is needed"),
        (b"- a\n- b\n", "given.yaml holds no settings"),
    ],
)
def test_a_configuration_that_holds_none_is_named(
    content: bytes, told: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("given.yaml").write_bytes(content)
    assert main(["fit", *form.format("given.yaml").split()]) == 2
    assert told in error_line(capsys)


def test_a_folder_is_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    assert main(["fit", "--config=run"]) == 2
    assert "--config needs a file; run is a folder. Name a YAML file in it." in error_line(capsys)
    Path("run/config.yaml").touch()
    assert main(["fit", "--config=run"]) == 2
    assert error_line(capsys).endswith("Use --config run/config.yaml")


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ("--ckpt_path=run", "--model and --data"),
        ("--data=toy.NoiseData --ckpt_path run/checkpoints/last.ckpt", "--model"),
    ],
)
def test_a_checkpoint_without_its_settings_is_told_where_they_are(
    options: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    assert main(["predict", *options.split()]) == 2
    assert "Add --config" not in error_line(capsys)
    Path("run/config.yaml").touch()
    assert main(["predict", *options.split()]) == 2
    assert f"Missing: {missing}; a checkpoint holds" in (line := error_line(capsys))
    assert line.endswith("Add --config run/config.yaml")


@pytest.mark.parametrize(
    ("typed", "lost"),
    [
        ([], "model.keypoints, model.weights"),
        (["--model.weights.supervision=2"], "model.keypoints, model.weights.rotation"),
    ],
)
def test_settings_that_another_class_does_not_take_over_are_named(
    typed: list[str], lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """jsonargparse drops them without a word; a run with other weights than its file says must not go unnoticed."""
    file = tmp_path / "bkind.yaml"
    settings = {"keypoints": 3, "sharpness": 2.0, "weights": {"rotation": 7.0}}
    file.write_text(yaml.safe_dump({"model": {"class_path": "BKinD", "init_args": settings}}))
    data = ["--data=LabelledFrames", "--data.labels=[none.csv]"]
    main(["fit", f"--config={file}", "--model=SupervisedKeypoints", "--model.names=[a]", *typed, *data])
    told = capsys.readouterr().err.splitlines()
    assert f"kp: {file}: SupervisedKeypoints does not take over {lost}. " in told[0]
    assert "sharpness" not in told[0]
    main(["fit", f"--config={file}", "--data=VideoFramePairs", "--data.videos=[none.mp4]"])
    assert "take over" not in capsys.readouterr().err


def test_missing_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit"]) == 2
    assert "Missing: --data and --model." in error_line(capsys)
    assert main(["fit", "--model=toy.Toy", "--data=VideoFramePairs"]) == 2
    assert error_line(capsys) == "kp: error: Missing: --data.videos. Type --data.videos=..."


def test_debugging_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KP_DEBUG", "1")
    assert main(["nonsense"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(given: list[str]) -> int:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(cli, "_dispatch", broken)
    assert main(["methods"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.endswith("kp: error: ZeroDivisionError: two lines\n")


def test_a_nested_error_is_the_users() -> None:
    outer = RuntimeError("worker died")
    outer.__cause__ = ValueError("while loading")
    outer.__cause__.__context__ = DataError("No frames\n in it.", remedy="Use another.")
    assert explain(outer) == "No frames in it. Use another."


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space", "runs/a/x.csv"), "The disk is full while writing runs/a/x.csv."),
        (OSError(errno.ENOSPC, "No space"), "The disk is full."),
        (PermissionError(errno.EACCES, "denied", "/data/runs"), "No permission for /data/runs."),
        (OSError(errno.EROFS, "read-only", "/mnt/x"), "No permission for /mnt/x."),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.mp4"),
            "No such file or directory: a.mp4.",
        ),
    ],
)
def test_errors_of_the_disk_name_the_path(error: OSError, told: str) -> None:
    line = explain(error)
    assert line is not None
    assert line.startswith(told)


def test_an_error_of_the_system_without_a_path_is_no_user_error() -> None:
    assert explain(OSError(errno.EBADF, "bad descriptor")) is None
    assert explain(ValueError("x")) is None


def test_run_folder_below_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("a file")
    for folder in ("taken/run", "taken"):
        assert fit(f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=1") == 2
        line = error_line(capsys)
        assert f"The run folder {folder} cannot be written: " in line
        assert line.endswith("Choose another with --trainer.default_root_dir DIR.")


def test_a_full_disk_names_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert fit("--trainer.default_root_dir=run", "--trainer.max_epochs=1") == 2
    assert f"The disk is full while writing {Path.cwd()}/run/checkpoints/last.ckpt." in error_line(capsys)
    assert not [path for path in Path("run").rglob("*") if path.suffix in (".ckpt", ".part")]


def test_words_for_what_is_unknown() -> None:
    assert did_you_mean("Rotation", ["rotation", "separation"]) == "Did you mean rotation?"
    assert did_you_mean("zzz", ["b", "a"]) == "There are: a, b."
    message = 'Parser key "x":\n  - Given value: 3\n  - something else went wrong'
    told = condense(message, [], list)
    assert isinstance(told, ConfigurationError)
    assert str(told) == "--x: something else went wrong"


# ---------------------------------------------------------------- runs


def test_print_config_is_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.weights.rotation=0.25", "--print_config") == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["model"]["class_path"] == "toy.Toy"
    assert settings["model"]["init_args"]["weights"] == {"reconstruction": 1.0, "rotation": 0.25}


def test_a_run_leaves_its_configuration_and_can_be_repeated() -> None:
    assert fit("--trainer.max_epochs=1", "--model.weights.rotation=0.25") == 0
    first = Path("runs/toy-1")
    assert {path.name for path in first.iterdir() if not path.name.startswith(".")} == {
        "config.yaml",
        "metrics.csv",
        "checkpoints",
        "pictures",
    }
    assert [path.name for path in (first / "checkpoints").iterdir()] == ["last.ckpt"]
    assert main(["fit", "--config", str(first / "config.yaml")]) == 0
    assert losses(Path("runs/toy-2")) == losses(first)


def test_a_class_of_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_octopus.py").write_text(
        "from toy import Toy\n\n\nclass Octopus(Toy):\n    def __init__(self, arms: int = 8, **kwargs):\n"
        "        super().__init__(keypoints=arms, **kwargs)\n"
    )
    assert fit("--model=my_octopus.Octopus", "--model.arms=5", "--print_config") == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["model"]["class_path"] == "my_octopus.Octopus"
    assert settings["model"]["init_args"]["arms"] == 5


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_other_verbs_of_the_trainer(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        fit("--trainer.default_root_dir=run", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1")
        == 0
    )
    options = [*TOY, *QUIET, "--trainer.default_root_dir=elsewhere", "--ckpt_path=run"]
    data = ["--data=toy.FramesData"] if verb == "predict" else []
    assert main([verb, *options, *data]) == 0
    left = [path.name for path in Path("elsewhere").rglob("*")]
    assert left == (["metrics.json"] if verb == "test" else [])


def test_ctrl_c_keeps_the_last_epoch_and_the_run_resumes_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["--trainer.max_epochs=4", "--trainer.log_every_n_steps=1", "--trainer.callbacks+=Curriculum"]
    steps += ['--trainer.callbacks.start={"rotation": 1}', "--trainer.callbacks.ramp_epochs=2"]
    steps += ["--model.scheduler=torch.optim.lr_scheduler.ExponentialLR", "--model.scheduler.gamma=0.5"]
    assert fit(*steps, "--trainer.default_root_dir=whole") == 0
    stop = ["--trainer.callbacks+=toy.Stop", "--trainer.callbacks.epoch=2"]
    assert fit(*steps, *stop, "--trainer.default_root_dir=part") == 130
    line = error_line(capsys)
    assert line.startswith("kp: stopped. Kept: ")
    assert "part/checkpoints/last.ckpt" in line
    assert fit(*steps, "--trainer.default_root_dir=part", "--ckpt_path=part") == 0
    assert losses(Path("part")) == losses(Path("whole"))
    saved = [torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("part", "whole")]
    for name, value in saved[0]["state_dict"].items():
        assert torch.equal(value, saved[1]["state_dict"][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_run_resumes_exactly(workers: int) -> None:
    def run(*options: str) -> int:
        command = [sys.executable, "-m", "lightning_kp", "fit", *TOY, *QUIET, *options]
        command += [
            f"--data.num_workers={workers}",
            "--trainer.max_epochs=4",
            "--trainer.log_every_n_steps=1",
        ]
        places = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": places}, check=False).returncode

    stop = ["--trainer.callbacks+=toy.Stop", "--trainer.callbacks.epoch=2", "--trainer.callbacks.kill=true"]
    assert run("--trainer.default_root_dir=whole") == 0
    assert run("--trainer.default_root_dir=part", *stop) == -9
    assert run("--trainer.default_root_dir=part", "--ckpt_path=part") == 0
    assert losses(Path("part")) == losses(Path("whole"))


def test_a_checkpoint_of_another_method_is_refused_before_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fit("--trainer.default_root_dir=run", "--trainer.max_epochs=1") == 0
    assert fit("--model.keypoints=5", "--ckpt_path=run") == 2
    assert "was trained with keypoints=3 (here 5). Use --model.keypoints=3" in error_line(capsys)
    assert fit("--model=toy.OtherToy", "--ckpt_path=run") == 2
    assert "belongs to toy.Toy, not to toy.OtherToy" in error_line(capsys)


def test_every_epoch_is_kept_whether_it_validates_or_not() -> None:
    assert fit("--trainer.max_epochs=4", "--trainer.check_val_every_n_epoch=3") == 0
    kept = torch.load("runs/toy-1/checkpoints/last.ckpt", weights_only=False)
    assert kept["epoch"] == 3
    assert fit("--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=3") == 0
    assert torch.load("runs/toy-2/checkpoints/last.ckpt", weights_only=False)["epoch"] == 0


# ---------------------------------------------------------------- old names


@pytest.mark.parametrize("old", cli.ALIASES)
def test_old_verbs_work_and_name_the_new_one(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([old, "--help"])
    printed = capsys.readouterr()
    new = " ".join(cli.ALIASES[old])
    assert f"`kp {old}` is now `kp {new}`" in printed.err
    assert f"usage: kp {new.split(' --')[0]}" in printed.out
    assert f"\n  {old} " not in cli.help_text()


def test_measure_names_its_quantities(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure"]) == 0
    assert "usage: kp measure pulse|wind" in capsys.readouterr().out
    assert main(["measure", "puls", "x.csv"]) == 2
    assert error_line(capsys) == "kp: error: kp measure cannot measure 'puls'. Did you mean pulse?"
