"""Trials that leave strange results, sweeps that fail as a whole, and two sweeps in one folder."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning  # noqa: F401  (before a test captures the stream that it logs to)
import pytest
import yaml

from lightning_kp.cli import main
from lightning_kp.errors import DataError
from lightning_kp.runs.lock import LOCK_NAME, locked
from lightning_kp.sweeps import runner
from lightning_kp.sweeps.file import read_sweep
from lightning_kp.sweeps.launch import tied_to_this_process
from lightning_kp.sweeps.study import Study
from lightning_kp.sweeps.trial import RESULT_FILE, read_result
from lightning_kp.verbs import sweep as verb

WHOLE = json.dumps({"state": "complete", "figures": {"loss": 0.5}})
LEFT = {
    "good": WHOLE,
    "half": WHOLE[:30],
    "empty": "",
    "list": "[]",
    "pairs": '[["state", "complete"]]',
    "number": "3",
    "null": "null",
    "deep": "[" * 100_000,
    "letters": "\udcff",  # no UTF-8
    "figures": '{"state": "complete", "figures": [0.5]}',
    "word": '{"state": "complete", "figures": {"loss": "0.5"}}',
    "true": '{"state": "complete", "figures": {"loss": true}}',
    "huge": '{"state": "complete", "figures": {"loss": 1%s}}' % ("0" * 400),
    "infinite": '{"state": "complete", "figures": {"loss": Infinity}}',
}
PROGRAM = """
import json, os, pathlib, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
file = pathlib.Path(given["out"]) / "trial.json"
if given["kind"] == "folder":
    file.mkdir(exist_ok=True)
elif given["kind"] == "pipe":
    os.mkfifo(file)
else:
    file.write_bytes(os.fsencode(json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())[given["kind"]]))
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KP_DEBUG", raising=False)
    monkeypatch.setattr(runner, "POLL_S", 0.01)
    monkeypatch.setattr(verb, "LOCK_WAIT_S", 0.0)


def written(folder: Path, kinds: list[str], program: str = PROGRAM, method: str = "grid") -> Path:
    """A sweep over ``kinds`` of which each trial leaves another result."""
    (folder / "program.py").write_text(program)
    (folder / "program.json").write_text(json.dumps(LEFT))
    content = {
        "method": method,
        "metric": {"name": "loss"},
        "parameters": {"kind": {"values": kinds}},
        "command": [sys.executable, str(folder / "program.py"), "${args}"],
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return folder / "mine.yaml"


def run(file: Path, *options: str) -> int:
    return main(["sweep", str(file), "--out", str(file.parent / "out"), *options])


def trials(file: Path) -> dict[str, dict[str, str]]:
    with (file.parent / "out" / "trials.csv").open(newline="") as lines:
        return {row["kind"]: row for row in csv.DictReader(lines)}


def test_a_strange_result_fails_its_trial_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, [*LEFT, "folder", "pipe"])
    assert run(file) == 0
    found = trials(file)
    assert {kind for kind, row in found.items() if row["state"] == "complete"} == {"good"}
    assert float(found["good"]["loss"]) == 0.5
    unread = f"the trial left a {RESULT_FILE} that cannot be read"
    for kind in (
        "half",
        "empty",
        "letters",
        "deep",
        "list",
        "pairs",
        "number",
        "null",
        "figures",
        "folder",
        "pipe",
    ):
        assert found[kind]["reason"].startswith(unread), kind
    for kind in ("word", "true", "huge"):
        assert found[kind]["reason"] == "the trial did not report loss; it reported no metric", kind
    assert found["infinite"]["reason"] == "loss is infinite: the training may have diverged"
    assert "Traceback" not in capsys.readouterr().err


def test_a_lost_result_does_not_lose_the_value(tmp_path: Path) -> None:
    """The value is in the record; the other metrics of the trial are gone."""
    file = written(tmp_path, ["good"], method="bayes")
    assert run(file, "--trials", "2") == 0
    (tmp_path / "out" / "trials" / "0000" / RESULT_FILE).write_text("{")
    assert run(file, "--trials", "2") == 0
    assert "| 2 | 0.50 ± 0.00 |" in (tmp_path / "out" / "table.md").read_text()


def test_a_sweep_without_a_good_trial_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, ["a", "b"], program="raise SystemExit(3)\n")
    assert run(file) == 1
    out, err = capsys.readouterr()
    assert "kp: error: All 2 trials failed." in err
    assert "2 of 2 trials failed" in out
    assert "|  |" not in out  # no table without a row
    assert run(file) == 1  # also where there is nothing left to run


def test_a_program_that_does_not_exist_fails_its_trials(tmp_path: Path) -> None:
    file = written(tmp_path, ["a"])
    file.write_text(file.read_text().replace(sys.executable, str(tmp_path / "nothing")))
    assert run(file) == 1
    assert f"{tmp_path / 'nothing'} cannot be started: No such file" in trials(file)["a"]["reason"]


def test_a_finished_trial_is_not_told_again(tmp_path: Path) -> None:
    study = Study(read_sweep(written(tmp_path, ["a"])), tmp_path / "out")
    trial = study.next()
    study.finish(trial.number, 0.25)
    study.finish(trial.number, 0.75)
    study.finish(trial.number, None)
    assert [(each.state, each.value) for each in study.trials()] == [("complete", 0.25)]


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, ["good"])
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / LOCK_NAME).open("w") as other:  # opened apart, as by another process
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(str(os.getpid()))
        other.flush()
        assert run(file) == 2
        line = capsys.readouterr().err
        assert f"Another `kp sweep` is at work in {tmp_path / 'out'} already (process {os.getpid()}" in line
        assert "Traceback" not in line
    assert run(file) == 0


def test_a_damaged_record_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, ["good"])
    assert run(file) == 0
    record = tmp_path / "out" / "study.db"
    record.write_bytes(record.read_bytes()[:5000])
    assert run(file) == 2
    line = capsys.readouterr().err.strip()
    assert "study.db, cannot be used: database disk image is malformed" in line
    assert "\n" not in line


def test_a_full_disk_stops_the_running_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, ["good", "half"], program="import time; time.sleep(60)")
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(**options: object) -> subprocess.Popen[bytes]:
        started.append(real(**options))  # type: ignore[call-overload]
        return started[-1]

    def full(running: runner.Runner) -> None:
        raise OSError(28, "No space left on device", "trials.csv")

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    monkeypatch.setattr(runner.Runner, "_collect", full)
    monkeypatch.setattr(runner, "SHUTDOWN_S", 0.1)
    assert run(file, "--jobs", "2") == 2
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_trial_ends_with_a_killed_sweep(tmp_path: Path) -> None:
    """What the killed process leaves is a running trial, which holds the folder until it has ended."""
    written(tmp_path, ["a"], program="import os, sys, time; print(os.getpid(), flush=True); time.sleep(300)")
    options = ["sweep", "mine.yaml", "--out", "out"]
    sweep = subprocess.Popen([sys.executable, "-m", "lightning_kp", *options], cwd=tmp_path)
    log = tmp_path / "out" / "trials" / "0000" / "log.txt"
    deadline = time.monotonic() + 240  # on a busy machine
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    trial = int(log.read_text())
    os.kill(trial, 0)  # it runs
    with pytest.raises(DataError, match=f"process {sweep.pid}"), locked(tmp_path / "out", "A sweep"):
        pass
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    with locked(tmp_path / "out", "A sweep", wait_s=20):  # free as soon as the trial has ended
        assert not Path(f"/proc/{trial}/cmdline").exists() or not Path(f"/proc/{trial}/cmdline").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the command is not changed")
def test_a_trial_does_not_start_after_the_end_of_its_sweep() -> None:
    command = tied_to_this_process([sys.executable, "-c", "print(1)"])
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "1\n"
    command[4] = "1"  # another parent
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


def test_a_missing_result_is_empty(tmp_path: Path) -> None:
    assert read_result(tmp_path) == {}
