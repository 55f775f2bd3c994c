"""``kp discover VIDEOS``: inspect, train with the suggested settings, track every frame, write the report."""

from lightning_kp.command.arguments import VerbParser, positive, split
from lightning_kp.command.discovery_plan import DEFAULT_PRESET, FOLLOWING_PRESET
from lightning_kp.command.presets import shipped_presets
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = (
    "Find keypoints in videos without labels. Any option of `kp fit` may be added, for instance "
    "--model.keypoints=10 --data.gap=0.3s --trainer.max_epochs=40. "
    "A second call continues where the first one stopped."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    own, options = split(arguments)
    parser = VerbParser("discover", SUMMARY, passes_on=True)
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", default="runs/discover", help="the run folder (default: runs/discover)")
    parser.add_argument(
        "--animals",
        type=positive,
        metavar="N",
        help="number of animals in every video; each gets a square that follows it (default: counted)",
    )
    parser.add_argument(
        "--preset",
        help=f"{', '.join(shipped_presets())} or a YAML file of your own (default: {FOLLOWING_PRESET} where each "
        f"animal gets a square, else {DEFAULT_PRESET})",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="train anew; an earlier run in the folder is kept as OUT-1 and so on",
    )
    parser.add_argument("--no-overlay", action="store_true", help="do not draw overlay videos")
    given = parser.parse_args(own)

    from lightning_kp.api.discovery import discover

    with messages_on_terminal():
        discover(
            given.videos, out=given.out, animals=given.animals, preset=given.preset, overlay=not given.no_overlay,
            again=given.again, options=options,
        )  # fmt: skip
    return 0
