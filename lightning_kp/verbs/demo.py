"""``kp demo``: render an arena, discover its keypoints, compare them with the truth."""

from pathlib import Path

from lightning_kp.command.arguments import VerbParser, positive, split

SUMMARY = (
    "Render two animals in an artificial arena, discover keypoints without labels, compare with the truth. "
    "Anything that `kp fit` takes may be added."
)
# The preset's, with fewer epochs: the demo should end before a coffee does.
SETTINGS = ("--preset=turning", "--data.size=96", "--model.keypoints=8", "--trainer.max_epochs=12")
LEAST_UNSEEN = 24  # frames: regressors need some to be fitted and scored on


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    own, overrides = split(arguments)
    parser = VerbParser("demo", SUMMARY)
    parser.add_argument("--out", default="runs/demo", help="the run folder (default: runs/demo)")
    parser.add_argument("--frames", type=positive, default=1200, help="frames of the rendered video")
    parser.add_argument("--epochs", type=positive, help="training epochs (default: the preset's)")
    given = parser.parse_args(own)

    from lightning_kp.arena.recording import ArenaSettings, write_arena
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.command.trained import load_for_tracking
    from lightning_kp.labels.reading import read_labels
    from lightning_kp.report.document import write_report
    from lightning_kp.runs.folder import RunFolder
    from lightning_kp.scoring.discovered import score_regression
    from lightning_kp.verbs import discover

    folder = RunFolder(Path(given.out)).create()
    video = write_arena(ArenaSettings(frames=given.frames), folder.path / "videos", "arena")
    other = ArenaSettings(frames=max(LEAST_UNSEEN, given.frames // 3), seed=1)
    unseen = write_arena(other, folder.path / "videos", "unseen")
    if given.epochs is not None:
        overrides = [f"--trainer.max_epochs={given.epochs}", *overrides]
    discover.run([str(video), "--out", str(folder.path), *SETTINGS, *overrides])
    method, view = load_for_tracking(find_checkpoint(folder.path))
    labels = read_labels(unseen.with_suffix(".truth.npz"), view.size, view.fit, view.boxes)
    figures = score_regression(method, labels)
    folder.add_metrics(figures.as_metrics())
    write_report(folder)
    print("Against the truth, on a second video with other movements:", *figures.lines(), sep="\n")
    return 0
