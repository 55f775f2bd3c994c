"""``kp inspect VIDEOS``: what videos show, what will disturb discovery, which settings to start with."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_kp.command.arguments import VerbParser, positive

if TYPE_CHECKING:
    from lightning_kp.api.inspection import VideoReport

SUMMARY = (
    "Measure what videos show: frames, codec, what moves, how large and how fast. Warn of what disturbs discovery; "
    "suggest gap, crop, image size and number of keypoints."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    given = _parser().parse_args(arguments)

    from lightning_kp.api.inspection import inspect, preview_names

    previews = preview_names(given.preview or (), given.out)
    found = inspect(given.videos, frames=given.frames)
    print(found.to_json() if given.json else found.inspection.text())
    if given.out:
        found.write(given.out)
        if not given.json:
            print(f"\nWritten to {given.out}: inspection.png, inspection.txt, inspection.json")
        for path in found.write_previews(given.out, previews):
            print(f"Written: {path}", file=sys.stderr)
    if given.boxes:
        _write_boxes(found, given)
    if not (given.out or given.boxes or given.json):
        print("\n--out DIR also saves this with a picture of where, when and how far animals move.")
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("inspect", SUMMARY)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files, folders, or globs in quotes")
    parser.add_argument("--out", metavar="DIR", help="write inspection.png, .txt and .json into this folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--frames",
        type=positive,
        default=3000,
        help="read at most this many frames of each video (default: 3000)",
    )
    parser.add_argument(
        "--preview",
        metavar="NAMES",
        help="with --out, also draw the effect of preprocessing: all, or some of "
        "hsv,ssim,filter,translation,similarity",
    )
    parser.add_argument(
        "--boxes", metavar="FILE", help="write a csv file with a box around each animal, for --data.boxes"
    )
    parser.add_argument(
        "--animals",
        type=positive,
        help="with --boxes: number of animals (default: the number of moving regions)",
    )
    parser.add_argument(
        "--boxes-from",
        choices=("background", "ssim"),
        default="background",
        help="with --boxes: find animals by the difference from the background, or from the frame one gap later "
        "(for changing scenes)",
    )
    parser.add_argument("--box-side", type=positive, metavar="PX", help="with --boxes: side of the squares")
    return parser


def _write_boxes(found: "VideoReport", given: argparse.Namespace) -> None:
    """Write the boxes of all videos; prints to stderr, because stdout may hold JSON."""
    boxes = found.write_boxes(
        given.boxes, animals=given.animals, source=given.boxes_from, side_px=given.box_side
    )
    for each in boxes:
        animals = each.boxes.shape[1]
        shares = ", ".join(f"{share:.0%}" for share in each.seen)
        print(
            f"{each.info.name}: {animals} animal{'s' if animals > 1 else ''}, squares of {each.side_px} px, "
            f"seen in {shares} of the frames",
            file=sys.stderr,
        )
        for animal in range(animals):
            for start, end in each.unseen_stretches(animal, least_s=1.0):
                print(f"  {start:.1f} to {end:.1f} s: animal {animal + 1} not found", file=sys.stderr)
    path = Path(given.boxes)
    print(f"Written: {path}. Next: kp discover VIDEOS --data.boxes={path.resolve()}", file=sys.stderr)
