"""``kp track CHECKPOINT VIDEOS``: keypoints of new videos with a trained checkpoint."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_kp.method import KeypointMethod
    from lightning_kp.tracking import TrackingReport, ViewSettings

SUMMARY = "Write keypoints of every displayed frame; a second call goes on where the first was stopped."


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="kp track", description=SUMMARY)
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", help="folder for tracks/ and overlays/ (default: the run's folder, else .)")
    parser.add_argument("--batch-size", type=int, default=32, help="frames per network pass")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--formats", default="slp,csv,dlc_csv,dlc_h5", help="which files to write")
    parser.add_argument("--overlay", action="store_true", help="also draw overlays/<video>.mp4")
    given = parser.parse_args(arguments)

    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.video import find_videos

    checkpoint = find_checkpoint(given.checkpoint)
    videos = find_videos(given.videos)
    folder = Path(given.out) if given.out else _run_of(checkpoint)
    method, view = load_for_tracking(checkpoint, given.device)
    reports = track_all(
        method, view, videos, folder,
        origin=origin_of(checkpoint), batch_size=given.batch_size, formats=tuple(given.formats.split(",")),
    )  # fmt: skip
    if given.overlay:
        draw_overlays(videos, folder)
    print(f"Results: {folder / 'tracks'}")
    return 0 if reports else 1


def load_for_tracking(checkpoint: Path, device: str = "auto") -> "tuple[KeypointMethod, ViewSettings]":
    """The trained method on its device, and how its images are made.  Raises CheckpointError."""
    import torch

    from lightning_kp.checkpoints import data_settings, load_method
    from lightning_kp.errors import CheckpointError
    from lightning_kp.method import KeypointMethod
    from lightning_kp.tracking import ViewSettings

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    method = load_method(checkpoint)
    if not isinstance(method, KeypointMethod):
        raise CheckpointError(
            f"{checkpoint} holds a {type(method).__name__}, which finds no keypoints.",
            remedy="Give the checkpoint of a keypoint method, such as BKinD.",
        )
    settings = data_settings(checkpoint)
    view = ViewSettings(
        size=int(settings.get("size", 128)), fit=settings.get("fit", "pad"), boxes=settings.get("boxes")
    )
    return method.to(device, memory_format=torch.channels_last).eval(), view


def track_all(
    method: "KeypointMethod",
    view: "ViewSettings",
    videos: list[Path],
    folder: Path,
    *,
    origin: str,
    batch_size: int = 32,
    formats: tuple[str, ...] | None = None,
) -> "list[TrackingReport]":
    """Track every video into ``folder/tracks``, with a progress bar each; prints fps and where time went."""
    from tqdm import tqdm

    from lightning_kp.run_folder import RunFolder, unique_stems
    from lightning_kp.tracking import track_video
    from lightning_kp.video import open_video

    reports = []
    for video, name in zip(videos, unique_stems(videos), strict=True):
        with open_video(video) as reader:
            total = reader.info.n_frames
        with tqdm(total=total, desc=f"track {name}", unit="frame", delay=1.0) as bar:
            report = track_video(
                method, video, RunFolder(folder).tracks(name), view, origin=origin, batch_size=batch_size,
                formats=formats, progress=lambda done, bar=bar: bar.update(done - bar.n),  # type: ignore[misc]
            )  # fmt: skip
        print(report.line())
        reports.append(report)
    return reports


def draw_overlays(videos: list[Path], folder: Path) -> None:
    """Draw ``overlays/<video>.mp4`` from the saved files; those that are newer than their file are kept."""
    from lightning_kp.overlay import write_overlay
    from lightning_kp.run_folder import RunFolder, unique_stems

    run = RunFolder(folder)
    for video, name in zip(videos, unique_stems(videos), strict=True):
        saved, target = run.tracks(name).with_name(f"{name}.csv"), run.overlay(name)
        if not target.exists() or target.stat().st_mtime < saved.stat().st_mtime:
            write_overlay(saved, video, target)


def origin_of(checkpoint: Path) -> str:
    """Text that names a checkpoint's content: results of another one are replaced."""
    import hashlib

    return f"{checkpoint.name}:{hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]}"


def _run_of(checkpoint: Path) -> Path:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else Path()
