"""Reconstruction of the image from its keypoints: 003, 4.5.5.1, Tables 4.4 to 4.6."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_kp.nn.hourglass import leaky_convolution
from lightning_kp.tasks.descriptors import Descriptors
from lightning_kp.tasks.task import Maps, Task


def high_branch(channels: int) -> nn.Sequential:
    """Table 4.4: maps (B, channels, H, W) -> (B, 3, H, W), the detail near the keypoints."""
    widths = (channels, 20, 48, 64, 32)
    return nn.Sequential(
        *(leaky_convolution(*pair) for pair in pairwise(widths)), nn.Conv2d(32, 3, 3, padding=1)
    )


def low_branch(channels: int) -> nn.Sequential:
    """Table 4.5: maps (B, channels, H, W) -> (B, 3, H // 2, W // 2), the colours of wide areas."""
    widths = (channels, 5, 10, 12, 12, 12)
    return nn.Sequential(
        *(leaky_convolution(*pair, kernel=5) for pair in pairwise(widths)), nn.MaxPool2d(2),
        leaky_convolution(12, 5, kernel=5), nn.Conv2d(5, 3, 5, padding=2),
    )  # fmt: skip


class Reconstruction(Task):
    """Rebuilds the image from cleaned heatmaps (B, K, H, W), with descriptors from textured ones.

    The low branch is enlarged by 2 and added to the high one; a sigmoid gives the image.  The loss is the squared
    error, averaged over channels and pixels of an image and summed over the batch, as in Table 4.11 (64 times Table
    4.10, the paper's batch).  Figure: ``error``, its mean over images (Table 4.10).

    Args:
        keypoints: Number of keypoints K.
        descriptors: Add local descriptors, for photographs (Table 4.6); figures and digits do without.
        patch: Side of a crop in pixels (ours: 9).
        values: Size of a descriptor (ours: 8).
        whole: With descriptors, add one of the whole image (4.4.2.1).
    """

    name = "reconstruction"

    def __init__(
        self, keypoints: int, descriptors: bool = False, patch: int = 9, values: int = 8, whole: bool = False
    ) -> None:
        super().__init__()
        self.descriptors = Descriptors(patch, values, whole) if descriptors else None
        channels = keypoints + int(descriptors and whole)
        self.high, self.low = high_branch(channels), low_branch(channels)
        self.error = MeanMetric()

    def rebuild(self, keypoints: Tensor, maps: Maps, images: Tensor) -> Tensor:
        """Keypoints (B, K, 2), and images (B, 3, H, W) for their descriptors -> rebuilt images (B, 3, H, W)."""
        drawn = maps.cleaned if self.descriptors is None else self.descriptors(images, keypoints)
        high = self.high(drawn)
        low = F.interpolate(self.low(drawn), high.shape[-2:], mode="bilinear")
        return torch.sigmoid(high + low)

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss () of keypoints (B, K, 2) that were found in images (B, 3, H, W)."""
        errors = (self.rebuild(keypoints, maps, images) - images).square().mean(dim=(1, 2, 3))
        if not self.training:
            self.error.update(errors.detach())
        return errors.sum()

    def figures(self) -> dict[str, Tensor]:
        """``error``: mean squared error of an image."""
        return {"error": self.error.compute()}

    def reset(self) -> None:
        """Start the mean anew."""
        self.error.reset()
