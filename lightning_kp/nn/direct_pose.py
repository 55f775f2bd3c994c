"""Network of DirectPose: a feature pyramid and three towers (Tian et al. 2019a, 2019b; 001, section 3.2).

001 uses one output size for all branches and refers to Tian et al. for the rest. Hence one level of the pyramid
is used, to which the laterals of all coarser levels are added (Lin et al. 2017). Each branch has a tower of 3x3
convolutions with group normalisation. The alignment module predicts a coarse location of each keypoint, samples
the features there and adds a fine correction. It samples by a deformable convolution with one tap, and with one
group of channels and one offset per keypoint.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import at_least_float32, full_precision, pixel_centres

PRIOR = 0.01
"""Probability that B1 and B2 give every cell before training (Lin et al. 2017, Focal Loss, section 3.3)."""


class Branches(NamedTuple):
    """Outputs of the three branches.

    ``keypoints`` (B1) and ``boxes`` (B2) are logits (B, K, h, w). ``vectors`` (B3) (B, K, 2, h, w) point from the
    centre of each cell to the keypoint, as (x, y) in normalised units.
    """

    keypoints: Tensor
    boxes: Tensor
    vectors: Tensor

    @property
    def points(self) -> Tensor:
        """Points at which the vectors end, (B, K, 2, h, w), normalised (x, y): D + M of 001, eq. 8."""
        height, width = self.vectors.shape[-2:]
        x, y = pixel_centres(width, like=self.vectors), pixel_centres(height, like=self.vectors)
        grid = torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width)))
        return self.vectors + grid


def levels_below(stride: int, strides: tuple[int, ...], encoder: str) -> int:
    """Number of an encoder's feature maps that are finer than ``stride``.

    Raises ConfigurationError if no map has this stride; ``encoder`` is the name shown in the error.

    >>> levels_below(8, (4, 8, 16, 32), "resnet50")
    1
    """
    if stride not in strides:
        raise ConfigurationError(
            f"The encoder '{encoder}' has strides {', '.join(map(str, strides))}, not {stride}.",
            remedy=f"Use for example --model.stride={strides[0]}.",
        )
    return strides.index(stride)


class PyramidLevel(nn.Module):
    """Merges a pyramid into its finest level.

    Feature maps (B, channels[i], h_i, w_i), fine to coarse -> features (B, width, h, w) at the finest stride.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, channels[i], h_i, w_i), fine to coarse -> features (B, width, h_0, w_0)."""
        merged: Tensor | None = None
        for lateral, features in reversed(list(zip(self.laterals, pyramid, strict=True))):
            level = lateral(features)
            if merged is not None:
                level = level + F.interpolate(merged, size=level.shape[-2:], mode="nearest")
            merged = level
        smoothed: Tensor = self.smooth(merged)
        return smoothed


class KeypointAlignment(nn.Module):
    """The two steps of B3: features (B, width, h, w) -> vectors (B, K, 2, h, w), normalised (x, y).

    Args:
        width: Channels of the features.
        keypoints: Number of keypoints K.
        per_keypoint: Channels sampled for each keypoint.
        reach: Length, in normalised units, of an output of 1.
    """

    def __init__(self, width: int, keypoints: int, per_keypoint: int, reach: float) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.reach = reach
        self.coarse = nn.Conv2d(width, 2 * keypoints, 3, padding=1)
        self.reduce = nn.Conv2d(width, per_keypoint * keypoints, 1)
        self.aligned = nn.Parameter(torch.empty(per_keypoint * keypoints, per_keypoint, 1, 1))
        nn.init.kaiming_uniform_(self.aligned, a=math.sqrt(5))
        self.fine = nn.Conv2d(per_keypoint * keypoints, 2 * keypoints, 1, groups=keypoints)
        for last in (self.coarse, self.fine):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # both have one

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, width, h, w) -> vectors (B, K, 2, h, w), normalised (x, y)."""
        height, width = features.shape[-2:]
        coarse = at_least_float32(self.coarse(features)).unflatten(1, (self.keypoints, 2))
        # The deformable convolution expects offsets in cells, y before x.
        in_cells = coarse.flip(2) * coarse.new_tensor((height, width)).view(2, 1, 1) * (self.reach / 2)
        reduced = at_least_float32(self.reduce(features))
        with full_precision(features):  # CPUs have no 16-bit deformable convolution
            # Contiguous: torchvision 0.26 fails on the gradient of a channels-last kernel with one tap.
            taps = self.aligned.flatten(1)[..., None, None]
            sampled = deform_conv2d(reduced, in_cells.flatten(1, 2), taps)
        fine = self.fine(torch.relu(sampled)).unflatten(1, (self.keypoints, 2))
        vectors: Tensor = self.reach * (coarse + fine)
        return vectors


class DirectPoseNet(nn.Module):
    """Feature maps (B, channels[i], h_i, w_i), fine to coarse -> the three branches at the finest stride.

    Args:
        channels: Channels of the feature maps used, fine to coarse.
        keypoints: Number of keypoints K.
        width: Channels of the towers (Tian et al.: 256).
        convolutions: Convolutions in each tower (Tian et al.: 4).
        per_keypoint: Channels that the alignment samples for each keypoint (ours).
        reach: Length, in normalised units, of an output of 1 of the last layer (ours; about half an animal).
    """

    def __init__(
        self,
        channels: Sequence[int],
        keypoints: int,
        width: int,
        convolutions: int,
        per_keypoint: int,
        reach: float,
    ) -> None:
        super().__init__()
        self.level = PyramidLevel(channels, width)
        self.towers = nn.ModuleList(_tower(width, convolutions) for _ in range(3))
        self.keypoints = nn.Conv2d(width, keypoints, 3, padding=1)
        self.boxes = nn.Conv2d(width, keypoints, 3, padding=1)
        self.alignment = KeypointAlignment(width, keypoints, per_keypoint, reach)
        for last in (self.keypoints, self.boxes):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]  # it has one

    def forward(self, pyramid: Sequence[Tensor]) -> Branches:
        """Feature maps (B, channels[i], h_i, w_i), fine to coarse -> branches (B, K, ..., h_0, w_0)."""
        features = self.level(pyramid)
        for_keypoints, for_boxes, for_vectors = (tower(features) for tower in self.towers)
        return Branches(
            self.keypoints(for_keypoints), self.boxes(for_boxes), self.alignment(for_vectors)
        )  # fmt: skip


def _tower(width: int, convolutions: int) -> nn.Sequential:
    groups = next(
        each for each in (32, 16, 8, 4, 2, 1) if (width % each == 0 and width // each >= 4) or each == 1
    )
    widths = (width,) * (convolutions + 1)
    layers = [
        layer
        for narrow, wide in pairwise(widths)
        for layer in (
            nn.Conv2d(narrow, wide, 3, padding=1, bias=False),
            nn.GroupNorm(groups, wide),
            nn.ReLU(inplace=True),
        )
    ]
    return nn.Sequential(*layers)
