"""The ``kp`` command: finds the verb, calls it, and turns what goes wrong into one line.

Nothing heavy is imported before a verb is known, so that ``kp --help`` answers at once.
"""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_kp import __version__
from lightning_kp.errors import ConfigurationError, explain, one_line
from lightning_kp.runs.waiting import wait_briefly

TRAINER_VERBS = ("fit", "validate", "test", "predict")
VERBS = {
    "inspect": "look at videos: frames, motion, trouble; suggests the settings for discovery",
    "discover": "find keypoints in videos with no labels: inspect, train, predict, report",
    "track": "keypoints of new videos with a trained checkpoint",
    "name": "named points from discovered ones, with a few labelled frames",
    "suggest": "frames worth labelling next, as stubs that SLEAP and DeepLabCut open",
    "export": "an ONNX file of a trained keypoint method, checked against torch",
    "report": "one HTML file that says whether a run worked",
    "score": "errors of discovered keypoints against labelled ones",
    "animals": "several look-alike animals: found, kept apart, described? against tracked truth",
    "crowds": "regions of a COCO-style keypoint file where people overlap: file, table, picture",
    "demo": "render an artificial arena, discover its keypoints, compare with the truth",
    "sweep": "many trials of a sweep file on this computer, resumable; tables of what helped",
    "trial": "one trial of a sweep: train, score, leave trial.json",
    "behaviour": "train a behaviour classifier on tracks, several seeds; figures, bouts, ethogram",
    "pulse": "how fast a jellyfish (or anything) pulses: spectrogram of the keypoints' distances",
    "wind": "wind speed from the sway of keypoints on a tree",
    "methods": "list all methods with paper, data and experiments",
    "fit": "train a method (LightningCLI: --config, --model, --data, --trainer.*)",
    "validate": "losses and metrics on the validation part",
    "test": "losses and metrics on the test part",
    "predict": "run a method over the prediction data",
}
USAGE_ERROR = 2
INTERRUPTED = 130  # the shell's convention for a program ended by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``kp`` with the arguments of the command line; returns the exit code (0, 2 error, 130 Ctrl-C)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wait_briefly()  # before a verb imports torch
    try:
        return _dispatch(given)
    except KeyboardInterrupt as stop:
        print(f"kp: stopped. {str(stop) or 'What was finished before is kept.'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) left; the rest of the output has nowhere to go.
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
    verb, rest = given[0], given[1:]
    run = _verb(verb)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a user's own module, as in --model octopus.OctopusBKinD
    return run(rest)


def _verb(name: str) -> Callable[[list[str]], int]:
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1, cutoff=0.5)
        remedy = f"Did you mean `kp {near[0]}`?" if near else f"There are: {', '.join(VERBS)}."
        raise ConfigurationError(f"There is no `kp {name}`.", remedy=remedy)
    if name in TRAINER_VERBS:
        training = importlib.import_module("lightning_kp.command.training")
        return lambda rest: int(training.run(name, rest))
    module = importlib.import_module(f"lightning_kp.verbs.{name}")
    run: Callable[[list[str]], int] = module.run
    return run


def help_text() -> str:
    """All verbs with one line each."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {line}" for verb, line in VERBS.items()]
    return "\n".join(
        [
            "usage: kp VERB ...",
            "",
            "Keypoints in images and behaviour videos with no, weak or few labels.",
            "",
            *lines,
            "",
            "kp VERB --help explains a verb; kp --version prints the version.",
            "KP_DEBUG=1 shows the whole traceback of an error.",
        ]
    )
