"""``kp suggest RUN``: the frames worth labelling next, as files that SLEAP and DeepLabCut open."""

from lightning_kp.command.arguments import VerbParser, positive, share
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = (
    "Choose frames of the run's videos that are uncertain, doubtful and far from labelled ones. Writes "
    "suggestions.slp for SLEAP, a labeled-data folder for DeepLabCut, and suggestions.csv with the reasons."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)

    from lightning_kp.api.suggestions import suggest

    with messages_on_terminal():
        found = suggest(
            given.run, videos=given.videos, count=given.count, labels=given.labels, root=given.root,
            names=given.names.split(",") if given.names else None, threshold=given.threshold, scorer=given.scorer,
            out=given.out, device=given.device,
        )  # fmt: skip
    print(*found.lines(), sep="\n")
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("suggest", SUMMARY)
    parser.add_argument("run", help="checkpoint or run folder")
    parser.add_argument("--videos", nargs="+", help="other videos than those of the training")
    parser.add_argument("--count", type=positive, default=20, help="frames to suggest")
    parser.add_argument(
        "--labels", help="frames that are labelled already, in any format that `kp name` reads"
    )
    parser.add_argument("--root", help="folder with the images of the labels")
    parser.add_argument(
        "--names",
        help="points to label, comma-separated (default: those of the run, else of the labels, else the discovered "
        "keypoints)",
    )
    parser.add_argument(
        "--threshold",
        "--least",
        dest="threshold",
        metavar="SCORE",
        type=share,
        default=0.0,
        help="leave out animals whose points' mean confidence is lower, as in `kp track`",
    )
    parser.add_argument("--scorer", default="kp", help="name of the annotator in DeepLabCut's files")
    parser.add_argument("--out", help="folder to write to (default: RUN/suggestions, then -2 and so on)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    return parser
