"""Tracks and overlays of several videos, one after another."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.tracks.tracking import TrackingReport

DRAWN_FROM = (".csv", ".slp", ".dlc.h5", ".dlc.csv")  # result files, those that hold most first


def track_all(
    method: "KeypointMethod",
    view: "ViewSettings",
    videos: list[Path],
    folder: Path,
    *,
    origin: str,
    batch_size: int = 32,
    formats: tuple[str, ...] | None = None,
    least: float = 0.0,
) -> "list[TrackingReport]":
    """Track every video into ``folder/tracks``, with a progress bar each; prints fps and where time went.

    A video that cannot be read does not keep the others from being tracked; VideoError names it at the end.
    """
    from tqdm import tqdm

    from lightning_kp.errors import VideoError
    from lightning_kp.files import unique_stems
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.tracks.tracking import track_video
    from lightning_kp.video.opening import open_video

    reports: list[TrackingReport] = []
    failed: list[VideoError] = []
    for video, name in zip(videos, unique_stems(videos), strict=True):
        try:
            with open_video(video) as reader:
                total = reader.info.n_frames
            with tqdm(total=total, desc=f"track {name}", unit="frame", delay=1.0, leave=False) as bar:
                report = track_video(
                    method, video, RunFolder(folder).tracks(name), view, origin=origin, batch_size=batch_size,
                    formats=formats, least=least, progress=lambda done, bar=bar: bar.update(done - bar.n),  # type: ignore[misc]
                )  # fmt: skip
        except VideoError as error:
            failed.append(error)
            if len(videos) > 1:
                print(f"{name}: left out. {error}", file=sys.stderr)
            continue
        print(report.line())
        reports.append(report)
    if failed:
        more = f" ({len(failed)} of {len(videos)} videos were left out.)" if len(videos) > 1 else ""
        raise VideoError(failed[0].problem, remedy=failed[0].remedy + more) from failed[0]
    return reports


def draw_overlays(videos: list[Path], folder: Path) -> None:
    """Draw ``overlays/<video>.mp4`` from the saved files; those that are newer than their file are kept."""
    from tqdm import tqdm

    from lightning_kp.files import unique_stems
    from lightning_kp.report.overlay import write_overlay
    from lightning_kp.runs.folder import RunFolder

    run = RunFolder(folder)
    for video, name in zip(videos, unique_stems(videos), strict=True):
        saved, target = _saved(run, name), run.overlay(name)
        if not target.exists() or target.stat().st_mtime < saved.stat().st_mtime:
            print(f"{name}: drawing {target}", flush=True)
            with tqdm(desc=f"draw {name}", unit="frame", delay=1.0, leave=False) as bar:
                write_overlay(saved, video, target, progress=bar.update)


def _saved(run: "RunFolder", name: str) -> Path:
    from lightning_kp.errors import DataError
    from lightning_kp.files import companion

    for suffix in DRAWN_FROM:
        if (path := companion(run.tracks(name), suffix)).exists():
            return path
    raise DataError(f"There are no tracks of {name} in {run.path}.", remedy="Track the video first.")
