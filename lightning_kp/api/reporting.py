"""The HTML report of a run: ``kp.report(run)``."""

import inspect
from pathlib import Path

from lightning_kp.api.paths import PathLike
from lightning_kp.api.run import Run
from lightning_kp.checkpoints import data_class, data_settings, find_checkpoint
from lightning_kp.command.judging import finish
from lightning_kp.errors import ConfigurationError
from lightning_kp.frames.pairs import FramePairsModule
from lightning_kp.reports.document import write_report
from lightning_kp.runs.folder import RunFolder


def report(run: PathLike, *, judge: bool = False) -> Run:
    """Write report.html into a run folder: verdict, videos, metrics, curves, settings in one file.

    Args:
        run: The folder that ``kp discover``, ``kp demo`` or ``kp fit`` wrote.
        judge: First track the videos of a ``kp fit``, draw them and judge the run, as discovery does by itself.

    Raises:
        DataError: The folder holds no run.
        ConfigurationError: ``judge`` for a run that was not trained on videos without labels.

    Example:
        print(kp.report("runs/me").report)  # runs/me/report.html
    """
    folder = RunFolder(Path(run))
    if judge:
        finish(training_videos(folder), folder)
    else:
        write_report(folder)
    return Run(folder.path)


def training_videos(folder: RunFolder) -> list[Path]:
    """Return the videos that a run was trained on.  Raises ConfigurationError where it was not on pairs of frames."""
    checkpoint = find_checkpoint(folder.path)
    kind = data_class(checkpoint)
    if kind is None or not issubclass(kind, FramePairsModule):
        raise ConfigurationError(
            f"{folder.path} was not trained on videos without labels, which a verdict needs.",
            remedy=f"`kp track {folder.path} VIDEOS` finds its keypoints in videos, `kp score {folder.path} --labels "
            "FILE` compares with labels.",
        )
    # A datamodule that renders its videos also saves where they were.
    accepted = inspect.signature(kind).parameters
    settings = {name: value for name, value in data_settings(checkpoint).items() if name in accepted}
    data = kind(**settings)
    data.prepare_data()  # rendered videos may have been deleted
    return data.video_paths()
