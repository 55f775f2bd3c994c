"""``kp report RUN``: one self-contained HTML file that shows whether a run worked."""

from lightning_kp.command.arguments import VerbParser
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = "Write report.html into a run folder: verdict, videos, metrics, curves and settings in one file."


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("report", SUMMARY)
    parser.add_argument("run", help="the --out folder of kp discover, kp demo or kp fit")
    parser.add_argument(
        "--judge",
        action="store_true",
        help="first track the videos of a kp fit, draw them and judge the run, as kp discover does by itself",
    )
    given = parser.parse_args(arguments)

    from lightning_kp.api.reporting import report

    with messages_on_terminal():
        found = report(given.run, judge=given.judge)
    if not given.judge:  # judging has printed it
        print(found.report)
    return 0
