"""``kp sweep FILE``: run the trials of a sweep file on this computer, several at a time, resumable."""

import math
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive, split
from lightning_kp.sweeps.trial import RESULT_FILE

if TYPE_CHECKING:
    from lightning_kp.sweeps.file import SweepFile
    from lightning_kp.sweeps.study import Study, Trial

SUMMARY = (
    "Run the trials of a sweep file (W&B's format) on this computer, without an account. A second call resumes "
    "the sweep. A failed trial reports its reason and does not stop the others. Writes table.md, table.csv and "
    "trials.csv. Options of `kp fit` may be added and apply to every trial."
)
SEARCH_TRIALS = 20  # ours; trials of a search where neither --trials nor run_cap limits them
POLL_S = 0.2
SHUTDOWN_S = 10.0  # time for a trial to write its checkpoint and exit


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("sweep", SUMMARY)
    parser.add_argument("file", help="a sweep file, such as experiments/sweep_bkind_arena_gap.yaml")
    parser.add_argument(
        "--trials", type=positive, help="total number of trials (default: run_cap, else the whole grid)"
    )
    parser.add_argument("--jobs", type=positive, default=1, help="number of parallel trials (default: 1)")
    parser.add_argument("--out", help="folder of the sweep (default: runs/sweeps/FILE)")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of a random or bayes search (default: 0)"
    )
    parser.add_argument("--retry", action="store_true", help="run failed trials once more")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the sweep and print its commands without running them"
    )
    own, options = split(arguments)
    given = parser.parse_args(own)

    from lightning_kp.sweeps.file import read_sweep
    from lightning_kp.sweeps.study import Study
    from lightning_kp.sweeps.table import write_tables

    sweep = read_sweep(given.file)
    sweep = replace(sweep, command=(*sweep.command, *options))
    _check_commands(sweep, shown=given.dry_run)
    if given.dry_run:
        return 0
    folder = Path(given.out) if given.out else Path("runs") / "sweeps" / sweep.path.stem
    study = Study(sweep, folder, seed=given.seed, parallel=given.jobs > 1)
    if given.retry:
        study.retry_failed()
    total = _total(study, given.trials)
    Runner(study, given.jobs, after_each=lambda: write_tables(study)).run(total)
    print(write_tables(study), f"Tables: {folder}/table.md, table.csv, trials.csv", sep="\n")
    return 0


def _check_commands(sweep: "SweepFile", *, shown: bool) -> None:
    """Raise ConfigurationError before the first trial if ``kp fit`` does not know an option of the sweep."""
    import shlex

    from lightning_kp.command.training import refuse_wrong_options
    from lightning_kp.command.trials import training_options

    for setting in sweep.probes():
        words = sweep.command_line(setting)
        if words[1:4] == ["-m", "lightning_kp", "trial"]:
            refuse_wrong_options(training_options(words[4:]))
        if shown:
            print(shlex.join(["kp", *words[3:]] if words[1:3] == ["-m", "lightning_kp"] else words))


def _total(study: "Study", asked: int | None) -> int:
    """Total number of trials to run."""
    if study.sweep.method == "grid":
        study.queue_grid()
        everything = len(study.trials()) + study.queued
        return min(asked or study.sweep.run_cap or everything, everything)
    wanted = asked or study.sweep.run_cap or SEARCH_TRIALS
    return max(wanted, len(study.trials()) + study.queued) if study.queued else wanted


@dataclass
class _Running:
    """A trial and its process."""

    trial: "Trial"
    process: "subprocess.Popen[bytes]"
    started: float


class Runner:
    """Runs each trial in its own process, so that a crash affects one trial only."""

    def __init__(self, study: "Study", jobs: int, after_each: Callable[[], object] = lambda: None) -> None:
        self.study = study
        self.jobs = jobs
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

    def _environment(self) -> dict[str, str]:
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        return {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONUNBUFFERED": "1"}

    def _command(self, trial: "Trial") -> list[str]:
        folder = self.study.trial_folder(trial.number)
        return [*self.study.sweep.command_line(trial.setting), f"--out={folder}"]

    def _prepare(self, trial: "Trial") -> None:
        """Render or cache the data once before parallel trials start; a failure is reported by the trial itself."""
        command = self._command(trial)
        if command[3:4] == ["trial"]:
            print("Preparing the data", flush=True)
            subprocess.run([*command, "--prepare"], env=self._environment(), capture_output=True, check=False)

    def _start(self, trial: "Trial") -> None:
        folder = self.study.trial_folder(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULT_FILE).unlink(missing_ok=True)
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                self._command(trial),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
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
        from lightning_kp.runs.metric_names import current_name
        from lightning_kp.sweeps.trial import read_result, write_result

        folder, metric = self.study.trial_folder(ended.trial.number), current_name(self.study.sweep.metric)
        result = read_result(folder)
        value = result.get("figures", {}).get(metric)
        is_known = isinstance(value, (int, float)) and not math.isnan(value)
        if result.get("state") == "complete" and is_known:
            return float(value), f"{metric} {value:.4g}"
        reason = str(result.get("reason") or "")
        if result.get("state") == "complete" and isinstance(value, float):
            reason = f"{metric} is not a number: the training may have diverged"
        elif result.get("state") == "complete":
            known = ", ".join(
                name for name, each in result["figures"].items() if isinstance(each, (int, float))
            )
            reason = f"the trial did not report {metric}; it reported {known or 'no metric'}"
        if not reason:
            reason = f"{_exit_reason(ended.process.returncode)}{_last_line(folder / 'log.txt')}"
        write_result(folder, "failed", reason=reason, figures=result.get("figures"))
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
