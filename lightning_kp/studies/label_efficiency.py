"""How many labels are needed: supervised, semi-supervised and bridged keypoints, scored on held-out halves.

``python -m lightning_kp.studies.label_efficiency --data FOLDER [--jobs N] [--steps 1200]`` trains every combination of
data set, number of labels and seed (000, Figure 5.5, but on other mice), each with ``kp fit`` in its own process.
Finished runs of an earlier call are kept. Writes ``results.json`` and ``label_efficiency.png`` to ``--out``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from lightning_kp.errors import DataError
from lightning_kp.files import read_json, write_whole
from lightning_kp.runs.folder import RunFolder
from lightning_kp.studies.label_halves import SETS, LabelSet
from lightning_kp.studies.trainings import (
    STEPS_PER_EPOCH,
    name_list,
    number_list,
    options_suffix,
    parse_options,
    study_parser,
    train_logged,
)

METHODS = ("supervised", "semi-supervised", "bridge")
CONFIGS = {"supervised": "supervisedkeypoints", "semi-supervised": "semisupervisedbkind", "bridge": "bkind"}


class Run(NamedTuple):
    """One training. A bridge needs one training for all numbers of labels, so its ``labels`` is 0."""

    dataset: str
    method: str
    labels: int
    seed: int

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.dataset}-{self.method}-{self.labels}-{self.seed}"


def planned(
    datasets: Sequence[str], labels: Sequence[int], seeds: Sequence[int], methods: Sequence[str] = METHODS
) -> list[Run]:
    """All trainings, seed by seed, so that a stopped study has complete seeds; the longest of each seed first."""
    runs: list[Run] = []
    for seed in seeds:
        semi = [Run(data, "semi-supervised", number, seed) for number in labels for data in datasets]
        bridges = [Run(data, "bridge", 0, seed) for data in datasets]
        runs += [*semi, *bridges, *(run._replace(method="supervised") for run in semi)]
    return [run for run in runs if run.method in methods]


def folder_of(run: Run, options: argparse.Namespace) -> Path:
    """Run folder: another number of steps (its learning rate falls more slowly) or other settings give another one."""
    return Path(options.out / f"{options.steps}-steps{options_suffix(options.fit_options)}" / run.name)


def command(run: Run, data: LabelSet, options: argparse.Namespace) -> list[str]:
    """Command line of a run's ``kp fit``."""
    config = options.experiments / f"{CONFIGS[run.method]}_{data.experiment}.yaml"
    folder = folder_of(run, options)
    epochs = max(1, options.steps // STEPS_PER_EPOCH)
    line = [
        sys.executable, "-m", "lightning_kp", "fit", "--config", str(config), f"--data.root={data.root(options.data)}",
        f"--seed_everything={run.seed}", f"--data.seed={run.seed}", f"--trainer.default_root_dir={folder}",
        f"--trainer.max_epochs={epochs}", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", f"--trainer.accelerator={options.accelerator}", *options.fit_options,
    ]  # fmt: skip
    if options.steps < STEPS_PER_EPOCH:
        line.append(f"--trainer.limit_train_batches={options.steps}")
    if run.labels:
        rows, _ = data.halves(options.data)
        fraction = "label_val_fraction" if run.method == "semi-supervised" else "val_fraction"
        line += [
            f"--data.rows={json.dumps(rows)}",
            f"--data.train_frames={run.labels}",
            f"--data.{fraction}=0",
        ]
        if run.method == "supervised":
            line.append(f"--data.repeats={-(-STEPS_PER_EPOCH * 8 // run.labels)}")
    last = RunFolder(folder).last_checkpoint
    return [*line, f"--ckpt_path={last}"] if last.is_file() else line


def train(run: Run, data: LabelSet, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one run, unless it is finished; return its scores by number of labels."""
    folder = folder_of(run, options)
    results = folder / "scores.json"
    wanted, known = _wanted(run, options), read_json(results)
    if _scored(run, options):
        return known
    seconds = train_logged(
        command(run, data, options), folder, run.name, KP_CACHE_DIR=str(options.out / "cache")
    )
    from lightning_kp.studies.label_halves import score_run

    scores = score_run(data, options.data, folder, run.seed, [int(n) for n in wanted])
    found = known | scores | {"seconds": seconds}
    write_whole(results, json.dumps(found, indent=1) + "\n")
    return found


def _wanted(run: Run, options: argparse.Namespace) -> list[str]:
    return [str(number) for number in (options.labels if run.method == "bridge" else [run.labels])]


def _scored(run: Run, options: argparse.Namespace) -> bool:
    return set(_wanted(run, options)) <= read_json(folder_of(run, options) / "scores.json").keys()


def run_all(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Run the study; return the scores of every run as rows, and one line for each failed run."""
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    runs = planned(options.sets, options.labels, options.seeds, options.methods)
    if options.finished:
        runs = [run for run in runs if _scored(run, options)]
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = {pool.submit(train, run, SETS[run.dataset], options): run for run in runs}
        for number, future in enumerate(as_completed(waiting), start=1):
            run = waiting[future]
            try:
                scores = future.result()
            except DataError as error:
                failed.append(str(error))
                print(f"[{number}/{len(runs)}] {error}", file=sys.stderr, flush=True)
                continue
            served = options.labels if run.method == "bridge" else [run.labels]
            rows += [run._asdict() | {"labels": labels} | scores[str(labels)] for labels in served]
            pck = ", ".join(f"{labels} labels: PCK {scores[str(labels)]['pck']:.2f}" for labels in served)
            print(f"[{number}/{len(runs)}] {run.name}: {scores['seconds']} s, {pck}", flush=True)
    return rows, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the missing runs and write results.json and the plot; return the exit code."""
    options = _options(arguments)
    from lightning_kp.studies.label_curves import draw_curves, table

    options.out.mkdir(parents=True, exist_ok=True)
    for name in () if options.finished else options.sets:
        _cache(SETS[name], options)
    rows, failed = run_all(options)
    for name in options.sets:
        rows += SETS[name].mean_pose(options.data, options.labels, options.seeds)
    order = {name: number for number, name in enumerate((*METHODS, "mean pose"))}
    rows.sort(key=lambda row: (row["dataset"], order[row["method"]], row["labels"], row["seed"]))
    result = {"steps": options.steps, "threshold_percent_of_side": 5, "rows": rows, "failed": failed}
    write_whole(options.out / "results.json", json.dumps(result, indent=1) + "\n")
    draw_curves(rows, options.out / "label_efficiency.png")
    print(table(rows))
    print(f"Written to {options.out}.")
    return 1 if failed else 0


def _cache(data: LabelSet, options: argparse.Namespace) -> None:
    """Decode the videos into the cache once, before several processes need them."""
    import yaml

    from lightning_kp.datamodules import LabelledFramePairs, VideoFramePairs

    for method, kind in (("semi-supervised", LabelledFramePairs), ("bridge", VideoFramePairs)):
        config = options.experiments / f"{CONFIGS[method]}_{data.experiment}.yaml"
        settings = yaml.safe_load(config.read_text())["data"]["init_args"]
        settings |= {
            "root": str(data.root(options.data)),
            "cache_dir": str((options.out / "cache").resolve()),
        }
        kind(**settings).prepare_data()


def _methods(text: str) -> list[str]:
    chosen = name_list(text)
    if unknown := [name for name in chosen if name not in METHODS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is not a method; methods are {', '.join(METHODS)}")
    return chosen


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study_parser("label_efficiency", __doc__, data="mouse_openfield and mirror_mouse", steps=1200)
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings that run at the same time (default: 1)"
    )
    parser.add_argument(
        "--finished", action="store_true", help="train nothing; table and plot of the finished runs"
    )
    parser.add_argument(
        "--labels",
        type=number_list,
        default=[5, 10, 25, 50],
        help="numbers of labelled frames (default: 5,10,25,50)",
    )
    parser.add_argument("--methods", type=_methods, default=METHODS, help=f"of {','.join(METHODS)}")
    parser.add_argument("--sets", type=name_list, default=list(SETS), help=f"of {','.join(SETS)}")
    return parse_options(parser, arguments, "sets", SETS)


if __name__ == "__main__":
    sys.exit(main())
