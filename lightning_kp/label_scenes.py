"""Labelled images preprocessed as training's frames were, their points moved along.

Each video (or folder of images) is a scene of its own, known by the median of its labelled images.
"""

from collections.abc import Hashable, Sequence
from pathlib import PurePath

import torch
from torch import Tensor

from lightning_kp.frames.preprocessing import Preprocessing, Preprocessor, points_in_registered
from lightning_kp.geometry import Placement
from lightning_kp.images.files import IMAGE_SUFFIXES, Image


def preprocess_labelled(
    squares: Image,
    points: Tensor,
    placements: Sequence[Placement],
    scenes: Sequence[Hashable],
    settings: Preprocessing,
) -> tuple[Image, Tensor]:
    """Squares (N, S, S, 3) uint8 and points (N, I, L, 2) as the network is to see them.

    ``scenes`` (N) names the video of each image; images of one video that were placed differently
    are different scenes too.  Raises DataError for a scene of fewer than four images.
    """
    if not settings.is_on:
        return squares, points
    done, moved = squares.copy(), points.clone()
    keys = list(zip(scenes, placements, strict=True))
    for key in dict.fromkeys(keys):
        chosen = [i for i, other in enumerate(keys) if other == key]
        preprocessor = Preprocessor.learn(settings, key[1], squares[chosen], str(key[0]))
        done[chosen], transforms = preprocessor(squares[chosen])
        moved[chosen] = points_in_registered(points[chosen].double(), transforms).to(points)
    return done, torch.as_tensor(moved)


def scene_of(name: str) -> str:
    """The video, or the folder of images, that a labelled frame's name (``a/img3.png``, ``a.mp4 frame 3``) is of."""
    path = PurePath(name.replace("\\", "/"))
    return (
        str(path.parent) if path.suffix.lower() in IMAGE_SUFFIXES else name.rpartition(" frame ")[0] or name
    )
