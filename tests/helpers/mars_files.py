"""MARS's labels of two mice in the published layout, with small images."""

import json
from pathlib import Path

from PIL import Image


def write_mars(folder: Path, frames: int = 3, points: int = 7) -> Path:
    """The published layout: a list of frames, and the images in raw_images_top/."""
    (folder / "raw_images_top").mkdir()
    content = []
    for number in range(frames):
        name = f"MARS_top_{number:05d}.jpg"
        Image.new("RGB", (102, 57)).save(folder / "raw_images_top" / name)
        mice = {
            mouse: {"x": [first + k for k in range(points)], "y": [number + 10 * k for k in range(points)]}
            for mouse, first in (("white", 50.0), ("black", 5.0))
        }
        content.append({"filename": name, "width": 1020, "height": 570, "coords": mice})
    path = folder / "MARS_keypoints_top.json"
    path.write_text(json.dumps(content))
    return path
