"""``kp crowds FILE``: the crowd regions of a COCO-style keypoint file, and what they are like (000, 3.4)."""

import json
from pathlib import Path

from lightning_kp.command.arguments import VerbParser

SUMMARY = (
    "Find the regions of a COCO-style keypoint file in which people overlap; writes them as a file of the same "
    "style that COCOCrowd reads, with a table (.md) and a picture (.png) of their numbers beside it."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("crowds", SUMMARY)
    parser.add_argument("file", help="COCO, CrowdPose, OCHuman ... keypoints, or labels.npz#PART")
    parser.add_argument("--out", default="crowds.json", help="file to write (default: crowds.json)")
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.1,
        help="intersection over union that links two boxes (default: 0.1)",
    )
    parser.add_argument("--most", type=int, help="leave out crowds of more people (at least 2)")
    given = parser.parse_args(arguments)

    from lightning_kp.errors import ConfigurationError
    from lightning_kp.files import write_whole
    from lightning_kp.labels.archives import split_part
    from lightning_kp.people.coco import chosen_crowds, derived, read_people
    from lightning_kp.people.crowds import draw_statistics, statistics

    if not 0 < given.overlap <= 1:
        raise ConfigurationError(
            f"--overlap is {given.overlap}.", remedy="Give a number above 0 and at most 1."
        )
    if given.most is not None and given.most < 2:
        raise ConfigurationError(f"--most is {given.most}.", remedy="A crowd has at least 2 people.")
    out = Path(given.out)
    if out.suffix != ".json" or out.resolve() == split_part(given.file)[0].resolve():
        raise ConfigurationError(
            f"--out {out} is no place for the crowds: they are written as .json, beside .md and .png, and "
            f"{given.file} stays as it is.",
            remedy="--out crowds.json",
        )
    people = read_people(given.file)
    # Its pictures stand there once for each crowd: neither they nor other overlaps can be counted again.
    if people.is_derived:
        raise ConfigurationError(
            f"{given.file} already holds crowds.", remedy="Give the file that kp crowds made it of."
        )
    crowds = chosen_crowds(people, given.file, given.overlap, given.most)
    found = statistics(people.scenes, crowds, given.overlap)
    write_whole(out, json.dumps(derived(people, crowds, given.overlap)) + "\n")
    write_whole(out.with_suffix(".md"), found.table() + "\n")
    draw_statistics(found, out.with_suffix(".png"))
    print(found.table(), f"Written to {out}.", sep="\n\n")
    return 0
