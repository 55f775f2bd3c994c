"""``kp trial OPTIONS``: one trial of a sweep: train as ``kp fit`` does, score, write ``trial.json``.

W&B agents and ``kp sweep`` run this verb.  ``trial.json`` holds ``state`` (``complete`` or ``failed``), ``reason``
(one line, of a failure) and ``figures``, the metrics by name: those of the last epoch, those of a test where the
method defines test metrics, the verdict's counts, and regression errors where labels are available (``--labels``,
``--human36m``, or a datamodule that renders its videos).  A killed trial resumes from its last checkpoint.
"""

import os
import sys
import traceback
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.command.trials import trial_parser
from lightning_kp.sweeps.trial import EXIT_FAILED, write_result

if TYPE_CHECKING:
    from lightning_kp.method import KeypointMethod
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.discovered import RegressionMetrics
    from lightning_kp.scoring.results import Score


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    own, options = trial_parser().parse_known_args(arguments)

    from lightning_kp.runs.folder import RunFolder

    folder = RunFolder(Path(own.out) if own.out else _next_folder())
    if own.prepare:
        _prepare(folder, options)
        return 0
    folder.create()
    try:
        figures = _trained_and_scored(folder, options, own)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001  (a failed trial must not stop the others)
        return _failed(folder, error)
    write_result(folder.path, "complete", figures=figures)
    _report_to_agent(figures, "")
    return 0


def _next_folder() -> Path:
    parent = Path("runs") / "trials"
    if name := os.environ.get("WANDB_RUN_ID"):
        return parent / name
    number = 1
    while (parent / str(number)).exists():
        number += 1
    return parent / str(number)


def _failed(folder: "RunFolder", error: Exception) -> int:
    from lightning_kp.errors import explain, one_line

    reason = explain(error)
    if reason is None:
        traceback.print_exc()
        reason = one_line(f"{type(error).__name__}: {error}")
    print(f"kp: trial failed: {reason}", file=sys.stderr)
    write_result(folder.path, "failed", reason=reason)
    return 0 if _report_to_agent({}, reason) else EXIT_FAILED


def _prepare(folder: "RunFolder", options: list[str]) -> None:
    """Render or cache the data once, so that parallel trials do not repeat it."""
    from lightning_kp.command import training

    training.launch("fit", [*options, *_placed(folder)], start=False).datamodule.prepare_data()


def _placed(folder: "RunFolder") -> list[str]:
    return [f"--trainer.default_root_dir={folder.path}"]


def _trained_and_scored(folder: "RunFolder", options: list[str], own: Namespace) -> dict[str, Any]:
    from lightning_kp.command import training
    from lightning_kp.command.judging import judge_pairs
    from lightning_kp.command.trained import pick_device

    placed = _placed(folder)
    if folder.last_checkpoint.exists():
        placed.append(f"--ckpt_path={folder.last_checkpoint}")
    if _in_wandb_sweep():
        placed.append("--log=wandb")
    cli = training.launch("fit", [*options, *placed])
    figures: dict[str, Any] = {name: value.item() for name, value in cli.trainer.callback_metrics.items()}
    from lightning_kp.method import KeypointMethod

    method = cli.model
    if method.has_test_metrics:
        (tested,) = cli.trainer.test(method, datamodule=cli.datamodule, verbose=False)
        figures |= tested
    if not isinstance(method, KeypointMethod):
        return figures
    method.to(pick_device("auto")).eval()
    pairs = getattr(cli.datamodule, "datasets", {}).get("train")
    if pairs is not None and hasattr(pairs, "videos"):
        judge_pairs(method, pairs, folder)
    if (found := _scored(method, cli.datamodule, own)) is not None:
        folder.add_metrics(found.as_metrics())
    return figures | folder.read_metrics()


def _scored(method: "KeypointMethod", data: Any, own: Namespace) -> "RegressionMetrics | Score | None":
    """Score against a label file, Human3.6M, or the ground truth of a datamodule that renders its videos.

    Labelled frames that trained are scored apart: their metrics begin with ``trained_``.
    """
    from lightning_kp.api.scoring import activity_score
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.scoring.discovered import score_regression
    from lightning_kp.scoring.label_file import score_file
    from lightning_kp.scoring.results import Score

    if own.human36m is not None:
        return activity_score("", method, ViewSettings(data.size, data.fit), own.human36m, own.stride)
    if own.labels is not None:
        seen = {
            name: getattr(data, name) for name in ("fit", "boxes", "preprocessing") if hasattr(data, name)
        }
        marks = getattr(data, "trained_on", None) or ()
        view = ViewSettings(data.size, **seen)
        return Score.of_file("", score_file(method, own.labels, view, trained_on=marks, include_trained=True))
    known = getattr(data, "labels", None)  # elsewhere `labels` is the option that names training labels
    return score_regression(method, known()) if callable(known) else None


def _in_wandb_sweep() -> bool:
    return "WANDB_SWEEP_ID" in os.environ


def _report_to_agent(figures: dict[str, Any], reason: str) -> bool:
    """Report the outcome to a W&B sweep; returns whether this trial belongs to one."""
    if not _in_wandb_sweep():
        return False
    import wandb

    run = wandb.run or wandb.init()
    run.summary.update({**figures, "reason": reason} if reason else figures)
    run.finish(exit_code=1 if reason else 0)
    return True
