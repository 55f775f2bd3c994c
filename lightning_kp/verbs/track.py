"""``kp track CHECKPOINT VIDEOS``: keypoints of new videos with a trained checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive, share
from lightning_kp.command.tracking import draw_overlays, track_all
from lightning_kp.command.trained import load_for_tracking, origin_of, surer_origin, tell_crops, tell_unsure

if TYPE_CHECKING:
    from lightning_kp.motion.boxes import Boxes

SUMMARY = "Write keypoints of every displayed frame; a second call goes on where the first was stopped."


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
