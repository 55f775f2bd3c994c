"""Label files for tests: an .npz archive of images and points."""

from pathlib import Path

import numpy as np
from PIL import Image as Pictures

NAMES = ("nose", "tail")


def archive(folder: Path, animals: int, names: tuple[str, ...] = NAMES, frames: int = 6) -> str:
    """Write grey images of 32 x 32 with the given number of animals; return the name of their labels."""
    (folder / "images").mkdir(exist_ok=True)
    for number in range(frames):
        Pictures.new("RGB", (32, 32), (30 * number, 0, 0)).save(folder / "images" / f"{number}.png")
    corner = np.arange(animals)[:, None, None] * 8.0 + 4
    points = np.broadcast_to(corner, (frames, animals, len(names), 2)) + np.arange(len(names))[:, None] * 3
    files = [f"{n}.png" for n in range(frames)]
    split = ["train"] * (frames - 2) + ["test"] * 2
    np.savez(folder / "labels.npz", points=points, path=files, node_names=names, split=split)
    return "labels.npz"
