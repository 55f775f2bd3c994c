"""``kp inspect VIDEOS``: what is in videos, what will disturb discovery, which settings to begin with."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive

if TYPE_CHECKING:
    from lightning_kp.inspection.videos import Inspection

HELP = (
    "Look at videos: frames, codec, what moves, how large and how fast; warn of what disturbs discovery; "
    "suggest gap, crop, image size and number of keypoints."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)
    previewed = _previewed(given.preview, given.out)

    from tqdm import tqdm

    from lightning_kp.inspection.videos import inspect_videos
    from lightning_kp.video.paths import find_videos

    videos = find_videos(given.videos)
    with tqdm(desc="inspect", unit="frame", delay=2.0, leave=False) as bar:
        inspection = inspect_videos(videos, frames=given.frames, progress=bar.update)
    print(inspection.to_json() if given.json else inspection.text())
    if given.out:
        _write(Path(given.out), inspection)
        if not given.json:
            print(f"\nWritten to {given.out}: inspection.png, inspection.txt, inspection.json")
        for path in _write_previews(Path(given.out), inspection, previewed, given.frames):
            print(f"Written: {path}", file=sys.stderr)
    if given.boxes:
        _write_boxes(inspection, given)
    if not (given.out or given.boxes or given.json):
        print("\n--out DIR also writes this with a picture of where, when and how far things move.")
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("inspect", HELP)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files, folders, or globs in quotes")
    parser.add_argument("--out", metavar="DIR", help="write inspection.png, .txt and .json into this folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--frames",
        type=positive,
        default=3000,
        help="read at most so many frames of each video (default: 3000)",
    )
    parser.add_argument(
        "--preview",
        metavar="NAMES",
        help="with --out, also draw what preprocessing does: all, or some of hsv,ssim,filter,translation,similarity",
    )
    parser.add_argument(
        "--boxes", metavar="FILE", help="write a csv with a box around each animal, for --data.boxes"
    )
    parser.add_argument(
        "--animals", type=positive, help="with --boxes: how many (default: the things that were seen moving)"
    )
    parser.add_argument(
        "--boxes-from",
        choices=("background", "ssim"),
        default="background",
        help="with --boxes: what differs from the median frame, or from the frame a gap later (changing scenes)",
    )
    parser.add_argument("--box-side", type=positive, metavar="PX", help="with --boxes: side of the squares")
    return parser


def _write_boxes(inspection: "Inspection", given: argparse.Namespace) -> None:
    """Boxes of all videos in one file; what to type next goes where JSON does not."""
    from tqdm import tqdm

    from lightning_kp.errors import ConfigurationError
    from lightning_kp.frames.thinning import parse_gap
    from lightning_kp.motion.animals import find_boxes
    from lightning_kp.motion.boxes import AnimalBoxes, write_boxes

    names = [video.info.path.name for video in inspection.videos]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"Several videos are called {repeated[0]}; a file of boxes tells videos apart by name.",
            remedy="Write one file for each, or rename them.",
        )
    found: list[AnimalBoxes] = []
    for video in inspection.videos:
        animals = given.animals or max(1, video.measured.things)
        with tqdm(desc=f"boxes {video.info.name}", unit="frame", delay=2.0, leave=False) as bar:
            boxes = find_boxes(
                video.info.path, video.measured.background, animals, source=given.boxes_from,
                gap=parse_gap(video.suggestion.gap.value, video.info.fps), side_px=given.box_side,
                progress=bar.update,
            )  # fmt: skip
        shares = ", ".join(f"{share:.0%}" for share in boxes.seen)
        print(
            f"{video.info.name}: {animals} animal{'s' if animals > 1 else ''}, squares of {boxes.side_px} px, "
            f"seen in {shares} of the frames",
            file=sys.stderr,
        )
        found.append(boxes)
    path = Path(given.boxes)
    write_boxes(found, path)
    print(f"Written: {path}. Next: kp discover VIDEOS --data.boxes={path.resolve()}", file=sys.stderr)


def _previewed(names: str | None, out: str | None) -> tuple[str, ...]:
    """Names of preprocessings.  Raises ConfigurationError for unknown ones, or where there is no --out."""
    if names is None:
        return ()
    from lightning_kp.errors import ConfigurationError
    from lightning_kp.inspection.previews import CHOICES

    chosen = tuple(CHOICES) if names == "all" else tuple(name.strip() for name in names.split(","))
    if unknown := [name for name in chosen if name not in CHOICES]:
        raise ConfigurationError(
            f"--preview names '{unknown[0]}'.", remedy=f"Choose all, or some of {','.join(CHOICES)}."
        )
    if out is None:
        raise ConfigurationError("--preview draws a picture into a folder.", remedy="Add --out DIR.")
    return chosen


def _write_previews(
    folder: Path, inspection: "Inspection", names: tuple[str, ...], frames: int
) -> list[Path]:
    """One picture per video, with the gap that is suggested for it."""
    if not names:
        return []
    from lightning_kp.files import unique_stems
    from lightning_kp.inspection.previews import write_preview

    paths = [video.info.path for video in inspection.videos]
    pictures = [folder / f"preprocessing_{stem}.png" for stem in unique_stems(paths)]
    for video, picture in zip(inspection.videos, pictures, strict=True):
        gap = int(video.suggestion.gap.value)
        write_preview(video.info.path, picture, names, gap=gap, frames=frames)
    return pictures


def _write(folder: Path, inspection: "Inspection") -> None:
    from lightning_kp.inspection.picture import write_picture

    write_picture(inspection, folder / "inspection.png")
    (folder / "inspection.txt").write_text(inspection.text() + "\n", encoding="utf-8")
    (folder / "inspection.json").write_text(inspection.to_json() + "\n", encoding="utf-8")
