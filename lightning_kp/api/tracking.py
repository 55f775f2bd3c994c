"""Track the keypoints of videos into files: ``kp.track(run, videos)``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_kp.api.paths import PathLike, Paths, as_list
from lightning_kp.api.run import Run
from lightning_kp.checkpoints import find_checkpoint
from lightning_kp.command.calibrating import calibration_of
from lightning_kp.command.tracking import draw_overlays, track_all
from lightning_kp.command.trained import (
    content_of,
    load_for_tracking,
    origin_of,
    origin_with_threshold,
    warn_unfiltered,
    warn_whole_frames,
)
from lightning_kp.errors import ConfigurationError
from lightning_kp.files import unique_stems
from lightning_kp.motion.boxes import FOLLOW, Boxes, follow, followed_animals
from lightning_kp.runs.folder import RunFolder, run_of
from lightning_kp.smoothing.refining import Refinement, found_flips
from lightning_kp.tracks.engine import choose_engine
from lightning_kp.tracks.identity_files import suspected_swaps
from lightning_kp.tracks.writing import FORMATS
from lightning_kp.video.paths import find_videos

if TYPE_CHECKING:
    from lightning_kp.tracks.tracking import TrackingReport

ALL_FORMATS = ("slp", "csv", "dlc_csv", "dlc_h5")


def track(
    checkpoint: PathLike,
    videos: Paths,
    *,
    out: PathLike | None = None,
    boxes: Boxes = None,
    animals: int | None = None,
    threshold: float = 0.0,
    batch_size: int = 32,
    device: str = "auto",
    engine: str = "auto",
    formats: Sequence[str] = ALL_FORMATS,
    mend: bool = True,
    smooth: bool = False,
    overlay: bool = False,
) -> "TrackedVideos":
    """Write the keypoints of every frame of videos into ``out/tracks``; a second call continues an interrupted one.

    Args:
        checkpoint: A run folder or a checkpoint file.
        videos: Video files, folders or globs.
        out: Folder for tracks/ and overlays/; by default the run's folder, else the current one.
        boxes: Where to crop, in place of the boxes of training: (left, top, right, bottom) in pixels, a csv file
            with a box for each frame, ``follow``, or ``follow:N`` for N animals.
        animals: Number of animals, each followed by a square of its own: the same as ``boxes="follow:N"``.
        threshold: Leaves out animals whose points' mean confidence is lower; only for methods that find whole animals.
        batch_size: Frames per network pass.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        engine: ``torch``; ``onnx``, ONNX Runtime, which needs the extra ``onnx`` and is faster on a CPU; or ``auto``:
            ONNX Runtime if it is installed, finds the same points to 0.05 px of the network's square on the first
            batch, and the work is worth an export, else torch.  The exported network is kept in the cache folder.
        formats: Some of slp, csv, dlc_csv, dlc_h5.
        mend: Put keypoints that exchange their places (head and tail) back where that helps, and halve the confidence
            of a keypoint that jumps across the body.  They are listed in ``flips`` in any case.
        smooth: Smooth the positions over time by a Kalman smoother, never across a gap.
        overlay: Draw overlays/<video>.mp4 as well.

    Raises:
        VideoError: A video cannot be read; the others are tracked before it is raised.
        ConfigurationError: An unknown format, device, engine or box, or a threshold that does not apply.
        ExportError: ``engine="onnx"``, and the network cannot be exported or the exported one finds other points.

    Example:
        tracked = kp.track("runs/me", "new.mp4", out="out/", formats=["csv"])
        poses = tracked.poses("new")
    """
    wanted = _checked_formats(formats)
    file = find_checkpoint(Path(checkpoint))
    found = find_videos(as_list(videos))
    path = Path(out) if out is not None else run_of(file) or Path()
    RunFolder(path).refuse_unwritable()
    boxes = chosen_boxes(boxes, animals)
    method, view = load_for_tracking(file, device)
    origin = origin_with_threshold(origin_of(file), method, threshold)
    if boxes is not None:
        view, origin = replace(view, boxes=boxes), f"{origin}:{_as_text(boxes)}"
    else:
        remedy = "--boxes FILE.csv, or --animals N for N moving animals, crops them."
        warn_whole_frames(method, file, remedy)
    reports = track_all(
        method, view, found, path, origin=origin, batch_size=batch_size, formats=wanted, threshold=threshold,
        engine=choose_engine(engine, method, content_of(file)), refinement=Refinement(mend, smooth),
        calibration=calibration_of(file, method),
    )  # fmt: skip
    warn_unfiltered(method, threshold)
    if overlay:
        draw_overlays(found, path)
    names = unique_stems(found)
    flips = found_flips(RunFolder(path), names)
    return TrackedVideos(path, tuple(reports), suspected_swaps(RunFolder(path), names), flips)


@dataclass(frozen=True, repr=False)
class TrackedVideos(Run):
    """The folder with the tracks of videos; ``tracks`` and ``poses(video)`` give them.

    Attributes:
        path: The folder.
        reports: Frames, seconds and files of each video of this call.
        swaps: By video with several instances, the frames in which two of them may have been exchanged.
        flips: By video, the stretches of frames in which keypoints of one animal stood at wrong ends of it.

    Example:
        tracked = kp.track("runs/me", "new.mp4", out="tracked/", formats=["csv"])
        print(tracked.tracks["new"], tracked.poses("new").points_px.shape)
    """

    reports: "tuple[TrackingReport, ...]" = ()
    swaps: dict[str, list[dict[str, Any]]] | None = None
    flips: dict[str, list[dict[str, Any]]] | None = None

    def __str__(self) -> str:
        return "\n".join([f"Tracks {self.path / 'tracks'}", *(report.line() for report in self.reports)])


def chosen_boxes(boxes: Boxes, animals: int | None) -> Boxes:
    """Boxes as given, read from text, or those that follow so many animals.

    Raises ConfigurationError for boxes that cannot be read, and for ``animals`` beside boxes that say something else.
    """
    given = parse_boxes(boxes) if isinstance(boxes, str) else boxes
    if animals is None:
        return given
    if given not in (None, FOLLOW, follow(animals)):
        raise ConfigurationError(
            f"--animals {animals} asks for squares that follow the animals, but boxes are given, too.",
            remedy="Leave one of --animals and --boxes out.",
        )
    return follow(animals)


def parse_boxes(text: str) -> Boxes:
    """Return ``follow``, a file, or four numbers as a tuple.  Raises ConfigurationError for anything else."""
    if followed_animals(text) or Path(text.partition("#")[0]).is_file():
        return text
    try:
        left, top, right, bottom = (int(each) for each in text.strip("[]").split(","))
    except ValueError:
        raise ConfigurationError(
            f"The boxes {text} are neither a file, nor {FOLLOW} or {FOLLOW}:N, nor four whole numbers.",
            remedy="Use --boxes follow (follow:2 for two animals), --boxes FILE.csv (as `kp inspect --boxes` "
            "writes) or --boxes 10,20,200,210.",
        ) from None
    return (left, top, right, bottom)


def _as_text(boxes: Boxes) -> str:
    """Boxes as they are typed, which is what the files of an earlier call are compared with."""
    return os.fspath(boxes) if isinstance(boxes, str | Path) else ",".join(map(str, boxes or ()))


def _checked_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of table formats before hours of tracking rather than after them."""
    given = [names] if isinstance(names, str) else names
    if unknown := [name for name in given if name not in FORMATS]:
        raise ConfigurationError(f"--formats has {unknown[0]!r}.", remedy=f"Choose from {','.join(FORMATS)}.")
    if not given:
        raise ConfigurationError("--formats is empty.", remedy=f"Choose from {','.join(FORMATS)}.")
    return tuple(given)
