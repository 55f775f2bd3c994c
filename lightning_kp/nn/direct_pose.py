"""The network of DirectPose: a feature pyramid and three towers (Tian et al. 2019a, 2019b; 001, section 3.2).

001 gives all branches one size of output and refers to Tian et al. for the rest.  So one level of the pyramid
is read: the laterals of all coarser ones are added to it (Lin et al. 2017).  Each branch has a tower of 3x3
convolutions with group normalisation.  The alignment module predicts where each keypoint lies roughly, reads
the features there by a deformable convolution of one tap with a group of channels and an offset for each
keypoint, and adds a fine correction.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from lightning_kp.geometry import full_precision, pixel_centres, widened

RARE = 0.01
"""What B1 and B2 say of every cell before training (Lin et al. 2017, Focal Loss, section 3.3)."""


class Branches(NamedTuple):
    """Logits of B1 and B2 (B, K, h, w), and B3's vectors (B, K, 2, h, w), normalised, from the cell to the keypoint."""

    keypoints: Tensor
    boxes: Tensor
    vectors: Tensor

    @property
    def points(self) -> Tensor:
        """Where the vectors point, (B, K, 2, h, w) normalised: D + M of 001, eq. 8."""
        height, width = self.vectors.shape[-2:]
        x, y = pixel_centres(width, like=self.vectors), pixel_centres(height, like=self.vectors)
        grid = torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width)))
        return self.vectors + grid


class PyramidLevel(nn.Module):
    """A pyramid (fine to coarse) -> features (B, width, h, w) at the stride of its first map."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        merged: Tensor | None = None
        for lateral, features in reversed(list(zip(self.laterals, pyramid, strict=True))):
            here = lateral(features)
            if merged is not None:
                here = here + F.interpolate(merged, size=here.shape[-2:], mode="nearest")
            merged = here
        smoothed: Tensor = self.smooth(merged)
        return smoothed


class KeypointAlignment(nn.Module):
    """B3's two steps: features (B, width, h, w) -> vectors (B, K, 2, h, w), normalised.

    ``reach`` is the length, normalised, that an output of 1 means; ``each`` the channels read per keypoint.
    """

    def __init__(self, width: int, keypoints: int, each: int, reach: float) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.reach = reach
        self.coarse = nn.Conv2d(width, 2 * keypoints, 3, padding=1)
        self.reduce = nn.Conv2d(width, each * keypoints, 1)
        self.aligned = nn.Parameter(torch.empty(each * keypoints, each, 1, 1))
        nn.init.kaiming_uniform_(self.aligned, a=math.sqrt(5))
        self.fine = nn.Conv2d(each * keypoints, 2 * keypoints, 1, groups=keypoints)
        for last in (self.coarse, self.fine):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]  # both have one

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        coarse = widened(self.coarse(features)).unflatten(1, (self.keypoints, 2))
        # In cells, y before x, as the deformable convolution has it.
        in_cells = coarse.flip(2) * coarse.new_tensor((height, width)).view(2, 1, 1) * (self.reach / 2)
        reduced = widened(self.reduce(features))
        with full_precision(features):  # a deformable convolution has no 16 bits on a CPU
            # Laid out plainly: torchvision 0.26 cannot write the gradient of a channels-last kernel of one tap.
            taps = self.aligned.flatten(1)[..., None, None]
            read = deform_conv2d(reduced, in_cells.flatten(1, 2), taps)
        fine = self.fine(torch.relu(read)).unflatten(1, (self.keypoints, 2))
        vectors: Tensor = self.reach * (coarse + fine)
        return vectors


class DirectPoseNet(nn.Module):
    """A pyramid of features -> the three branches.

    Args:
        channels: Of the pyramid's maps that are read, fine to coarse.
        keypoints: K.
        width: Channels of the towers (Tian et al.: 256).
        convolutions: In each tower (Tian et al.: 4).
        each: Channels that the alignment reads per keypoint (ours).
        reach: Length, normalised, of a vector (1, 0) of the last layer (ours; about half an animal).
    """

    def __init__(
        self, channels: Sequence[int], keypoints: int, width: int, convolutions: int, each: int, reach: float
    ) -> None:
        super().__init__()
        self.level = PyramidLevel(channels, width)
        self.towers = nn.ModuleList(_tower(width, convolutions) for _ in range(3))
        self.keypoints = nn.Conv2d(width, keypoints, 3, padding=1)
        self.boxes = nn.Conv2d(width, keypoints, 3, padding=1)
        self.alignment = KeypointAlignment(width, keypoints, each, reach)
        for last in (self.keypoints, self.boxes):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, -math.log((1 - RARE) / RARE))  # type: ignore[arg-type]  # it has one

    def forward(self, pyramid: Sequence[Tensor]) -> Branches:
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
