"""What a self-supervised task is: extra views of the images, a loss, and figures for validation."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Maps(NamedTuple):
    """What the keypoint network and the soft arg-max give for B images.

    ``logits`` (B, K, h, w) of the network; ``heatmaps`` (B, K, h, w) that sum to one; ``cleaned`` (B, K, h, w),
    Gaussians of peak 1 at the keypoints (003, 4.5.3), with a standard deviation of ``sigma_px`` pixels of the map;
    ``views`` (V, B, K, 2), the keypoints of the views that the task asked for, V = 0 where it asked for none.
    """

    logits: Tensor
    heatmaps: Tensor
    cleaned: Tensor
    sigma_px: float
    views: Tensor


class Task(nn.Module):
    """A task with a network of its own; the keypoints of an image are all that it knows, unless it says so.

    A subclass sets ``name`` (that of its loss term and of its weight), takes the number of keypoints as its first
    argument and its options by name, and writes :meth:`loss`.  It is found by its name in the entry-point group
    ``lightning_kp.tasks``.  In evaluation mode the loss also adds to the metrics behind :meth:`figures`.
    """

    name: ClassVar[str]
    least_batch: int = 1
    """Images in a batch that the task needs."""

    def extra_views(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, 3, H, W) -> (V, B, 3, H, W), views that pass through the keypoint network as well; none here."""
        return images.new_empty((0, *images.shape))

    @abstractmethod
    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss () of keypoints (B, K, 2), normalised, found in images (B, 3, H, W) in [0, 1].

        Random draws use ``generator`` (on the CPU), so that a resumed run repeats an uninterrupted one.
        """

    def figures(self) -> dict[str, Tensor]:
        """Figures () since the last :meth:`reset`, by name; logged as ``val/<task>_<name>``."""
        return {}

    def reset(self) -> None:
        """Forget what the figures were computed from."""
