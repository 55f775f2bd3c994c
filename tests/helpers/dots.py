"""Videos of coloured dots on black, and a method that finds each dot by its colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clips import write_video
from torch import Tensor

from lightning_kp.batches import Images
from lightning_kp.frames.view import ViewSettings
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.method import KeypointMethod
from lightning_kp.tracks.table import Floats
from lightning_kp.tracks.tracking import track_video

COLOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1))
SIZE = 64


@dataclass(frozen=True)
class NoWeights:
    none: float = 0.0


class ColourDots(KeypointMethod):
    """Finds keypoint k at the pixels of colour k; nothing is learnt."""

    batch_type = Images
    weights_type = NoWeights

    def heatmaps(self, image: Tensor) -> Tensor:
        colours = torch.tensor(COLOURS, dtype=image.dtype)
        distance = (image[:, None] - colours[None, :, :, None, None]).square().sum(dim=2)
        return spatial_softmax(-40 * distance)

    def terms(self, batch: Images) -> dict[str, Tensor]:
        return {}


def draw(points_px: Floats, radius: float = 3.0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One frame with soft dots at points (K, 2)."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.zeros((SIZE, SIZE, 3))
    for (px, py), colour in zip(points_px, COLOURS, strict=False):
        cover = np.clip(radius + 0.5 - np.hypot(x - px, y - py), 0, 1)
        image = image * (1 - cover[..., None]) + cover[..., None] * np.array(colour)
    return (image * 255).round().astype(np.uint8)


def track_dots(folder: Path, name: str, frames: Sequence[Floats], fps: int) -> Path:
    """Write a video of the dots, track it as ``kp track`` does, and return the table."""
    video = write_video(folder / f"{name}.mp4", [draw(points) for points in frames], fps=fps)
    stem = folder / "tracks" / name
    track_video(ColourDots(), video, stem, ViewSettings(SIZE), origin="test", batch_size=64, formats=("csv",))
    return stem.with_name(f"{name}.csv")


def ring(radius: float, number: int = 5) -> Floats:
    """Points (K, 2) on a circle around the middle of the frame."""
    angle = 2 * np.pi * np.arange(number) / number + 0.3
    circle = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    return np.asarray(SIZE / 2 - 0.5 + radius * circle, np.float32)
