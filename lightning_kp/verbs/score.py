"""``kp score RUN --labels FILE``: regression errors of discovered keypoints against labelled ones.

``kp score RUN --human36m FOLDER``: the same per activity, subjects apart (000, Table 5.3).
"""

import argparse
from pathlib import Path

from lightning_kp.verbs.arguments import VerbParser, positive

SUMMARY = (
    "Fit labelled points from discovered ones on the first half of the labelled frames, score on the second; "
    "beside the same network untrained and the mean pose."
)


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
    from lightning_kp.activity_scores import score_activities
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.datamodules import Human36M
    from lightning_kp.human36m_files import MIRROR
    from lightning_kp.run_folder import RunFolder
    from lightning_kp.verbs.track import load_for_tracking

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
        print(_over_runs("linear, all activities,", alls))
    return 0


def _score_labels(given: argparse.Namespace) -> int:
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.errors import ConfigurationError
    from lightning_kp.labels import read_labels
    from lightning_kp.run_folder import RunFolder
    from lightning_kp.scoring import score_regression
    from lightning_kp.verbs.track import load_for_tracking

    figures = []
    for name in given.run:
        checkpoint = find_checkpoint(name)
        method, view = load_for_tracking(checkpoint)
        if method.finds_whole_animals:
            raise ConfigurationError(
                f"{checkpoint} holds a {type(method).__name__}, which names its points and finds whole animals, in no "
                "fixed order: regression from them says nothing.",
                remedy=f"`kp test --config {checkpoint.parent.parent / 'config.yaml'} --ckpt_path {checkpoint}` scores "
                "it against labels.",
            )
        labels = read_labels(given.labels, view.size, view.fit, view.boxes, preprocessing=view.preprocessing)
        result = score_regression(method, labels)
        print(f"{name}: {len(labels.points)} labelled frames", *result.lines(), sep="\n")
        if Path(name).is_dir():
            RunFolder(Path(name)).add_metrics(result.as_metrics(given.prefix))
        figures.append(result)
    if len(figures) > 1:
        print(_over_runs("linear", [f.linear for f in figures]))
        print(_over_runs("matched", [f.matched for f in figures]))
    return 0


def _over_runs(name: str, values: list[float]) -> str:
    from statistics import mean, median, stdev

    return (
        f"{name} over {len(values)} runs: median {median(values):.2f}, "
        f"mean {mean(values):.2f} ± {stdev(values):.2f} % of the image side"
    )
