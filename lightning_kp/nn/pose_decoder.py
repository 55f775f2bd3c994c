"""GlobalNet, the pose decoder of 000 (4.4, 4.8 Table 4.3), after the Cascaded Pyramid Network.

Deviations: upsampling keeps the pixel grid (``align_corners=False``) so that heatmaps lie where the
image says; the reference code stretches it (``align_corners=True``, an option).  000 says both that
the heatmaps of all resolutions are summed (4.4) and that the last predict block alone gives the
heatmap (4.8); the latter is the default and what the reference code does, ``fuse='sum'`` the former.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.nn.turning import TURNS, TurningConv2d, batch_norm, over_turns

Fuse = Literal["finest", "sum"]


class GlobalNet(nn.Module):
    """Pyramid features, fine to coarse -> logits (B, K, h, w) at the finest stride.

    ``width`` is the number of channels of every lateral; ``sharpness`` the initial scale of the last
    batch normalisation, which acts as the inverse temperature of the spatial softmax.  From scratch a
    softmax over unit-variance logits is nearly flat and every point starts at the centre: small
    presets use 5.  ``turning`` reads fields and makes heatmaps that turn with the image (nn.turning).
    """

    def __init__(
        self,
        channels: Sequence[int],
        keypoints: int,
        width: int = 256,
        sharpness: float = 1.0,
        fuse: Fuse = "finest",
        align_corners: bool = False,
        turning: bool = False,
    ) -> None:
        super().__init__()
        self.fuse: Fuse = fuse
        self.align_corners = align_corners
        deep_first = list(reversed(channels))
        self.laterals = nn.ModuleList(_conv1x1(c, width, relu=True, turning=turning) for c in deep_first)
        self.upsamples = nn.ModuleList(
            _conv1x1(width, width, relu=False, turning=turning) for _ in deep_first[1:]
        )
        # Only heads that a loss reads exist: a head without gradient would make plain DDP stop.
        used = range(len(deep_first)) if fuse == "sum" else [len(deep_first) - 1]
        self.heads = nn.ModuleDict(
            {str(level): _Head(width, keypoints, sharpness, turning) for level in used}
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        size = pyramid[0].shape[-2:]
        merged: Tensor | None = None
        logits: Tensor | None = None
        for level, features in enumerate(reversed(pyramid)):
            lateral = self.laterals[level](features)
            if merged is not None:
                # The 1x1 convolution before the upsampling: the same numbers (both are linear, and bilinear
                # weights sum to one) from a quarter of the products.  The statistics are taken after it.
                convolve, normalise = cast(nn.Sequential, self.upsamples[level - 1])
                larger = F.interpolate(
                    convolve(merged),
                    size=lateral.shape[-2:],
                    mode="bilinear",
                    align_corners=self.align_corners,
                )
                lateral = lateral + normalise(larger)
            merged = lateral
            if str(level) in self.heads:
                head = self.heads[str(level)](merged, size, self.align_corners)
                logits = head if logits is None else logits + head
        assert logits is not None  # the finest level always has a head
        return logits


class _Head(nn.Module):
    """Predict block: 1x1 and 3x3 convolution, upsampling, batch normalisation."""

    def __init__(self, width: int, keypoints: int, sharpness: float, turning: bool) -> None:
        super().__init__()
        self.turning = turning
        self.reduce = _conv1x1(width, width, relu=True, turning=turning)
        self.predict: nn.Module = (
            TurningConv2d(width, TURNS * keypoints, 3, padding=1)
            if turning
            else nn.Conv2d(width, keypoints, 3, padding=1, bias=False)
        )
        self.scale = nn.BatchNorm2d(keypoints)
        nn.init.constant_(self.scale.weight, sharpness)

    def forward(self, features: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
        logits = self.predict(self.reduce(features))
        if self.turning:
            logits = over_turns(logits)
        if logits.shape[-2:] != tuple(size):
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)
        return self.scale(logits)  # type: ignore[no-any-return]


def _conv1x1(inputs: int, outputs: int, *, relu: bool, turning: bool) -> nn.Sequential:
    convolve = TurningConv2d(inputs, outputs, 1) if turning else nn.Conv2d(inputs, outputs, 1, bias=False)
    layers: list[nn.Module] = [convolve, batch_norm(outputs, turning)]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
