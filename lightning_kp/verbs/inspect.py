"""``kp inspect VIDEOS``: what is in videos, what will disturb discovery, which settings to begin with."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_kp.inspection import Inspection

HELP = (
    "Look at videos: frames, codec, what moves, how large and how fast; warn of what disturbs discovery; "
    "suggest gap, crop, image size and number of keypoints."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="kp inspect", description=HELP, allow_abbrev=False)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files, folders, or globs in quotes")
    parser.add_argument("--out", metavar="DIR", help="write inspection.png, .txt and .json into this folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--frames",
        type=_positive,
        default=3000,
        help="read at most so many frames of each video (default: 3000)",
    )
    given = parser.parse_args(arguments)

    from tqdm import tqdm

    from lightning_kp.inspection import inspect_videos
    from lightning_kp.video import find_videos

    videos = find_videos(given.videos)
    with tqdm(desc="inspect", unit="frame", delay=2.0, leave=False) as bar:
        inspection = inspect_videos(videos, frames=given.frames, progress=bar.update)
    print(inspection.to_json() if given.json else inspection.text())
    if given.out:
        _write(Path(given.out), inspection)
        if not given.json:
            print(f"\nWritten to {given.out}: inspection.png, inspection.txt, inspection.json")
    elif not given.json:
        print("\n--out DIR also writes this with a picture of where, when and how far things move.")
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least 1, got {text}")
    return number


def _write(folder: Path, inspection: "Inspection") -> None:
    from lightning_kp.inspection_picture import write_picture

    write_picture(inspection, folder / "inspection.png")
    (folder / "inspection.txt").write_text(inspection.text() + "\n", encoding="utf-8")
    (folder / "inspection.json").write_text(inspection.to_json() + "\n", encoding="utf-8")
