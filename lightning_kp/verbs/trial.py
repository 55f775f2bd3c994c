"""``kp trial OPTIONS``: one trial of a sweep: train as ``kp fit`` does, score, leave ``trial.json``.

W&B agents and ``kp sweep`` run this.  ``trial.json`` holds ``state`` (``complete`` or ``failed``), ``reason`` (of a
failure, one line) and ``figures`` by name: what the last epoch logged, what a test logs where the method has
figures of its own for it, the verdict's counts, and regression errors where the points are known (``--labels``,
or a datamodule that renders its videos).
A killed trial goes on from its last checkpoint.
"""

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.command.arguments import VerbParser
from lightning_kp.command.trials import SUMMARY
from lightning_kp.sweeps.trial import FAILED, write_result

if TYPE_CHECKING:
    from lightning_kp.method import KeypointMethod
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.discovered import RegressionFigures
    from lightning_kp.scoring.whole_animals import GroupFigures


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("trial", SUMMARY)
    parser.add_argument(
        "--out", help="the run folder (default: runs/trials/RUN, RUN being W&B's or a number)"
    )
    parser.add_argument("--labels", help="labelled frames to score on, as for `kp score`")
    parser.add_argument(
        "--prepare", action="store_true", help="only make the data ready, for parallel trials"
    )
    own, options = parser.parse_known_args(arguments)

    from lightning_kp.runs.folder import RunFolder

    folder = RunFolder(Path(own.out) if own.out else _next_folder())
    if own.prepare:
        _prepare(folder, options)
        return 0
    folder.create()
    try:
        figures = _trained_and_scored(folder, options, own.labels)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # noqa: BLE001  (whatever goes wrong in one trial, the others go on)
        return _failed(folder, error)
    write_result(folder.path, "complete", figures=figures)
    _tell_agent(figures, "")
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
    return 0 if _tell_agent({}, reason) else FAILED


def _prepare(folder: "RunFolder", options: list[str]) -> None:
    """Render or cache the data once, so that trials that start together do not all do it."""
    from lightning_kp.command import training

    training.launch("fit", [*options, *_placed(folder)], start=False).datamodule.prepare_data()


def _placed(folder: "RunFolder") -> list[str]:
    return [f"--trainer.default_root_dir={folder.path}"]


def _trained_and_scored(folder: "RunFolder", options: list[str], labels: str | None) -> dict[str, Any]:
    from lightning_kp.command import training
    from lightning_kp.command.judging import judge_pairs
    from lightning_kp.command.trained import pick_device

    placed = _placed(folder)
    if folder.last_checkpoint.exists():
        placed.append(f"--ckpt_path={folder.last_checkpoint}")
    if _sweep():
        placed.append("--log=wandb")
    cli = training.launch("fit", [*options, *placed])
    figures: dict[str, Any] = {name: value.item() for name, value in cli.trainer.callback_metrics.items()}
    from lightning_kp.method import KeypointMethod

    method = cli.model
    if method.has_test_figures:
        (tested,) = cli.trainer.test(method, datamodule=cli.datamodule, verbose=False)
        figures |= tested
    if not isinstance(method, KeypointMethod):
        return figures
    method.to(pick_device("auto")).eval()
    pairs = getattr(cli.datamodule, "datasets", {}).get("train")
    if pairs is not None and hasattr(pairs, "videos"):
        judge_pairs(method, pairs, folder)
    if (found := _scored(method, cli.datamodule, labels)) is not None:
        folder.add_metrics(found.as_metrics())
    from lightning_kp.files import read_json

    return figures | read_json(folder.metrics)


def _scored(
    method: "KeypointMethod", data: Any, labels: str | None
) -> "RegressionFigures | GroupFigures | None":
    """Against a file, or what a datamodule knows by itself, as one that renders its videos does."""
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.scoring.discovered import score_regression
    from lightning_kp.scoring.label_file import score_file

    if labels is not None:
        seen = {
            name: getattr(data, name) for name in ("fit", "boxes", "preprocessing") if hasattr(data, name)
        }
        return score_file(method, labels, ViewSettings(data.size, **seen))[0]
    known = getattr(data, "labels", None)  # where it is no method, it names the files that train
    return score_regression(method, known()) if callable(known) else None


def _sweep() -> bool:
    return "WANDB_SWEEP_ID" in os.environ


def _tell_agent(figures: dict[str, Any], reason: str) -> bool:
    """Give a W&B sweep the outcome; returns whether there is one."""
    if not _sweep():
        return False
    import wandb

    run = wandb.run or wandb.init()
    run.summary.update({**figures, "reason": reason} if reason else figures)
    run.finish(exit_code=1 if reason else 0)
    return True
