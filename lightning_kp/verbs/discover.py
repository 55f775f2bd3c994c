"""``kp discover VIDEOS``: inspect, train with the suggested settings, track every frame, write the report."""

from lightning_kp.command.arguments import VerbParser, split
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
    parser = VerbParser("discover", SUMMARY)
    parser.add_argument("videos", nargs="+", help="video files, folders or globs")
    parser.add_argument("--out", default="runs/discover", help="the run folder (default: runs/discover)")
    parser.add_argument(
        "--preset",
        help=f"{', '.join(shipped_presets())} or a YAML file of your own (default: {FOLLOWING_PRESET} for one animal "
        f"that is small in its arena, else {DEFAULT_PRESET})",
    )
    parser.add_argument("--no-overlay", action="store_true", help="do not draw overlay videos")
    given = parser.parse_args(own)

    from lightning_kp.api.discovery import discover

    with messages_on_terminal():
        discover(
            given.videos, out=given.out, preset=given.preset, overlay=not given.no_overlay, options=options
        )
    return 0
