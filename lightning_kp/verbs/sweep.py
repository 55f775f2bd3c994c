"""``kp sweep FILE``: run the trials of a sweep file on this computer, several at a time, resumable."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive, split

if TYPE_CHECKING:
    from lightning_kp.sweeps.file import SweepFile
    from lightning_kp.sweeps.study import Study

SUMMARY = (
    "Run the trials of a sweep file (W&B's format) on this computer, without an account. A second call resumes "
    "the sweep. A failed trial reports its reason and does not stop the others; if all fail, the exit code is 1. "
    "Writes table.md, table.csv and trials.csv. Options of `kp fit` may be added and apply to every trial."
)
SEARCH_TRIALS = 20  # ours; trials of a search where neither --trials nor run_cap limits them
LOCK_WAIT_S = 15.0  # time for trials of a killed sweep to end
EXIT_ALL_FAILED = 1


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("sweep", SUMMARY, passes_on=True)
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

    from lightning_kp.runs.lock import locked
    from lightning_kp.sweeps.file import read_sweep
    from lightning_kp.sweeps.study import Study, explained_record

    sweep = read_sweep(given.file)
    sweep = replace(sweep, command=(*sweep.command, *options))
    _check_commands(sweep, shown=given.dry_run)
    if given.dry_run:
        return 0
    folder = Path(given.out) if given.out else Path("runs") / "sweeps" / sweep.path.stem
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "Another `kp sweep`", wait_s=LOCK_WAIT_S) as lock, explained_record(folder):
        study = Study(sweep, folder, seed=given.seed, parallel=given.jobs > 1)
        if given.retry:
            study.retry_failed()
        return _run_trials(study, given.trials, given.jobs, lock)


def _run_trials(study: "Study", asked: int | None, jobs: int, lock: int | None) -> int:
    """Run the trials, print the tables, and return the exit code."""
    from lightning_kp.sweeps.runner import Runner
    from lightning_kp.sweeps.table import write_tables

    Runner(study, jobs, after_each=lambda: write_tables(study), lock=lock).run(_total(study, asked))
    folder = study.folder
    print(write_tables(study), f"Tables: {folder}/table.md, table.csv, trials.csv", sep="\n")
    trials = study.trials()
    if trials and all(each.state == "failed" for each in trials):
        log = study.trial_folder(trials[0].number) / "log.txt"
        print(
            f"kp: error: All {len(trials)} trials failed. See the reasons above and {log}; --retry runs them again.",
            file=sys.stderr,
        )
        return EXIT_ALL_FAILED
    return 0


def _check_commands(sweep: "SweepFile", *, shown: bool) -> None:
    """Raise ConfigurationError before the first trial if ``kp fit`` does not know an option of the sweep."""
    import shlex

    from lightning_kp.command.trials import training_options

    for setting in sweep.probes():
        words = sweep.command_line(setting)
        if words[1:4] == ["-m", "lightning_kp", "trial"]:
            from lightning_kp.command.training import refuse_wrong_options  # torch: only where it is needed

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
