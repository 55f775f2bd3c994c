"""``kp crowds FILE``: extract the crowded regions of a COCO-style keypoint file, with statistics (000, 3.4)."""

import json
from pathlib import Path

from lightning_kp.command.arguments import VerbParser

SUMMARY = (
    "Find the image regions of a COCO-style keypoint file in which people overlap. Writes them to a file of the "
    "same format, which COCOCrowd reads, and their statistics to a table (.md) and a plot (.png) beside it."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = VerbParser("crowds", SUMMARY)
    parser.add_argument(
        "file", help="keypoint file in the format of COCO, CrowdPose or OCHuman, or labels.npz#PART"
    )
    parser.add_argument("--out", default="crowds.json", help="output file (default: crowds.json)")
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.1,
        help="intersection over union from which two boxes belong to one crowd (default: 0.1)",
    )
    parser.add_argument("--most", type=int, help="skip crowds of more people than this (at least 2)")
    given = parser.parse_args(arguments)

    from lightning_kp.errors import ConfigurationError
    from lightning_kp.files import write_whole
    from lightning_kp.labels.archives import split_part
    from lightning_kp.people.coco import chosen_crowds, derived, read_people
    from lightning_kp.people.crowds import draw_statistics, statistics

    if not 0 < given.overlap <= 1:
        raise ConfigurationError(
            f"--overlap needs a number above 0 and at most 1; {given.overlap} was given.",
            remedy="Try --overlap 0.1.",
        )
    if given.most is not None and given.most < 2:
        raise ConfigurationError(
            f"--most needs a whole number of at least 2; {given.most} was given.", remedy="Try --most 20."
        )
    out = Path(given.out)
    if out.suffix != ".json" or out.resolve() == split_part(given.file)[0].resolve():
        raise ConfigurationError(
            f"--out {out} cannot be used: it needs a .json file other than the input {given.file}.",
            remedy="Try --out crowds.json.",
        )
    people = read_people(given.file)
    # A derived file lists an image once per crowd, so that images and overlaps cannot be counted again.
    if people.is_derived:
        raise ConfigurationError(
            f"{given.file} was written by kp crowds and holds crowds already.",
            remedy="Give the original file.",
        )
    crowds = chosen_crowds(people, given.file, given.overlap, given.most)
    found = statistics(people.scenes, crowds, given.overlap)
    write_whole(out, json.dumps(derived(people, crowds, given.overlap)) + "\n")
    write_whole(out.with_suffix(".md"), found.table() + "\n")
    draw_statistics(found, out.with_suffix(".png"))
    print(found.table(), f"Written to {out}.", sep="\n\n")
    return 0
