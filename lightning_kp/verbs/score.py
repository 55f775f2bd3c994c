"""``kp score RUN --labels FILE``: regression errors of discovered keypoints against labelled ones.

Of a method that finds whole animals: how many of the labelled ones it finds, and how far their parts are off.
``kp score RUN --human36m FOLDER``: the same per activity, subjects apart (000, Table 5.3).
"""

import argparse
import sys
from pathlib import Path

from lightning_kp.command.arguments import VerbParser, positive

SUMMARY = (
    "Fit labelled points from discovered ones on the first half of the labelled frames, score on the second; "
    "beside the same network untrained and the mean pose. Of a method that finds whole animals: which share of the "
    "labelled ones it finds, and how far off their parts are."
)

SIDE, LONGER = "% of the image side", "% of the longer side"
# Figures that are told over several runs.
OVER_RUNS = {
    "linear": ("linear", SIDE),
    "matched": ("matched", SIDE),
    "part_median": ("parts, median,", LONGER),
    "part_mean": ("parts, mean,", LONGER),
}


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("score", SUMMARY)
    parser.add_argument("run", nargs="+", help="checkpoints or run folders, one per seed")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--labels", help="SLEAP, DeepLabCut or COCO labels, or an arena's truth")
    against.add_argument(
        "--human36m", metavar="FOLDER", help="extracted Human3.6M images with poses: errors per activity"
    )
    parser.add_argument("--stride", type=positive, default=1, help="of Human3.6M: every n-th image only")
    parser.add_argument("--prefix", default="", help="put before the names in metrics.json")
    given = parser.parse_args(arguments)
    return _score_labels(given) if given.labels else _score_activities(given)


def _score_activities(given: argparse.Namespace) -> int:
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.command.trained import load_for_tracking
    from lightning_kp.datamodules import Human36M
    from lightning_kp.people.human36m import MIRROR
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.activities import score_activities

    alls = []
    for name in given.run:
        method, view = load_for_tracking(find_checkpoint(name))
        source = Human36M(given.human36m, size=view.size, fit=view.fit)
        result = score_activities(method, source, MIRROR, stride=given.stride)
        print(
            f"{name}: {result.images['all']} images of {', '.join(source.test_subjects)}",
            *result.lines(),
            sep="\n",
        )
        if Path(name).is_dir():
            RunFolder(Path(name)).add_metrics(result.as_metrics(given.prefix))
        alls.append(result.linear["all"])
    if len(alls) > 1:
        print(_over_runs("linear, all activities,", SIDE, alls))
    return 0


def _score_labels(given: argparse.Namespace) -> int:
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.command.trained import load_for_tracking, tell_crops
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.label_file import score_file

    figures: dict[str, list[float]] = {}
    for name in given.run:
        checkpoint = find_checkpoint(name)
        method, view = load_for_tracking(checkpoint)
        if method.finds_whole_animals:
            tell_crops(method, checkpoint, "`kp test` scores it on crops.")
            _tell_trained_on(given.labels, checkpoint)
        result, frames = score_file(method, given.labels, view)
        print(f"{name}: {frames} labelled frames", *result.lines(), sep="\n")
        if Path(name).is_dir():
            RunFolder(Path(name)).add_metrics(result.as_metrics(given.prefix))
        for figure in (each for each in OVER_RUNS if hasattr(result, each)):
            figures.setdefault(figure, []).append(getattr(result, figure))
    for figure, values in figures.items():
        if len(values) > 1:
            print(_over_runs(*OVER_RUNS[figure], values))
    return 0


def _tell_trained_on(file: str, checkpoint: Path) -> None:
    from lightning_kp.checkpoints import data_settings
    from lightning_kp.labels.archives import split_part

    settings = data_settings(checkpoint)
    given, root = settings.get("labels", []), Path(settings.get("root", "."))
    known = [given] if isinstance(given, str) else given
    path, part = split_part(file)
    for each, of in (split_part(root / name) for name in known):
        if path.resolve() == each.resolve() and (part == of or not (part and of)):
            print(
                f"kp: {file} holds frames that may have trained this network: figures of such say how well they were "
                "learnt. `kp test` scores the frames that were held back, if there are any.",
                file=sys.stderr,
            )
            return


def _over_runs(name: str, unit: str, values: list[float]) -> str:
    from statistics import mean, median, stdev

    known = [value for value in values if value == value]  # a run that finds nothing has no distance
    if len(known) < 2:
        return f"{name} over {len(values)} runs: known of {len(known)}"
    of = f" (of {len(values)})" if len(known) < len(values) else ""
    return (
        f"{name} over {len(known)} runs{of}: median {median(known):.2f}, "
        f"mean {mean(known):.2f} ± {stdev(known):.2f} {unit}"
    )
