"""``kp name RUN LABELS``: named points from discovered ones, with a few labelled frames and no training."""

from lightning_kp.command.arguments import VerbParser
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = (
    "Fit a linear map from the discovered keypoints of RUN to the points labelled in LABELS. The result is a "
    "checkpoint that predicts named points, for `kp track`."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("name", SUMMARY)
    parser.add_argument("run", help="checkpoint or run folder of a method that discovered keypoints")
    parser.add_argument("labels", help="SLEAP, DeepLabCut, Lightning Pose, COCO or Label Studio labels")
    parser.add_argument("--names", help="points to use, comma-separated (default: all)")
    parser.add_argument("--root", help="folder with the images of the labels (default: where the file says)")
    parser.add_argument(
        "--predicted", action="store_true", help="take the predictions of a SLEAP file for labels"
    )
    parser.add_argument("--out", help="folder of the new run (default: RUN-named)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    given = parser.parse_args(arguments)

    from lightning_kp.api.naming import name

    with messages_on_terminal():
        named = name(
            given.run, given.labels, names=given.names.split(",") if given.names else None, root=given.root,
            predicted=given.predicted, out=given.out, device=given.device,
        )  # fmt: skip
    print(*named.lines(), f"Named points: `kp track {named.path} VIDEOS`", sep="\n")
    return 0
