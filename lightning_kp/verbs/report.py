"""``kp report RUN``: one self-contained HTML file that says whether a run worked."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser

if TYPE_CHECKING:
    from lightning_kp.runs.folder import RunFolder

SUMMARY = "Write report.html into a run folder: verdict, videos, figures, curves, settings, in one file."


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

    from lightning_kp.report.document import write_report
    from lightning_kp.runs.folder import RunFolder

    folder = RunFolder(Path(given.run))
    if given.judge:
        from lightning_kp.command.judging import finish

        finish(_videos_of(folder), folder)
    else:
        print(write_report(folder))
    return 0


def _videos_of(folder: "RunFolder") -> list[Path]:
    """What the run was trained on.  Raises ConfigurationError where that were no pairs of frames."""
    from lightning_kp.checkpoints import data_class, data_settings, find_checkpoint
    from lightning_kp.errors import ConfigurationError
    from lightning_kp.frames.pairs import FramePairsModule

    checkpoint = find_checkpoint(folder.path)
    kind = data_class(checkpoint)
    if kind is None or not issubclass(kind, FramePairsModule):
        raise ConfigurationError(
            f"{folder.path} was not trained on videos without labels; a verdict is about what moves in such.",
            remedy=f"`kp track {folder.path} VIDEOS` finds its keypoints in videos, `kp score {folder.path} --labels "
            "FILE` compares with labels.",
        )
    # A datamodule that makes its videos notes where they were, too.
    accepted = inspect.signature(kind).parameters
    settings = {name: value for name, value in data_settings(checkpoint).items() if name in accepted}
    data = kind(**settings)
    data.prepare_data()  # the rendered ones may be gone
    return data.video_paths()
