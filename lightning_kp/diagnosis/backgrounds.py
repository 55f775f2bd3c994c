"""The background of a video as the judgement sees it: fixed, or cut out with each square."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.batches import FramePairs
from lightning_kp.frames.cache import CachedVideo
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.following import cut_out, scene_background

THUMBNAIL_PX = 128  # enough to tell an animal from its background; 256 pairs take 25 MB


class Background(Protocol):
    """What a video shows where no animal is, as thumbnails of its squares see it."""

    def at(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """For displayed frames (N,): (N, h, w, 3), or (h, w, 3) for all."""
        ...


class FixedBackground(NamedTuple):
    """Of squares that stay in their place."""

    image: NDArray[np.uint8]

    def at(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The same for all."""
        return self.image


class CutBackground(NamedTuple):
    """Of squares that go with an animal: their median would show it, so they are cut out of the frame's."""

    video: CachedVideo
    size: int

    def at(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The background in each frame's square."""
        rows = np.searchsorted(self.video.index, index)
        regions = [self.video.region(int(row)) for row in rows]
        return cut_out(scene_background(self.video.path), self.video.frame_size, regions, self.size)


Backgrounds = Mapping[int, Background]


def thumbnails(images: Tensor) -> NDArray[np.uint8]:
    """Images (B, 3, H, W), uint8 or in [0, 1] -> uint8 (B, h, w, 3), at most ``THUMBNAIL_PX`` wide."""
    size = min(images.shape[-1], THUMBNAIL_PX)
    wide = images.float() if images.dtype == torch.uint8 else images.float() * 255
    small = F.adaptive_avg_pool2d(wide, size) if size < images.shape[-1] else wide
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def sampled_backgrounds(*datasets: Any, items: int = 400) -> dict[int, Background]:
    """The background of each video, from ``items`` items spread over map-style datasets, or from the video itself."""
    images: dict[int, list[NDArray[np.uint8]]] = {}
    found: dict[int, Background] = {}
    for dataset in datasets:
        for number, video in enumerate(getattr(dataset, "videos", ())):
            if len(video.regions) > 1:
                found[number] = CutBackground(video, min(video.size, THUMBNAIL_PX))
        share = max(1, items // len(datasets))
        for position in np.unique(np.linspace(0, len(dataset) - 1, share).round().astype(int)):
            pair = FramePairs(*dataset[int(position)])
            if int(pair.video) not in found:
                images.setdefault(int(pair.video), []).append(thumbnails(pair.frame.unsqueeze(0))[0])
    for number, seen in images.items():
        if len(seen) > 2:
            found[number] = FixedBackground(fg.median_background(np.stack(seen)))
    return found
