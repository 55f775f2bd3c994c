"""Stacked hourglass network (Newell, Yang and Deng 2016, sections 3.1 to 3.4; the network of 000, chapter 2).

Bottleneck residuals with pre-activation (He et al. 2016, Identity Mappings), one on each side of every step of
an hourglass.  Widths and depth are free; the paper's are 256 and 4.  Where a side does not halve evenly the
smaller map is enlarged to its skip's size.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError

STRIDE = 4
RARE = 0.01
"""What an untrained sigmoid says of every pixel (Lin et al. 2017, Focal Loss, section 3.3)."""


def check_side(side: int, depth: int, *, scale: float = 1.0) -> None:
    """Refuse images whose features, at a quarter of their ``side`` (px), cannot be halved ``depth`` times."""
    features = -(-side // STRIDE)
    if features >= 2**depth:
        return
    shown = f"{side} px" + ("" if scale == 1 else f" at the scale {scale:g}")
    raise ConfigurationError(
        f"{depth} halvings need features of {2**depth} px; images of {shown} have {features}.",
        remedy=f"--model.depth={max(1, features.bit_length() - 1)}, or a --data.size of "
        f"{math.ceil(STRIDE * 2**depth / scale)} or more.",
    )


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions at half the width beside a skip: (B, C, h, w) -> (B, C', h, w)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.body = nn.Sequential(
            *_activated(channels), nn.Conv2d(channels, half, 1),
            *_activated(half), nn.Conv2d(half, half, 3, padding=1),
            *_activated(half), nn.Conv2d(half, width, 1),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return cast(Tensor, self.skip(features) + self.body(features))


class Hourglass(nn.Module):
    """Down by two ``depth`` times and up again, with a residual beside each step: (B, C, h, w) as it came."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.beside = Bottleneck(width, width)
        self.before, self.after = Bottleneck(width, width), Bottleneck(width, width)
        self.inner: nn.Module = Hourglass(width, depth - 1) if depth > 1 else Bottleneck(width, width)

    def forward(self, features: Tensor) -> Tensor:
        low = self.after(self.inner(self.before(F.max_pool2d(features, 2))))
        enlarged = F.interpolate(low, size=features.shape[-2:], mode="nearest")
        return cast(Tensor, self.beside(features) + enlarged)


class StackedHourglassNet(nn.Module):
    """Images (B, 3, H, W) -> outputs of every stack, each (B, K, ceil(H / 4), ceil(W / 4)).

    Each stack reads the features before it, what it computed from them, and its own heatmaps (3.4).  ``rare``
    starts the outputs as logits of :data:`RARE`, for losses of sigmoids (ours).
    """

    def __init__(self, keypoints: int, stacks: int, width: int, depth: int, *, rare: bool) -> None:
        super().__init__()
        if min(keypoints, stacks, depth) < 1 or width < 4:
            raise ConfigurationError(
                f"{stacks} stack(s) of {depth} step(s) and {width} channels for {keypoints} keypoint(s).",
                remedy="Give at least 1 of each, and 4 channels.",
            )
        self.depth = depth
        quarter, half = max(1, width // 4), max(1, width // 2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3), *_activated(quarter), Bottleneck(quarter, half),
            nn.MaxPool2d(2, ceil_mode=True), Bottleneck(half, half), Bottleneck(half, width),
        )  # fmt: skip
        self.hourglasses = nn.ModuleList(Hourglass(width, depth) for _ in range(stacks))
        self.linear = nn.ModuleList(
            nn.Sequential(Bottleneck(width, width), nn.Conv2d(width, width, 1), *_activated(width))
            for _ in range(stacks)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, keypoints, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.merge_heatmaps = nn.ModuleList(nn.Conv2d(keypoints, width, 1) for _ in range(stacks - 1))
        for head in self.heads:
            bias = cast(Tensor, head.bias)
            nn.init.constant_(bias, math.log(RARE / (1 - RARE)) if rare else 0.0)

    def forward(self, image: Tensor) -> Sequence[Tensor]:
        check_side(min(image.shape[-2:]), self.depth)
        features = self.stem(image)
        outputs = []
        for number, (hourglass, linear, head) in enumerate(
            zip(self.hourglasses, self.linear, self.heads, strict=True)
        ):
            read = linear(hourglass(features))
            outputs.append(head(read))
            if number < len(self.merge_features):
                features = (
                    features + self.merge_features[number](read) + self.merge_heatmaps[number](outputs[-1])
                )
        return outputs


def _activated(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
