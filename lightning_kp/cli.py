"""The ``kp`` command: finds the verb, runs it, and reports an error as one line.

Nothing heavy is imported before the verb is known, so that ``kp --help`` answers at once.
"""

import difflib
import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_kp import __version__
from lightning_kp.errors import ConfigurationError, explain, one_line
from lightning_kp.runs.waiting import wait_briefly

TRAINER_VERBS = ("fit", "validate", "test", "predict")
# What a person wants -> the verbs for it, in the order of `kp --help`.
GROUPS = {
    "Find keypoints": {
        "inspect": "check videos before training: frame rate, motion, problems, suggested settings",
        "discover": "find keypoints in videos without labels: inspect, train, track, report",
        "track": "track keypoints in new videos with a trained network",
        "report": "write one HTML page that shows whether a run worked",
        "demo": "render an artificial arena, discover its keypoints, compare with the ground truth",
    },
    "Use keypoints": {
        "behaviour": "train behaviour classifiers on tracks: scores over several seeds, bouts, ethogram",
        "measure": "measure pulse frequency or wind speed from tracks",
        "export": "write a network as an ONNX file, checked against torch",
    },
    "Improve keypoints with labels": {
        "name": "turn discovered keypoints into named ones with a few labelled frames",
        "suggest": "choose the frames to label next, as files for SLEAP and DeepLabCut",
    },
    "Compare": {
        "score": "measure errors against labelled frames or labelled tracks",
        "sweep": "run the trials of a sweep file on this computer, resumable, with result tables",
        "trial": "run one trial of a sweep: train, score, write trial.json",
        "crowds": "extract the crowded regions of a COCO-style keypoint file",
    },
    "Framework (LightningCLI)": {
        "methods": "list all methods with paper, data and experiments",
        "fit": "train a method: --config, --model, --data, --trainer.*",
        "validate": "compute losses and metrics on the validation data",
        "test": "compute losses and metrics on the test data",
        "predict": "run a method on the prediction data",
    },
}
VERBS = {verb: line for group in GROUPS.values() for verb, line in group.items()}
# Names that version 0.1 had; they work until 0.3 and say what replaces them.
ALIASES = {"animals": ("score", "--animals"), "pulse": ("measure", "pulse"), "wind": ("measure", "wind")}
USAGE_ERROR = 2
INTERRUPTED = 130  # the shell's convention for a program ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``kp`` with the arguments of the command line; returns the exit code (0, 2 error, 130 Ctrl-C)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    wait_briefly()  # before a verb imports torch
    try:
        return _dispatch(given)
    except KeyboardInterrupt as stop:
        print(f"kp: stopped. {str(stop) or 'Finished work is kept.'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The program that reads our output (head, less) has exited.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  (the last resort of the program)
        line = explain(error)
        if line is None or os.environ.get("KP_DEBUG") == "1":
            traceback.print_exc()
        print(f"kp: error: {line or one_line(f'{type(error).__name__}: {error}')}", file=sys.stderr)
        return USAGE_ERROR if line is not None else 1


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if given[0] in ("-V", "--version"):
        print(f"kp {__version__}")
        return 0
    verb, *rest = _without_alias(given)
    run = _verb(verb)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a user's own module, as in --model octopus.OctopusBKinD
    return run(rest)


def _without_alias(given: list[str]) -> list[str]:
    """The arguments with an old verb replaced by its new name, which is printed."""
    if given[0] not in ALIASES:
        return given
    new = ALIASES[given[0]]
    print(
        f"kp: `kp {given[0]}` is now `kp {' '.join(new)}`; version 0.3 drops the old name.", file=sys.stderr
    )
    return [*new, *given[1:]]


def _verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1, cutoff=0.5)
        remedy = f"Did you mean `kp {near[0]}`?" if near else f"The verbs are: {', '.join(VERBS)}."
        raise ConfigurationError(f"There is no `kp {name}`.", remedy=remedy)
    if name in TRAINER_VERBS:
        training = importlib.import_module("lightning_kp.command.training")
        return lambda rest: int(training.run(name, rest))
    module = importlib.import_module(f"lightning_kp.verbs.{name}")
    run: Callable[[list[str]], int] = module.run
    return run


def help_text() -> str:
    """All verbs with one line each, grouped by what they are for."""
    width = max(map(len, VERBS))
    lines = [
        "usage: kp VERB ...",
        "",
        "Keypoints in images and behaviour videos with no, weak or few labels.",
    ]
    for purpose, verbs in GROUPS.items():
        lines += ["", f"{purpose}:", *(f"  {verb:<{width}}  {line}" for verb, line in verbs.items())]
    return "\n".join(
        [
            *lines,
            "",
            "kp VERB --help explains a verb; kp --version prints the version.",
            "KP_DEBUG=1 shows the full traceback of an error.",
        ]
    )
