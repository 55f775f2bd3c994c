"""Comparisons of many trainings: each a ``kp fit`` in a process and a folder of its own, kept once it is done."""

import argparse
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from lightning_kp.command.arguments import hand_on
from lightning_kp.command.presets import experiment_folder
from lightning_kp.errors import DataError

STEPS_PER_EPOCH = 50  # of the experiments that are compared

OF_KP_FIT = ("--model.", "--data.", "--trainer.")


def mark_of(more: Sequence[str]) -> str:
    """What tells folders of runs with other options of ``kp fit`` apart; empty where there are none."""
    return f"-{hashlib.sha256(json.dumps(list(more)).encode()).hexdigest()[:8]}" if more else ""


def train_logged(line: Sequence[str], folder: Path, name: str, **environment: str) -> float:
    """Run a command with one thread and ``training.log`` in the folder; returns seconds.

    Raises DataError with the log's last line where it fails.
    """
    log = folder / "training.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(
            line, stdout=file, stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip
    if done.returncode:
        tail = " ".join(log.read_text(errors="replace").splitlines()[-1:])
        raise DataError(f"{name} failed: {tail}", remedy=f"All of it: {log}")
    return round(time.perf_counter() - start, 1)


def comparison_parser(
    module: str, description: str | None, *, data: str, steps: int
) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    parser = argparse.ArgumentParser(prog=f"python -m lightning_kp.{module}", description=description)
    parser.add_argument("--data", type=Path, required=True, help=f"folder that holds {data}")
    parser.add_argument("--out", type=Path, default=Path("runs") / module, help="folder of the results")
    parser.add_argument(
        "--experiments", type=Path, default=experiment_folder(), help="folder of the YAML files"
    )
    parser.add_argument(
        "--steps",
        type=whole_epochs,
        default=steps,
        help=f"of every run; above {STEPS_PER_EPOCH} a multiple of it",
    )
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="comma-separated")
    parser.add_argument("--accelerator", default="auto", help="as of --trainer.accelerator")
    return parser


def parsed(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, choice: str, known: Collection[str]
) -> argparse.Namespace:
    """Options with ``more``, those of ``kp fit``; the names given for ``choice`` have to be among the known ones."""
    options, others = parser.parse_known_args(arguments)
    strangers, options.more = hand_on(others, lambda each: each.startswith(OF_KP_FIT))
    if options.experiments is None:
        parser.error("the experiment files are part of the repository: --experiments FOLDER")
    unknown = [*(name for name in getattr(options, choice) if name not in known), *strangers]
    if unknown:
        parser.error(f"{unknown[0]} is not known; {choice} are {', '.join(known)}, options those of kp fit")
    for name in ("out", "data", "experiments"):
        setattr(options, name, getattr(options, name).resolve())
    if not options.data.is_dir():
        parser.error(f"--data {options.data} is no folder")
    return options


def whole_epochs(text: str) -> int:
    """A number of steps that is told truly: part of one epoch, or whole ones."""
    steps = int(text)
    if steps < 1 or (steps > STEPS_PER_EPOCH and steps % STEPS_PER_EPOCH):
        raise argparse.ArgumentTypeError(
            f"{steps} steps are no whole epochs of {STEPS_PER_EPOCH}; the next is "
            f"{max(1, -(-steps // STEPS_PER_EPOCH)) * STEPS_PER_EPOCH}"
        )
    return steps


def numbers(text: str) -> list[int]:
    """``0,1,2`` as numbers."""
    return [int(each) for each in text.split(",")]


def names(text: str) -> list[str]:
    """``a,b`` as names."""
    return text.split(",")
