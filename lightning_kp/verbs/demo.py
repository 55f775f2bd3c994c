"""``kp demo``: render an arena, discover its keypoints, compare them with the truth."""

import argparse
from pathlib import Path

SUMMARY = (
    "Render two animals in an artificial arena, discover keypoints without labels, compare with the truth."
)


def run(arguments: list[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    parser = argparse.ArgumentParser(prog="kp demo", description=SUMMARY)
    parser.add_argument("--out", default="runs/demo", help="the run folder (default: runs/demo)")
    parser.add_argument("--frames", type=int, default=1200, help="frames of the rendered video")
    parser.add_argument("--epochs", type=int, default=None, help="training epochs (default: the preset's)")
    given = parser.parse_args(arguments)

    from lightning_kp.arena import ArenaSettings, write_arena
    from lightning_kp.checkpoints import find_checkpoint
    from lightning_kp.labels import read_labels
    from lightning_kp.run_folder import RunFolder
    from lightning_kp.scoring import score_regression
    from lightning_kp.verbs import discover
    from lightning_kp.verbs.track import load_for_tracking

    folder = RunFolder(Path(given.out)).create()
    video = write_arena(ArenaSettings(frames=given.frames), folder.path / "videos", "arena")
    unseen = write_arena(ArenaSettings(frames=given.frames // 3, seed=1), folder.path / "videos", "unseen")
    options = [] if given.epochs is None else [f"--trainer.max_epochs={given.epochs}"]
    discover.run([str(video), "--out", str(folder.path), *options])
    method, view = load_for_tracking(find_checkpoint(folder.path))
    figures = score_regression(method, read_labels(unseen.with_suffix(".truth.npz"), view.size, view.fit))
    folder.add_metrics(figures.as_metrics())
    print("Against the truth, on a second video with other movements:", *figures.lines(), sep="\n")
    return 0
