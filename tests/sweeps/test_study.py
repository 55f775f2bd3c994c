"""Sweeps: files that W&B's agents and `kp sweep` read alike, trials that fail alone, and sweeps that resume."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning  # noqa: F401  (before a test captures the stream that it logs to)
import pytest
import yaml
from repository import ROOT
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from lightning_kp.cli import main
from lightning_kp.command.training import refuse_wrong_options
from lightning_kp.command.trials import training_options
from lightning_kp.errors import ConfigurationError
from lightning_kp.sweeps import runner
from lightning_kp.sweeps.file import SEED, SweepFile, read_sweep
from lightning_kp.sweeps.study import Study
from lightning_kp.sweeps.table import per_setting, write_tables

FILES = sorted((ROOT / "experiments").glob("sweep_*.yaml"))
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
# A trial that takes a hundredth of kp's time: the square of x. x=2 fails by itself, x=3 is killed, x=4 has no loss,
# x=6 diverges.
SCRIPT = """
import json, os, pathlib, signal, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
out, x = pathlib.Path(given["out"]), float(given["x"])
print("some noise")
if x == 3:
    os.kill(os.getpid(), signal.SIGKILL)
result = {"state": "complete", "figures": {"loss": x * x + float(given.get("seed_everything", 0)), "found": 4}}
if x == 2:
    result = {"state": "failed", "reason": "The disk is full.", "figures": {}}
if x == 4:
    result["figures"].pop("loss")
if x == 6:
    result["figures"]["loss"] = float("nan")
# Whole or not at all, as kp trial does: another trial's end may be the moment when it is read.
(out / "trial.part").write_text(json.dumps(result))
(out / "trial.part").replace(out / "trial.json")
"""


@pytest.fixture(autouse=True)
def _repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # sweep files name experiments from here
    monkeypatch.delenv("KP_DEBUG", raising=False)
    monkeypatch.setattr(runner, "POLL_S", 0.01)


def written(folder: Path, **keys: Any) -> Path:
    """A sweep file whose trials are SCRIPT; ``keys`` replace its own."""
    (folder / "script.py").write_text(SCRIPT)
    content = {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"values": [5, 1]}, SEED: {"values": [0, 2]}},
        "command": ["${env}", "${interpreter}", str(folder / "script.py"), "${args}"],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content | keys, sort_keys=False))
    return path


def run(file: Path, *options: str) -> int:
    return main(["sweep", str(file), "--out", str(file.parent / "out"), *options])


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


# ---------------------------------------------------------------- files


def settings_of(sweep: SweepFile) -> list[dict[str, Any]]:
    return sweep.grid() if sweep.method == "grid" else list(sweep.probes())


def test_there_is_an_ablation_of_each_kind() -> None:
    assert {"arena_gap", "arena_keypoints", "arena_target", "arena_terms"} <= {
        file.stem.removeprefix("sweep_bkind_") for file in FILES
    }


@EVERY_FILE
def test_every_command_is_one_that_runs(file: Path) -> None:
    sweep = read_sweep(file)
    assert sweep.command[:3] == ("${env}", "kp", "trial")
    for setting in settings_of(sweep):
        words = sweep.command_line(setting)
        assert words[:4] == [sys.executable, "-m", "lightning_kp", "trial"]
        refuse_wrong_options(training_options(words[4:]))


@EVERY_FILE
def test_commands_are_those_of_an_agent(file: Path) -> None:
    """W&B's own code fills in the arguments of its agents; ours must give the same ones."""
    sweep = read_sweep(file)
    setting = next(sweep.probes())
    theirs = create_sweep_command_args({"args": {name: {"value": value} for name, value in setting.items()}})
    ours = sweep.command_line(setting)
    assert ours[-len(setting) :] == theirs["args"]
    assert ours[4 : -len(setting)] == list(sweep.command[3:-1])


@EVERY_FILE
def test_a_file_says_how_to_run_it(file: Path) -> None:
    header = file.read_text().split("\nprogram:")[0]
    assert f"kp sweep experiments/{file.name}" in header
    assert f"wandb sweep experiments/{file.name}" in header


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path))
    assert sweep.grid() == [{"x": x, SEED: seed} for x in (5, 1) for seed in (0, 2)]
    assert list(sweep.probes()) == [{"x": 5, SEED: 0}, {"x": 1, SEED: 0}, {"x": 5, SEED: 2}]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"metod": "grid"}, "metod is not a key of a sweep file. Did you mean method?"),
        ({"method": "gird"}, "method is 'gird'. Use one of grid, random, bayes"),
        ({"metric": "loss"}, "metric has no name"),
        ({"metric": {"name": "loss", "goal": "min"}}, "metric.goal is 'min'"),
        ({"parameters": {}}, "parameters are missing"),
        ({"parameters": {"x": 3}}, "x is 3. Write x: {value: 3}"),
        ({"parameters": {"x": {"parameters": {"y": {"value": 1}}}}}, "Write them as x.NAME"),
        ({"parameters": {"x": {"min": 1, "max": 5}}}, "a grid needs values, but x has a range"),
        ({"parameters": {"x": {"min": 5, "max": 1}}}, "x has no values"),
        ({"parameters": {"x": {"min": 0, "max": 1, "distribution": "normal"}}}, "the distribution normal"),
        (
            {"parameters": {"x": {"min": 0, "max": 1, "distribution": "log_uniform_values"}}},
            "Use a min above 0",
        ),
        ({"command": ["kp", "trial"]}, "command has no ${args}"),
        ({"command": ["kp", "${argz}", "${args}"]}, "command has ${argz}"),
        ({"command": ["${env}", "${args}"]}, "command names no program"),
    ],
)
def test_mistakes_in_a_file_are_one_line(
    keys: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written(tmp_path, **keys)) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("kp: error: ")
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(("text", "told"), [("[1, 2]", "holds no keys"), ("a: [", "cannot be read")])
def test_a_file_that_is_no_sweep(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        read_sweep(tmp_path / "a.yaml")
    with pytest.raises(ConfigurationError, match="There is no sweep file"):
        read_sweep(tmp_path / "b.yaml")


def test_a_misspelt_option_is_refused_before_the_first_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "experiments" / "sweep_bkind_arena_gap.yaml").read_text().replace("data.gap", "data.gapp")
    (tmp_path / "wrong.yaml").write_text(text)
    assert run(tmp_path / "wrong.yaml") == 2
    assert "Did you mean --data.gap?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_commands_with_added_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(FILES[0]), "--dry-run", "--data.size=48"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(read_sweep(FILES[0]).probes()))
    assert all(line.startswith("kp trial --config=") and "--data.size=48" in line for line in lines)


# ---------------------------------------------------------------- trials


def test_a_grid_and_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    assert run(file, "--jobs", "2") == 0
    told = capsys.readouterr().out
    # Of x=5 the mean of 25 and 27; seeds are no setting of their own, and a grid keeps its order.
    table = rows(tmp_path / "out" / "table.csv")
    assert [(row["x"], row["trials"], float(row["loss"])) for row in table] == [("5", "2", 26), ("1", "2", 2)]
    assert float(table[0]["loss sd"]) == pytest.approx(2**0.5)
    assert "| 5 | 2 | 26.00 ± 1.41 | 4.00 ± 0.00 |" in told
    assert told.count("loss 25 ") == 1
    assert (tmp_path / "out" / "table.md").read_text() in told
    trials = rows(tmp_path / "out" / "trials.csv")
    assert [(row["x"], row[SEED], row["state"]) for row in trials] == [
        (x, seed, "complete") for x in "51" for seed in "02"
    ]
    assert (tmp_path / "out" / "trials" / "0003" / "log.txt").read_text() == "some noise\n"


def test_a_failed_trial_tells_why_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, parameters={"x": {"values": [2, 3, 4, 6, 1]}})
    assert run(file) == 0
    told = capsys.readouterr().out
    assert "failed: The disk is full." in told
    assert "failed: killed by signal 9 (possibly out of memory): some noise" in told
    assert "failed: the trial did not report loss; it reported found" in told
    assert "loss 1 " in told
    assert "failed: loss is not a number" in told
    assert "4 of 5 trials failed" in (tmp_path / "out" / "table.md").read_text()
    reasons = {row["x"]: row["reason"] for row in rows(tmp_path / "out" / "trials.csv")}
    assert reasons["2"] == "The disk is full."
    assert reasons["6"] == "loss is not a number: the training may have diverged"
    assert reasons["1"] == ""


def test_a_second_call_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    assert run(file, "--trials", "1") == 0
    assert len(rows(tmp_path / "out" / "trials.csv")) == 1
    assert run(file) == 0
    assert len(rows(tmp_path / "out" / "trials.csv")) == 4
    capsys.readouterr()
    assert run(file) == 0
    assert "4/4" not in capsys.readouterr().out


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_that_was_stopped_draws_what_it_would_have(method: str, tmp_path: Path) -> None:
    parameters = {
        "x": {"distribution": "log_uniform_values", "min": 0.1, "max": 9.0},
        "n": {"min": 2, "max": 5},
        "kind": {"values": ["a", "b"]},
        "fixed": {"value": True},
    }
    drawn = []
    for name, stops in (("whole", (6,)), ("parts", (2, 5, 6))):
        (tmp_path / name).mkdir()
        file = written(tmp_path / name, method=method, parameters=parameters)
        for total in stops:
            assert run(file, "--trials", str(total), "--seed", "3") == 0
        trials = rows(tmp_path / name / "out" / "trials.csv")
        drawn.append([(row["x"], row["n"], row["kind"]) for row in trials])
    assert drawn[0] == drawn[1]
    assert len({x for x, _, _ in drawn[0]}) == 6
    assert all(0.1 <= float(x) <= 9 and n in "2345" for x, n, _ in drawn[0])
    best = rows(tmp_path / "whole" / "out" / "table.csv")
    assert [float(row["loss"]) for row in best] == sorted(float(row["loss"]) for row in best)
    assert "fixed" not in best[0]


@pytest.mark.parametrize(
    ("method", "x"), [("random", {"min": 5.0, "max": 9.0}), ("grid", {"values": [5, 7, 8, 9]})]
)
def test_run_cap_bounds_a_sweep(method: str, x: dict[str, Any], tmp_path: Path) -> None:
    file = written(tmp_path, method=method, run_cap=3, parameters={"x": x})
    assert run(file) == 0
    assert len(rows(tmp_path / "out" / "trials.csv")) == 3


def test_an_interrupted_trial_goes_on_under_its_number(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path))
    study = Study(sweep, tmp_path / "out")
    study.queue_grid()
    begun = study.next()
    assert [each.setting for each in Study(sweep, tmp_path / "out").interrupted()] == [begun.setting]
    assert run(tmp_path / "mine.yaml") == 0
    assert [row["trial"] for row in rows(tmp_path / "out" / "trials.csv")] == ["0", "1", "2", "3"]


def test_ctrl_c_ends_the_trials_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path)
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(args: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[-1]

    def interrupt(running: runner.Runner) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner.subprocess, "Popen", popen)
        patch.setattr(runner.Runner, "_collect", interrupt)
        patch.setattr(runner, "SHUTDOWN_S", 0.1)
        assert run(file, "--jobs", "2") == 130
    assert "run the same command again" in capsys.readouterr().err
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
    assert run(file) == 0
    assert len(rows(tmp_path / "out" / "trials.csv")) == 4


def test_failed_trials_are_repeated_on_request(tmp_path: Path) -> None:
    file = written(tmp_path, parameters={"x": {"values": [2, 1]}})
    assert run(file) == 0
    (tmp_path / "script.py").write_text(SCRIPT.replace("x == 2", "x == 22"))
    assert run(file) == 0
    assert [row["state"] for row in rows(tmp_path / "out" / "trials.csv")] == ["failed", "complete"]
    assert run(file, "--retry") == 0
    found = rows(tmp_path / "out" / "trials.csv")
    assert [(row["x"], row["state"]) for row in found] == [("1", "complete"), ("2", "complete")]
    assert [row["x"] for row in rows(tmp_path / "out" / "table.csv")] == ["2", "1"]


def test_failed_draws_are_repeated_once(tmp_path: Path) -> None:
    file = written(tmp_path, method="random", parameters={"x": {"min": 1, "max": 1_000_000}})
    (tmp_path / "script.py").write_text("raise SystemExit(1)\n")
    assert run(file, "--trials", "2") == 1
    (tmp_path / "script.py").write_text(SCRIPT.replace("x == 2", "x == -1"))
    assert run(file, "--trials", "2", "--retry") == 0
    found = rows(tmp_path / "out" / "trials.csv")
    assert [row["state"] for row in found] == ["failed", "failed", "complete", "complete"]
    assert [row["x"] for row in found[:2]] == [row["x"] for row in found[2:]]
    assert run(file, "--trials", "2", "--retry") == 0
    assert len(rows(tmp_path / "out" / "trials.csv")) == 4


def test_a_folder_belongs_to_one_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(written(tmp_path), "--trials", "1") == 0
    assert run(written(tmp_path, parameters={"x": {"values": [7]}})) == 2
    line = capsys.readouterr().err
    assert "holds trials of another sweep (parameters differ)" in line
    assert "--out" in line


def test_other_settings_in_a_configuration_are_another_sweep(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("trainer: {max_epochs: 1}\n")
    sweep = read_sweep(written(tmp_path, command=["${env}", "kp", "trial", f"--config={config}", "${args}"]))
    before = sweep.fingerprint()
    assert sweep.fingerprint() == before
    config.write_text("trainer: {max_epochs: 2}\n")
    assert sweep.fingerprint() != before
    config.unlink()
    assert sweep.fingerprint()["configurations"] == {str(config): None}


def test_a_mapping_becomes_the_columns_that_differ(tmp_path: Path) -> None:
    values = ["{a: 1, b: 2.5, c: 0}", "{a: 1, b: 0.0, c: 0}"]
    study = Study(read_sweep(written(tmp_path, parameters={"w": {"values": values}})), tmp_path / "out")
    study.queue_grid()
    for loss in (3.0, 4.0):
        trial = study.next()
        study.finish(trial.number, loss)
        folder = study.trial_folder(trial.number)
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(json.dumps({"figures": {"loss": loss}}))
    outcome = {number: {"figures": {"loss": loss}} for number, loss in ((0, 3.0), (1, 4.0))}
    found = per_setting(study, study.trials(), outcome)
    assert [(row["w.b"], row["loss"]) for row in found] == [(2.5, 3.0), (0.0, 4.0)]
    assert "w.a" not in found[0]
    assert "| 2.5 | 1 | 3 |" in write_tables(study)
