"""Folders of images sorted into classes."""

from pathlib import Path

from PIL import Image as Pictures


def write_folders(
    folder: Path, *, count: int = 5, size: int = 8, classes: tuple[str, ...] = ("ant", "bee")
) -> Path:
    """Train and test images; an image's red is its number, its green its class."""
    for part in ("train", "test"):
        for number, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                colour = (10 * i + (5 if part == "test" else 0), 100 * number, 0)
                Pictures.new("RGB", (size, size), colour).save(folder / part / name / f"{i}.png")
    return folder
