"""``kp score RUN --labels FILE``: errors of a run against labelled frames or labelled tracks.

``kp score RUN --human36m FOLDER``: regression errors per activity on held-out subjects (000, Table 5.3).
"""

import argparse
import re
from statistics import mean, median, stdev

from lightning_kp.command.arguments import VerbParser, positive
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = (
    "Discovered keypoints: fit labelled points from them on the first half of the labelled frames and measure errors "
    "on the second, beside the same network untrained and the mean pose. Methods that find whole animals: the share "
    "of labelled animals found and the errors of their points. Named points: also their errors in pixels and the share "
    "found (PCK). Labelled tracks of several animals: also detection, centroid error and identity switches. Labelled "
    "frames that trained the run or named its points are left out."
)

SIDE, FRAME, LONGER = "% of the image side", "% of the frame's side", "% of the longer side"
NAMED = "named_mean_px"
OVER_RUNS = {
    "linear": ("linear", FRAME),
    "matched": ("matched", FRAME),
    "part_median": ("parts, median,", LONGER),
    "part_mean": ("parts, mean,", LONGER),
    NAMED: ("named points, mean,", "px"),
}
"""Metrics that are summarised over several runs: their name and unit in the printed line."""


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)

    from lightning_kp.api.scoring import score_each

    values: dict[str, list[float]] = {}
    activities: list[float] = []
    with messages_on_terminal():
        for found in score_each(
            given.run, labels=given.labels, human36m=given.human36m, stride=given.stride, prefix=given.prefix,
            animals=given.animals, video=given.video, root=given.root, include_trained=given.include_trained,
            predicted=given.predicted, within_px=_within_px(given), device=given.device,
        ):  # fmt: skip
            if given.human36m:
                print(*found.labelled.lines() if found.labelled else (), sep="\n")
                activities.append(found.labelled.linear["all"])  # type: ignore[union-attr, index]
                continue
            print(*found.lines(), sep="\n", flush=True)
            for name in (each for each in OVER_RUNS if hasattr(found.labelled, each)):
                values.setdefault(name, []).append(getattr(found.labelled, name))
            if found.named is not None:
                values.setdefault(NAMED, []).append(found.named.overall.mean_px)
    for name, of_runs in values.items():
        if len(of_runs) > 1:
            print(over_runs(*OVER_RUNS[name], of_runs))
    if len(activities) > 1:
        print(over_runs("linear, all activities,", SIDE, activities))
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("score", SUMMARY)
    parser.add_argument("run", nargs="+", help="checkpoints or run folders, for instance one per seed")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument(
        "--labels",
        help="SLEAP, DeepLabCut or COCO labels, the ground truth of an arena, or the folder of a set of still images",
    )
    against.add_argument(
        "--human36m", metavar="FOLDER", help="extracted Human3.6M images with poses: errors per activity"
    )
    parser.add_argument("--stride", type=positive, default=1, help="Human3.6M: use every n-th image only")
    parser.add_argument("--prefix", default="", help="put before the names in metrics.json")
    parser.add_argument(
        "--animals",
        action=argparse.BooleanOptionalAction,
        help="score tracks of several animals (default: if the labels hold such and the network finds several)",
    )
    parser.add_argument("--video", help="the video of labelled tracks, if the file does not lead to it")
    parser.add_argument(
        "--root", help="folder with the images or videos of the labels (default: where the file says)"
    )
    parser.add_argument(
        "--include-trained",
        action="store_true",
        help="score frames that trained the run or named its points, too, apart from the others",
    )
    parser.add_argument(
        "--predicted", action="store_true", help="take the predictions of a SLEAP file for labels"
    )
    parser.add_argument(
        "--within",
        metavar="LENGTH",
        help="named points count as found within 12px, or within 5mm with --px-per-mm",
    )
    parser.add_argument("--px-per-mm", type=float, metavar="N", help="scale of the video, for --within in mm")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    return parser


def _within_px(given: argparse.Namespace) -> float | None:
    """The reach of PCK in pixels, None for the default.  Raises ConfigurationError for a length without a scale."""
    from lightning_kp.errors import ConfigurationError

    if given.within is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(px|mm)", given.within)
    length, unit = (float(found[1]), found[2]) if found else (0.0, "")
    scale = 1.0 if unit == "px" else given.px_per_mm or 0.0
    if not length * scale > 0:
        raise ConfigurationError(
            f"--within {given.within} is no length in pixels"
            + (" without a scale." if unit == "mm" else "."),
            remedy="Type --within 12px, or --within 5mm --px-per-mm 1.8 with the scale of the video.",
        )
    return length * scale


def over_runs(name: str, unit: str, values: list[float]) -> str:
    """Summarise a metric over several runs in one line; NaN is a run that finds nothing, which has no distance."""
    known = [value for value in values if value == value]
    if len(known) < 2:
        return f"{name} over {len(values)} runs: known for {len(known)}"
    share = f" (of {len(values)})" if len(known) < len(values) else ""
    return (
        f"{name} over {len(known)} runs{share}: median {median(known):.2f}, "
        f"mean {mean(known):.2f} ± {stdev(known):.2f} {unit}"
    )
