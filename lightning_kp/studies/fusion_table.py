"""Table 1 of 001 at any scale: DirectPose, SemiMultiPose-labelled and SemiMultiPose with few and many labels.

``python -m lightning_kp.studies.fusion_table --data FOLDER [--steps 400] [--seeds 0,1,2]`` trains every combination of
data set, method and seed with ``kp fit``, each in its own process. Each seed draws other labelled frames, like the
paper's five small sets. Finished runs of an earlier call are kept. By default fusion starts after the paper's shares of
the steps and with the paper's weights; ``--starts`` and ``--alpha`` change this, because the paper's networks are near
an optimum by then and short trainings are not. Writes ``results.json`` and ``table.md`` to ``--out``.
"""

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_kp.errors import DataError
from lightning_kp.files import read_json, write_whole
from lightning_kp.runs.folder import RunFolder
from lightning_kp.studies.trainings import (
    STEPS_PER_EPOCH,
    name_list,
    options_suffix,
    parse_options,
    study_parser,
    train_logged,
)

STARTS = (2 / 15, 5 / 15)  # shares of the steps (labelled, unlabelled); 001, section 5: 2k and 5k of 15k
EVALUATIONS = 4  # points of the curve (001, Figure 3: 15)
METHODS = ("DirectPose", "SemiMultiPose-labelled", "SemiMultiPose")


class Setting(NamedTuple):
    """A column of Table 1.

    Attributes:
        experiment: Suffix of the experiment files.
        folder: Folder of the data, below ``--data``.
        train_frames: Labelled frames to train on.
        alpha: The paper's weight of fusion on labelled frames.
        paper: The paper's average precision of each of METHODS.
    """

    experiment: str
    folder: str
    train_frames: int
    alpha: float
    paper: tuple[float, float, float]


SETTINGS = {
    "honeybee-5": Setting("honeybee", "honeybee", 5, 5.0, (0.734, 0.743, 0.776)),
    "honeybee-25": Setting("honeybee", "honeybee", 25, 0.01, (0.819, 0.824, 0.837)),
    "honeybee-135": Setting("honeybee", "honeybee", 135, 0.01, (0.846, 0.847, 0.853)),
    "flies": Setting("flies", "two_flies/fly120s", 40, 0.01, (0.794, 0.801, 0.815)),
}


class Run(NamedTuple):
    """One training."""

    setting: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.setting}-{self.method}-{self.seed}"


def planned(settings: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All trainings, ordered so that one seed is complete before the next begins."""
    return [Run(setting, method, seed) for seed in seeds for setting in settings for method in methods]


def folder_of(run: Run, options: argparse.Namespace) -> Path:
    """Run folder: another number of steps or other settings give another folder."""
    fusion = [] if options.starts == STARTS else [f"starts {options.starts}"]
    fusion += [] if options.alpha is None else [f"alpha {options.alpha}"]
    settings = options.fit_options if run.method == "DirectPose" else [*options.fit_options, *fusion]
    return Path(options.out / f"{options.steps}-steps{options_suffix(settings)}" / run.name)


def command(run: Run, folder: Path, options: argparse.Namespace) -> list[str]:
    """Command line of a run's ``kp fit``."""
    setting = SETTINGS[run.setting]
    kind = "directpose" if run.method == "DirectPose" else "semimultipose"
    config = options.experiments / f"{kind}_{setting.experiment}.yaml"
    epochs = max(1, options.steps // STEPS_PER_EPOCH)
    line = [
        sys.executable, "-m", "lightning_kp", "fit", "--config", str(config),
        f"--data.root={options.data / setting.folder}", f"--data.train_frames={setting.train_frames}",
        f"--data.seed={run.seed}", f"--seed_everything={run.seed}", f"--trainer.default_root_dir={folder}",
        f"--trainer.max_epochs={epochs}", f"--trainer.accelerator={options.accelerator}",
        f"--trainer.check_val_every_n_epoch={_epochs_between_evaluations(epochs)}",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip
    if kind == "semimultipose":
        line += ["--config", str(_curriculum(folder, options))]
        alpha = setting.alpha if options.alpha is None else options.alpha
        line.append(f"--model.weights.fusion_labelled={alpha}")
        if run.method == "SemiMultiPose-labelled":
            line += ["--model.weights.fusion_unlabelled=0", "--data.unlabelled_per_batch=0"]
    if options.steps < STEPS_PER_EPOCH:
        line.append(f"--data.batches={options.steps}")
    line += options.fit_options
    last = RunFolder(folder).last_checkpoint
    return [*line, f"--ckpt_path={last}"] if last.is_file() else line


def _epochs_between_evaluations(epochs: int) -> int:
    """Interval that gives about EVALUATIONS evaluations, the last one at the end of training."""
    longest = max(1, epochs // EVALUATIONS)
    return next(number for number in range(longest, 0, -1) if epochs % number == 0)


def _curriculum(folder: Path, options: argparse.Namespace) -> Path:
    terms = ("fusion_labelled", "fusion_unlabelled")
    start = {name: round(share * options.steps) for name, share in zip(terms, options.starts, strict=True)}
    callback = {"class_path": "Curriculum", "init_args": {"unit": "step", "start": start}}
    file = folder / "curriculum.yaml"
    write_whole(file, json.dumps({"trainer": {"callbacks": [callback]}}) + "\n")  # JSON is YAML
    return file


def train(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Train one run, unless it is finished; return its average precision on the test frames during training."""
    folder = folder_of(run, options)
    results = folder / "scores.json"
    if "ap_fine" in (known := read_json(results)):  # missing in files of a version with only one score
        return known
    seconds = train_logged(command(run, folder, options), folder, run.name)
    curve = curve_of(folder / "metrics.csv")
    found = {"ap": curve[-1][1], "ap_fine": curve[-1][2], "curve": curve, "seconds": seconds}
    write_whole(results, json.dumps(found, indent=1) + "\n")
    return found


def curve_of(metrics: Path) -> list[tuple[int, float, float]]:
    """Step, average precision with sigma, and with 0.3 sigma, of every evaluation in ``metrics.csv``."""
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/ap")]
    return [
        (int(row["step"]) + 1, float(row["val/ap"]), float(row.get("val/ap_fine") or "nan")) for row in rows
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown table of means and standard errors over seeds, beside the paper's values."""
    lines = ["| setting | method | AP | AP, 0.3 sigma | seeds | 001, Table 1 |", "|---|---|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        for method, paper in zip(METHODS, setting.paper, strict=True):
            found = [row for row in rows if (row["setting"], row["method"]) == (name, method)]
            if not found:
                continue
            shown = " | ".join(_mean([row[score] for row in found]) for score in ("ap", "ap_fine"))
            lines.append(f"| {name} | {method} | {shown} | {len(found)} | {paper:.3f} |")
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float]) -> str:
    """Mean, with the standard error if there are several values."""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the missing runs and write results.json and table.md after each; return the exit code."""
    options = _options(arguments)
    for folder in (options.data / SETTINGS[name].folder for name in options.settings):
        if not folder.is_dir():  # checked once, before dozens of trainings fail one by one
            print(
                f"There is no folder {folder}; --data FOLDER must contain honeybee and two_flies.",
                file=sys.stderr,
            )
            return 2
    options.out.mkdir(parents=True, exist_ok=True)
    runs = planned(options.settings, options.methods, options.seeds)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    for number, run in enumerate(runs, start=1):
        try:
            scores = train(run, options)
        except DataError as error:
            failed.append(str(error))
            print(f"[{number}/{len(runs)}] {error}", file=sys.stderr, flush=True)
        else:
            rows.append(run._asdict() | scores)
            line = f"{run.name}: AP {scores['ap']:.3f}, fine {scores['ap_fine']:.3f}, {scores['seconds']} s"
            print(f"[{number}/{len(runs)}] {line}", flush=True)
        result = {"steps": options.steps, "rows": rows, "failed": failed}
        write_whole(options.out / "results.json", json.dumps(result, indent=1) + "\n")
        write_whole(options.out / "table.md", table(rows))
    print(table(rows))
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study_parser("fusion_table", __doc__, data="honeybee and two_flies", steps=400)
    parser.add_argument("--settings", type=name_list, default=list(SETTINGS), help=f"of {','.join(SETTINGS)}")
    parser.add_argument("--methods", type=_methods, default=list(METHODS), help=f"of {','.join(METHODS)}")
    parser.add_argument(
        "--starts",
        type=_shares,
        default=STARTS,
        help="shares of the steps after which fusion starts on labelled and on unlabelled frames",
    )
    parser.add_argument(
        "--alpha", type=float, help="weight of fusion on labelled frames (default: the paper's)"
    )
    return parse_options(parser, arguments, "settings", SETTINGS)


def _methods(text: str) -> list[str]:
    chosen = name_list(text)
    if unknown := [name for name in chosen if name not in METHODS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is not a method; methods are {', '.join(METHODS)}")
    return chosen


def _shares(text: str) -> tuple[float, float]:
    try:
        first, second = (float(each) for each in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"needs two shares of the steps, for example 0.5,0.6, but got {text}"
        ) from None
    if not (0 <= first <= 1 and 0 <= second <= 1):
        raise argparse.ArgumentTypeError(f"needs shares of the steps from 0 to 1, but got {text}")
    return first, second


if __name__ == "__main__":
    sys.exit(main())
