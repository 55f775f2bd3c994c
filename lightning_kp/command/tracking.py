"""Tracks and overlays of several videos, one after another."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_kp.confidence.calibration import Calibration
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.smoothing.refining import Refinement
    from lightning_kp.tracks.engine import Engine
    from lightning_kp.tracks.table import TrackSource
    from lightning_kp.tracks.tracking import TrackingReport

TRACK_SUFFIXES = (".csv", ".slp", ".dlc.h5", ".dlc.csv")
"""Suffixes of result files, those with the most information first."""

logger = logging.getLogger(__name__)


def track_all(
    method: "KeypointMethod",
    view: "ViewSettings",
    videos: list[Path],
    path: Path,
    *,
    origin: str,
    batch_size: int = 32,
    formats: tuple[str, ...] | None = None,
    threshold: float = 0.0,
    engine: "Engine | None" = None,
    refinement: "Refinement | None" = None,
    calibration: "Calibration | None" = None,
) -> "list[TrackingReport]":
    """Track every video into ``path/tracks`` with a progress bar each; logs speed and where time went.

    ``engine`` computes the network; torch by default.  ``calibration`` turns the peaks of heatmaps into probabilities,
    and ``refinement`` changes the tracks before they are written; by default flips are mended.

    A video that cannot be read is left out, and the others are tracked; VideoError names it at the end.
    """
    from tqdm import tqdm

    from lightning_kp.errors import VideoError
    from lightning_kp.files import unique_stems
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.smoothing.refining import Refinement
    from lightning_kp.tracks.tracking import track_video
    from lightning_kp.video.opening import open_video

    refinement = refinement or Refinement()
    marks = ("" if calibration is None else calibration.mark) + refinement.mark

    def refine(source: "TrackSource", stem: Path) -> "TrackSource":
        return refinement(source if calibration is None else calibration(source), stem)

    reports: list[TrackingReport] = []
    failed: list[VideoError] = []
    for video, name in zip(videos, unique_stems(videos), strict=True):
        try:
            with open_video(video) as reader:
                total = reader.info.n_frames
            with tqdm(total=total, desc=f"track {name}", unit="frame", delay=1.0, leave=False) as bar:
                report = track_video(
                    method, video, RunFolder(path).tracks(name), view, origin=origin + marks,
                    batch_size=batch_size, formats=formats, threshold=threshold, engine=engine, refine=refine,
                    progress=lambda done, bar=bar: bar.update(done - bar.n),  # type: ignore[misc]
                )  # fmt: skip
        except VideoError as error:
            failed.append(error)
            if len(videos) > 1:
                logger.warning("%s is left out: %s", name, error)
            continue
        logger.info(report.line())
        reports.append(report)
    if failed:
        more = f" ({len(failed)} of {len(videos)} videos were left out.)" if len(videos) > 1 else ""
        raise VideoError(failed[0].problem, remedy=failed[0].remedy + more) from failed[0]
    return reports


def draw_overlays(videos: list[Path], path: Path) -> None:
    """Draw ``overlays/<video>.mp4`` from the saved tracks; overlays newer than their tracks are kept."""
    from tqdm import tqdm

    from lightning_kp.errors import DataError
    from lightning_kp.files import unique_stems
    from lightning_kp.reports.overlay import write_overlay
    from lightning_kp.runs.folder import RunFolder

    folder = RunFolder(path)
    for video, name in zip(videos, unique_stems(videos), strict=True):
        saved, target = saved_tracks(folder, name), folder.overlay(name)
        if saved is None:
            raise DataError(f"There are no tracks of {name} in {path}.", remedy="Track the video first.")
        if not target.exists() or target.stat().st_mtime < saved.stat().st_mtime:
            logger.info("%s: drawing %s", name, target)
            with tqdm(desc=f"draw {name}", unit="frame", delay=1.0, leave=False) as bar:
                write_overlay(saved, video, target, progress=bar.update)


def saved_tracks(folder: "RunFolder", name: str) -> Path | None:
    """Return the most informative result file of a video, None without any."""
    from lightning_kp.files import companion

    found = (companion(folder.tracks(name), suffix) for suffix in TRACK_SUFFIXES)
    return next((path for path in found if path.exists()), None)
