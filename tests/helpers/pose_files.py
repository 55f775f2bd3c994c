"""A small file of 3-D pose sequences."""

from pathlib import Path

import numpy as np


def write_poses(folder: Path, frames: int = 40) -> Path:
    """Four subjects, two actions; joint 0 rests at the origin, 900 mm up, joint 1 moves up 1 mm per frame."""
    people, actions = ("S1", "S8", "S9", "S11"), ("sitting", "walking")
    names = [f"{subject}/{action}_1" for subject in people for action in actions]
    one = np.zeros((frames, 2, 3))
    one[:, :, 2] = 900
    one[:, 1, 2] += np.arange(frames)
    np.savez(
        folder / "poses.npz", positions=np.concatenate([one] * len(names)), fps=np.float32(12.5),
        sequence_id=np.repeat(np.arange(len(names)), frames), sequence_names=np.array(names),
        subject=np.array([name.split("/")[0] for name in names]),
    )  # fmt: skip
    return folder
