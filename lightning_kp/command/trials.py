"""The options of one trial of a sweep."""

from lightning_kp.command.arguments import VerbParser, positive

SUMMARY = (
    "Run one trial of a sweep: train with the options of `kp fit`, score, write trial.json. A failed trial writes "
    "the reason there; under a W&B agent it exits with success, because agents stop after a few failures."
)


def training_options(arguments: list[str]) -> list[str]:
    """Return the options of ``kp fit`` among a trial's arguments."""
    return trial_parser().parse_known_args(arguments)[1]


def trial_parser() -> VerbParser:
    """The parser of a trial's own arguments."""
    parser = VerbParser("trial", SUMMARY, passes_on=True)
    parser.add_argument(
        "--out", help="run folder (default: runs/trials/RUN, RUN being the W&B run or a number)"
    )
    parser.add_argument("--labels", help="labelled frames to score on, as in `kp score`")
    parser.add_argument(
        "--human36m",
        metavar="FOLDER",
        help="images of Human3.6M to score on, as in `kp score`: errors per activity",
    )
    parser.add_argument(
        "--stride", type=positive, default=1, help="with --human36m: use every n-th image (default: all)"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="only prepare the data, before trials run in parallel"
    )
    return parser
