"""``kp score RUN --labels FILE``: regression errors of discovered keypoints against labelled ones."""

from pathlib import Path

from lightning_kp.verbs.arguments import VerbParser

SUMMARY = (
    "Fit labelled points from discovered ones on the first half of the labelled frames, score on the second; "
    "beside the same network untrained and the mean pose."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("score", SUMMARY)
    parser.add_argument("run", nargs="+", help="checkpoints or run folders, one per seed")
    parser.add_argument(
        "--labels", required=True, help="SLEAP, DeepLabCut or COCO labels, or an arena's truth"
    )
    parser.add_argument("--prefix", default="", help="put before the names in metrics.json")
    given = parser.parse_args(arguments)

    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.labels import read_labels
    from lightning_kp.run_folder import RunFolder
    from lightning_kp.scoring import score_regression
    from lightning_kp.verbs.track import load_for_tracking

    figures = []
    for name in given.run:
        checkpoint = find_checkpoint(name)
        method, view = load_for_tracking(checkpoint)
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
