"""The options of a sweep's trial."""

from lightning_kp.command.arguments import VerbParser

SUMMARY = (
    "One trial of a sweep: train with the options of `kp fit`, score, write trial.json. A trial that fails "
    "says why there; run by a W&B agent it then ends as if it had not, because agents stop after some failures."
)


def fit_options(arguments: list[str]) -> list[str]:
    """Those of a trial's arguments that are options of ``kp fit``."""
    return _parser().parse_known_args(arguments)[1]


def _parser() -> VerbParser:
    parser = VerbParser("trial", SUMMARY)
    parser.add_argument(
        "--out", help="the run folder (default: runs/trials/RUN, RUN being W&B's or a number)"
    )
    parser.add_argument("--labels", help="labelled frames to score on, as for `kp score`")
    parser.add_argument(
        "--prepare", action="store_true", help="only make the data ready, for parallel trials"
    )
    return parser
