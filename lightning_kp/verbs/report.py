"""``kp report RUN``: one self-contained HTML file that says whether a run worked."""

from pathlib import Path

from lightning_kp.verbs.arguments import VerbParser

SUMMARY = "Write report.html into a run folder: verdict, videos, figures, curves, settings, in one file."


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("report", SUMMARY)
    parser.add_argument("run", help="the --out folder of kp discover, kp demo or kp fit")
    given = parser.parse_args(arguments)

    from lightning_kp.report import write_report
    from lightning_kp.run_folder import RunFolder

    print(write_report(RunFolder(Path(given.run))))
    return 0
