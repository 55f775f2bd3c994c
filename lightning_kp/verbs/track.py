"""``kp track CHECKPOINT VIDEOS``: keypoints of new videos with a trained checkpoint."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.verbs.arguments import VerbParser, positive, share

if TYPE_CHECKING:
    import torch

    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.motion.boxes import Boxes
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.tracks.tracking import TrackingReport

SUMMARY = "Write keypoints of every displayed frame; a second call goes on where the first was stopped."
DRAWN_FROM = (".csv", ".slp", ".dlc.h5", ".dlc.csv")  # result files, those that hold most first


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("track", SUMMARY)
    parser.add_argument("checkpoint", help="a .ckpt file or the folder of a run")
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", help="folder for tracks/ and overlays/ (default: the run's folder, else .)")
    parser.add_argument(
        "--boxes", help="crop frames: follow, FILE.csv or left,top,right,bottom (default: as trained)"
    )
    parser.add_argument(
        "--least",
        type=share,
        default=0.0,
        help="leave out animals whose points' mean confidence is lower (`kp score` names one)",
    )
    parser.add_argument("--batch-size", type=positive, default=32, help="frames per network pass")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--formats", default="slp,csv,dlc_csv,dlc_h5", help="which files to write")
    parser.add_argument("--overlay", action="store_true", help="also draw overlays/<video>.mp4")
    given = parser.parse_args(arguments)

    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.files import unique_stems
    from lightning_kp.runs.folder import RunFolder, run_of
    from lightning_kp.tracks.identity_files import summary_lines, suspected_swaps
    from lightning_kp.video.paths import find_videos

    formats = _formats(given.formats)
    checkpoint = find_checkpoint(given.checkpoint)
    videos = find_videos(given.videos)
    folder = Path(given.out) if given.out else run_of(checkpoint) or Path()
    RunFolder(folder).refuse_unwritable()
    boxes = _boxes(given.boxes)
    method, view = load_for_tracking(checkpoint, given.device)
    origin = surer_origin(origin_of(checkpoint), method, given.least)
    if boxes is not None:
        view, origin = replace(view, boxes=boxes), f"{origin}:{given.boxes}"
    else:
        remedy = "--boxes FILE.csv, or --boxes follow for one moving animal, cuts them out."
        tell_crops(method, checkpoint, remedy)
    track_all(
        method, view, videos, folder, origin=origin, batch_size=given.batch_size, formats=formats, least=given.least,
    )  # fmt: skip
    tell_unsure(method, given.least)
    for line in summary_lines(suspected_swaps(RunFolder(folder), unique_stems(videos))):
        print(line)
    if given.overlay:
        draw_overlays(videos, folder)
    print(f"Results: {folder / 'tracks'}")
    return 0


def _boxes(text: str | None) -> "Boxes":
    """``follow``, a file, or four numbers."""
    from lightning_kp.errors import ConfigurationError
    from lightning_kp.motion.boxes import FOLLOW

    if text is None or text == FOLLOW or Path(text.partition("#")[0]).is_file():
        return text
    try:
        left, top, right, bottom = (int(each) for each in text.strip("[]").split(","))
    except ValueError:
        raise ConfigurationError(
            f"--boxes {text} is no file, not {FOLLOW}, and no four whole numbers.",
            remedy="Say --boxes follow, --boxes FILE.csv (as `kp inspect --boxes` writes) or --boxes 10,20,200,210.",
        ) from None
    return (left, top, right, bottom)


def tell_unsure(method: "KeypointMethod", least: float) -> None:
    """Say on stderr that animals of any score are kept, where they are."""
    if method.finds_whole_animals and not least:
        print(
            "kp: animals of any score are kept. `kp score RUN --labels FILE` names the score from which on they are "
            "there; --least SCORE leaves out the others.",
            file=sys.stderr,
        )


def surer_origin(origin: str, method: "KeypointMethod", least: float) -> str:
    """The origin of tracks without the animals of a lower score.

    Raises ConfigurationError for a method that does not say which animals there are.
    """
    from lightning_kp.errors import ConfigurationError

    if not least:
        return origin
    if not method.finds_whole_animals:
        raise ConfigurationError(
            f"{type(method).__name__} finds the same points in every frame; --least is for methods that find whole "
            "animals (DirectPose, SemiMultiPose, PersonParser).",
            remedy="Leave --least out; every point's confidence is in the files.",
        )
    return f"{origin}:least {least:g}"


def tell_crops(method: "KeypointMethod", checkpoint: Path, remedy: str) -> None:
    """Say on stderr that a network of crops sees whole frames."""
    from lightning_kp.checkpoints import data_class

    if getattr(data_class(checkpoint), "cropped", False):
        print(
            f"kp: {type(method).__name__} was trained on crops around what it finds, and sees whole frames now. "
            f"{remedy}",
            file=sys.stderr,
        )


def load_for_tracking(checkpoint: Path, device: str = "auto") -> "tuple[KeypointMethod, ViewSettings]":
    """The trained method on its device, and how its images are made.  Raises CheckpointError."""
    import torch

    from lightning_kp.checkpoints import data_settings, load_method
    from lightning_kp.errors import CheckpointError
    from lightning_kp.frames.preprocessing import Preprocessing
    from lightning_kp.frames.view import ViewSettings
    from lightning_kp.method import KeypointMethod
    from lightning_kp.motion.boxes import FOLLOW

    place = pick_device(device)
    method = load_method(checkpoint)
    if not isinstance(method, KeypointMethod):
        raise CheckpointError(
            f"{checkpoint} holds a {type(method).__name__}, which finds no keypoints.",
            remedy="Give the checkpoint of a keypoint method, such as BKinD.",
        )
    settings = data_settings(checkpoint)
    if "size" not in settings:
        raise CheckpointError(
            f"{checkpoint} does not say how its images were made.",
            remedy="Train with a datamodule that has a `size`, such as VideoFramePairs.",
        )
    boxes = settings.get("boxes")
    if isinstance(boxes, str) and boxes != FOLLOW:
        boxes = Path(settings.get("root", ".")) / boxes
    view = ViewSettings(
        size=int(settings["size"]), fit=settings.get("fit", "pad"), boxes=boxes,
        preprocessing=Preprocessing.of(settings.get("preprocessing")),
    )  # fmt: skip
    return method.to(place, memory_format=torch.channels_last).eval(), view


def pick_device(name: str) -> "torch.device":
    """The device of that name; ``auto``: the GPU if there is one.  Raises ConfigurationError."""
    import torch

    from lightning_kp.errors import ConfigurationError

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigurationError(
            f"There is no device '{name}' on this computer.", remedy="Use --device auto, or cpu."
        ) from error
    return device


def _formats(text: str) -> tuple[str, ...]:
    """Names of table formats, checked before hours of tracking rather than after them."""
    from lightning_kp.errors import ConfigurationError
    from lightning_kp.tracks.writing import FORMATS

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise ConfigurationError(
            f"--formats has {unknown[0]!r}." if unknown else "--formats is empty.",
            remedy=f"Choose from {','.join(FORMATS)}.",
        )
    return names


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


def origin_of(checkpoint: Path) -> str:
    """Text that names a checkpoint's content: results of another one are replaced."""
    import hashlib

    with checkpoint.open("rb") as file:
        return f"{checkpoint.name}:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
