"""Background images of videos for the verdict: one fixed image, or one crop for each square that moves."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.batches import FramePairs
from lightning_kp.frames.cache import CachedVideo
from lightning_kp.motion.background import learn_background
from lightning_kp.motion.following import cut_background, scene_background

THUMBNAIL_PX = 128  # enough to separate an animal from its background; 256 pairs take 25 MB


class Background(Protocol):
    """Background of one video at the size of the thumbnails."""

    def at(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Background for the displayed frames ``index`` (N,): uint8 (N, h, w, 3), or (h, w, 3) for all of them."""
        ...


class FixedBackground(NamedTuple):
    """Background of a fixed view: one ``image`` (h, w, 3), uint8."""

    image: NDArray[np.uint8]

    def at(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """One image (h, w, 3) for all frames."""
        return self.image


class CroppedBackground(NamedTuple):
    """Background of squares that follow an animal, cut out of the background of the whole frame.

    The median of such squares would show the animal.  ``size`` is the side of the crops in pixels.
    """

    video: CachedVideo
    size: int

    def at(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Background in each frame's square: uint8 (N, h, w, 3)."""
        rows = np.searchsorted(self.video.index, index)
        regions = [self.video.region(int(row)) for row in rows]
        return cut_background(scene_background(self.video.path), self.video.frame_size, regions, self.size)


Backgrounds = Mapping[int, Background]


def thumbnails(images: Tensor) -> NDArray[np.uint8]:
    """Images (B, 3, H, W), uint8 or float in [0, 1], reduced to uint8 (B, h, w, 3), at most ``THUMBNAIL_PX`` wide."""
    size = min(images.shape[-1], THUMBNAIL_PX)
    grey_levels = images.float() if images.dtype == torch.uint8 else images.float() * 255
    small = F.adaptive_avg_pool2d(grey_levels, size) if size < images.shape[-1] else grey_levels
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def sampled_backgrounds(*datasets: Any, items: int = 400) -> dict[int, Background]:
    """Background of each video by its number.

    Fixed views: learnt from ``items`` items spread evenly over the map-style datasets of
    :class:`~lightning_kp.batches.FramePairs`, so that a resting animal is no background
    (:func:`~lightning_kp.motion.background.learn_background`).  Views that follow an animal: from the video itself.
    """
    images: dict[int, list[NDArray[np.uint8]]] = {}
    backgrounds: dict[int, Background] = {}
    for dataset in datasets:
        for number, video in enumerate(getattr(dataset, "videos", ())):
            if len(video.regions) > 1:
                backgrounds[number] = CroppedBackground(video, min(video.size, THUMBNAIL_PX))
        share = max(1, items // len(datasets))
        for position in np.unique(np.linspace(0, len(dataset) - 1, share).round().astype(int)):
            pair = FramePairs(*dataset[int(position)])
            if int(pair.video) not in backgrounds:
                images.setdefault(int(pair.video), []).append(thumbnails(pair.frame.unsqueeze(0))[0])
    for number, sampled in images.items():
        if len(sampled) > 2:
            backgrounds[number] = FixedBackground(learn_background(np.stack(sampled)))
    return backgrounds
