"""``kp demo``: render an arena, discover its keypoints, compare them with the ground truth."""

from pathlib import Path

from lightning_kp.command.arguments import VerbParser, positive, split
from lightning_kp.command.terminal import messages_on_terminal

SUMMARY = (
    "Render two animals in an artificial arena, discover keypoints without labels, compare with the ground truth. "
    "Any option of `kp fit` may be added."
)
PRESET = "turning"
SETTINGS = {"data.size": 96, "model.keypoints": 8, "trainer.max_epochs": 12}
"""Few epochs: the demo should end within minutes."""
MIN_UNSEEN_FRAMES = 24
"""Frames of the second video: regressors need some to be fitted and scored on."""


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    own, options = split(arguments)
    parser = VerbParser("demo", SUMMARY, passes_on=True)
    parser.add_argument("--out", default="runs/demo", help="the run folder (default: runs/demo)")
    parser.add_argument("--frames", type=positive, default=1200, help="frames of the rendered video")
    parser.add_argument("--epochs", type=positive, help="training epochs (default: 12)")
    given = parser.parse_args(own)

    from lightning_kp.api.discovery import discover
    from lightning_kp.api.reporting import report
    from lightning_kp.api.scoring import score
    from lightning_kp.arena.recording import ArenaSettings, write_arena
    from lightning_kp.runs.folder import RunFolder

    folder = RunFolder(Path(given.out)).create()
    video = write_arena(ArenaSettings(frames=given.frames), folder.path / "videos", "arena")
    other = ArenaSettings(frames=max(MIN_UNSEEN_FRAMES, given.frames // 3), seed=1)
    unseen = write_arena(other, folder.path / "videos", "unseen")
    epochs = {} if given.epochs is None else {"trainer.max_epochs": given.epochs}
    with messages_on_terminal():
        found = discover(video, out=folder.path, preset=PRESET, settings=SETTINGS | epochs, options=options)
        errors = score(found, labels=unseen.with_suffix(".truth.npz"), animals=False)
    report(found)
    assert errors.labelled is not None  # an arena's ground truth labels every frame
    print(
        "Against the ground truth, on a second video with different movements:",
        *errors.labelled.lines(),
        sep="\n",
    )
    return 0
