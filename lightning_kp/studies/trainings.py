"""Shared parts of the studies: each training is a ``kp fit`` in its own process and folder.

Finished trainings are kept, so that a second call of a study only runs what is missing.
"""

import argparse
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from lightning_kp.command.arguments import pass_on
from lightning_kp.command.presets import experiment_folder
from lightning_kp.errors import DataError

STEPS_PER_EPOCH = 50  # in the compared experiments
FIT_PREFIXES = ("--model.", "--data.", "--trainer.")


def options_suffix(fit_options: Sequence[str]) -> str:
    """Suffix of a run folder's name that depends on additional options of ``kp fit``; empty without any."""
    return f"-{hashlib.sha256(json.dumps(list(fit_options)).encode()).hexdigest()[:8]}" if fit_options else ""


def train_logged(line: Sequence[str], folder: Path, name: str, **environment: str) -> float:
    """Run a command with one thread and its output in ``training.log``.

    Args:
        line: The command.
        folder: Folder of the log.
        name: Name of the run, for the error.
        environment: Additional environment variables.

    Returns:
        Duration in seconds.

    Raises:
        DataError: The command failed; the message holds the last line of its log.
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
        raise DataError(f"{name} failed: {tail}", remedy=f"See {log} for the whole output.")
    return round(time.perf_counter() - start, 1)


def study_parser(module: str, description: str | None, *, data: str, steps: int) -> argparse.ArgumentParser:
    """Parser with the options that every study has."""
    parser = argparse.ArgumentParser(prog=f"python -m lightning_kp.studies.{module}", description=description)
    parser.add_argument("--data", type=Path, required=True, help=f"folder that contains {data}")
    parser.add_argument("--out", type=Path, default=Path("runs") / module, help="folder of the results")
    parser.add_argument(
        "--experiments", type=Path, default=experiment_folder(), help="folder of the experiments' YAML files"
    )
    parser.add_argument(
        "--steps",
        type=whole_epochs,
        default=steps,
        help=f"steps of every run; above {STEPS_PER_EPOCH} a multiple of it (default: {steps})",
    )
    parser.add_argument(
        "--seeds", type=number_list, default=[0, 1, 2], help="comma-separated (default: 0,1,2)"
    )
    parser.add_argument(
        "--accelerator", default="auto", help="value of --trainer.accelerator (default: auto)"
    )
    return parser


def parse_options(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, choice: str, known: Collection[str]
) -> argparse.Namespace:
    """Parse the options of a study.

    Args:
        parser: From :func:`study_parser`.
        arguments: Command line; by default that of this process.
        choice: Option whose values must be among ``known``.
        known: Allowed values of ``choice``.

    Returns:
        The options; ``fit_options`` holds the additional ones of ``kp fit``.
    """
    options, others = parser.parse_known_args(arguments)
    unknown_options, options.fit_options = pass_on(others, lambda each: each.startswith(FIT_PREFIXES))
    if options.experiments is None:
        parser.error("no experiments folder found; name that of the repository with --experiments FOLDER")
    unknown = [*(name for name in getattr(options, choice) if name not in known), *unknown_options]
    if unknown:
        parser.error(
            f"unknown: {unknown[0]}; {choice} are {', '.join(known)}, other options must be those of kp fit"
        )
    for name in ("out", "data", "experiments"):
        setattr(options, name, getattr(options, name).resolve())
    if not options.data.is_dir():
        parser.error(f"--data {options.data} is not a folder")
    return options


def whole_epochs(text: str) -> int:
    """Parse a number of steps that is at most one epoch or a whole number of epochs."""
    steps = int(text)
    if steps < 1 or (steps > STEPS_PER_EPOCH and steps % STEPS_PER_EPOCH):
        raise argparse.ArgumentTypeError(
            f"{steps} steps are not a whole number of epochs of {STEPS_PER_EPOCH} steps; use "
            f"{max(1, -(-steps // STEPS_PER_EPOCH)) * STEPS_PER_EPOCH}"
        )
    return steps


def number_list(text: str) -> list[int]:
    """Parse ``0,1,2``."""
    return [int(each) for each in text.split(",")]


def name_list(text: str) -> list[str]:
    """Parse ``a,b``."""
    return text.split(",")
