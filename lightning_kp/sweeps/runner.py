"""Runs the trials of a sweep as processes of their own, several at a time."""

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_kp.runs.metric_names import current_name
from lightning_kp.sweeps.launch import tied_to_this_process
from lightning_kp.sweeps.study import Study, Trial
from lightning_kp.sweeps.trial import RESULT_FILE, number_of, read_result, write_result

POLL_S = 0.2
SHUTDOWN_S = 10.0  # time for a trial to write its checkpoint and exit


@dataclass
class _Running:
    """A trial and its process."""

    trial: Trial
    process: "subprocess.Popen[bytes]"
    started: float


class Runner:
    """Runs each trial in its own process, so that a crash affects one trial only.

    ``after_each`` is called when a trial has ended.  ``lock`` is a file descriptor that trials inherit: a trial that
    outlives a killed sweep keeps another one out of the folder.
    """

    def __init__(
        self,
        study: Study,
        jobs: int,
        after_each: Callable[[], object] = lambda: None,
        lock: int | None = None,
    ) -> None:
        self.study = study
        self.jobs = jobs
        self.lock = lock
        self.after_each = after_each
        self._running: list[_Running] = []
        self._ended = len([each for each in study.trials() if each.state != "running"])

    def run(self, total: int) -> None:
        """Run until ``total`` trials have ended, including those of earlier calls."""
        waiting = list(self.study.interrupted())
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # a job scheduler's SIGTERM stops the trials as well
        self._total = total
        try:
            while self._running or self._ended < total:
                while len(self._running) < self.jobs and self._ended + len(self._running) < total:
                    trial = waiting.pop(0) if waiting else self.study.next()
                    if self.jobs > 1 and not self._running and not self._ended:
                        self._prepare(trial)
                    self._start(trial)
                time.sleep(POLL_S)
                self._collect()
        except KeyboardInterrupt:
            self._stop()
            raise KeyboardInterrupt(
                "Finished trials are kept; run the same command again to resume."
            ) from None
        except BaseException:
            self._stop()  # a full disk, say: no trial goes on without its sweep
            raise

    def _environment(self) -> dict[str, str]:
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        return {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}

    def _command(self, trial: Trial) -> list[str]:
        folder = self.study.trial_folder(trial.number)
        return [*self.study.sweep.command_line(trial.setting), f"--out={folder}"]

    def _tied(self, command: list[str]) -> dict[str, Any]:
        """Arguments of subprocess that tie a command to this process."""
        return {
            "args": tied_to_this_process(command),
            "env": self._environment(),
            "pass_fds": () if self.lock is None else (self.lock,),
        }

    def _prepare(self, trial: Trial) -> None:
        """Render or cache the data once before parallel trials start; a failure is reported by the trial itself."""
        command = self._command(trial)
        if command[3:4] == ["trial"]:
            print("Preparing the data", flush=True)
            subprocess.run(**self._tied([*command, "--prepare"]), capture_output=True, check=False)

    def _start(self, trial: Trial) -> None:
        folder = self.study.trial_folder(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RESULT_FILE).is_dir():  # a folder of that name is reported when the trial has ended
            (folder / RESULT_FILE).unlink(missing_ok=True)
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                **self._tied(self._command(trial)), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._running.append(_Running(trial, process, time.monotonic()))

    def _collect(self) -> None:
        for each in list(self._running):
            if each.process.poll() is None:
                continue
            self._running.remove(each)
            self._ended += 1
            value, outcome = self._outcome(each)
            self.study.finish(each.trial.number, value)
            seconds = time.monotonic() - each.started
            setting = " ".join(f"{name}={value}" for name, value in each.trial.setting.items())
            print(f"{self._ended}/{self._total}  {outcome}  [{setting}]  {seconds:.0f} s", flush=True)
            self.after_each()

    def _outcome(self, ended: _Running) -> tuple[float | None, str]:
        """The value of the sweep's metric, or None if the trial failed; and a text that describes the outcome."""
        folder, metric = self.study.trial_folder(ended.trial.number), current_name(self.study.sweep.metric)
        result = read_result(folder)
        figures = dict(result.get("figures") or {})
        value = number_of(figures.get(metric))
        is_complete = result.get("state") == "complete"
        if is_complete and value is not None and math.isfinite(value):
            return value, f"{metric} {value:.4g}"
        reason = str(result.get("reason") or "")
        if is_complete and value is not None:
            kind = "not a number" if math.isnan(value) else "infinite"
            reason = f"{metric} is {kind}: the training may have diverged"
        elif is_complete:
            known = ", ".join(name for name, each in figures.items() if number_of(each) is not None)
            reason = f"the trial did not report {metric}; it reported {known or 'no metric'}"
        if not reason:
            reason = f"{_exit_reason(ended.process.returncode)}{_last_line(folder / 'log.txt')}"
        with contextlib.suppress(IsADirectoryError):  # what is called so is no file of ours
            write_result(folder, "failed", reason=reason, figures=figures)
        return None, f"failed: {reason} ({folder / 'log.txt'})"

    def _stop(self) -> None:
        """Stop the running trials; the next call resumes them from their checkpoints.

        After Ctrl-C in a terminal the trials have received the signal themselves; a second one would interrupt
        them while they save.
        """
        for stop in (lambda process: process.send_signal(signal.SIGINT), lambda process: process.kill()):
            deadline = time.monotonic() + SHUTDOWN_S
            for each in self._running:
                try:
                    each.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    stop(each.process)
        for each in self._running:
            each.process.wait()


def _exit_reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    killed = " (possibly out of memory)" if -code == getattr(signal, "SIGKILL", 9) else ""
    return f"killed by signal {-code}{killed}"


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1].strip()[:200]}" if lines else ""
