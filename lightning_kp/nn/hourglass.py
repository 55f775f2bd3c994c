"""Hourglass networks: stacked (000, chapter 2), and a single small one with unpooling (003, Table 4.3).

The stacked network is that of Newell, Yang and Deng 2016, sections 3.1 to 3.4.
Bottleneck residuals with pre-activation (He et al. 2016, Identity Mappings), one before and one after every
resolution step of an hourglass. Width and depth are free; the paper uses 256 and 4. Where a side cannot be halved
evenly, the smaller map is upsampled to the size of its skip connection.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError

STRIDE = 4
PRIOR = 0.01
"""Probability that an untrained sigmoid gives every pixel (Lin et al. 2017, Focal Loss, section 3.3)."""


def check_side(side: int, depth: int, *, scale: float = 1.0) -> None:
    """Raise ConfigurationError if features, at a quarter of ``side`` (px), cannot be halved ``depth`` times.

    ``scale`` is the factor by which the image was resized to get ``side``; the message names it.
    """
    features = -(-side // STRIDE)
    if features >= 2**depth:
        return
    shown = f"{side} px" + ("" if scale == 1 else f" at the scale {scale:g}")
    raise ConfigurationError(
        f"An hourglass of depth {depth} needs features of at least {2**depth} px; images of {shown} have {features}.",
        remedy=f"Use --model.depth={max(1, features.bit_length() - 1)}, or a --data.size of "
        f"{math.ceil(STRIDE * 2**depth / scale)} or more.",
    )


def scaled_side(side: int, scale: float) -> int:
    """Side of an image (px) at another scale, rounded to whole strides.

    Otherwise the last cell of a heatmap would cover more than the image, and points would shift inwards.

    >>> scaled_side(64, 1), scaled_side(64, 0.7)
    (64, 44)
    """
    return side if scale == 1 else STRIDE * max(1, round(scale * side / STRIDE))


def averaged_heatmaps(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    scales: Sequence[float],
    mirror: Sequence[int] | None = None,
) -> Tensor:
    """Average the heatmaps of an image over several sizes and, with ``mirror``, over its mirror image.

    Args:
        network: Images (B, 3, H', W') -> heatmaps (B, K, ceil(H' / 4), ceil(W' / 4)).
        image: Images (B, 3, H, W).
        scales: Factors by which the images are resized.
        mirror: Index of the keypoint that each of the K keypoints becomes in a mirror image; None leaves the
            mirror image out.

    Returns:
        Heatmaps (B, K, ceil(H / 4), ceil(W / 4)).
    """
    size = tuple(-(-side // STRIDE) for side in image.shape[-2:])
    total: list[Tensor] = []
    for scale in scales:
        scaled = image
        if scale != 1:
            wanted = [scaled_side(side, scale) for side in image.shape[-2:]]
            scaled = F.interpolate(image, wanted, mode="bilinear")
        heatmaps = network(scaled)
        if mirror is not None:
            heatmaps = (heatmaps + network(scaled.flip(-1)).flip(-1)[:, list(mirror)]) / 2
        total.append(heatmaps if scale == 1 else F.interpolate(heatmaps, size, mode="bilinear"))
    return torch.stack(total).mean(dim=0) if len(total) > 1 else total[0]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions at half the width, with a skip: (B, channels, h, w) -> (B, width, h, w)."""

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
        """Features (B, channels, h, w) -> (B, width, h, w)."""
        return cast(Tensor, self.skip(features) + self.body(features))


class Hourglass(nn.Module):
    """Halves the features ``depth`` times and doubles them again, with a residual skip at each step.

    Features (B, width, h, w) -> (B, width, h, w).
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.beside = Bottleneck(width, width)
        self.before, self.after = Bottleneck(width, width), Bottleneck(width, width)
        self.inner: nn.Module = Hourglass(width, depth - 1) if depth > 1 else Bottleneck(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, width, h, w) -> (B, width, h, w)."""
        low = self.after(self.inner(self.before(F.max_pool2d(features, 2))))
        enlarged = F.interpolate(low, size=features.shape[-2:], mode="nearest")
        return cast(Tensor, self.beside(features) + enlarged)


class StackedHourglassNet(nn.Module):
    """Images (B, 3, H, W) -> outputs of every stack, each (B, K, ceil(H / 4), ceil(W / 4)).

    The next stack gets the features before this one, those that this one computed, and its heatmaps (3.4).

    Args:
        keypoints: Number of keypoints K.
        stacks: Number of hourglasses.
        width: Channels of the features, at least 4.
        depth: How often an hourglass halves its side.
        from_prior: Initialise the outputs as logits of :data:`PRIOR`, for losses of sigmoids (ours); otherwise
            they start at 0.

    Raises:
        ConfigurationError: A number is too small, or the images are too small for ``depth``.
    """

    def __init__(self, keypoints: int, stacks: int, width: int, depth: int, *, from_prior: bool) -> None:
        super().__init__()
        if min(keypoints, stacks, depth) < 1 or width < 4:
            raise ConfigurationError(
                "A stacked hourglass needs keypoints, stacks and depth of at least 1 and a width of at least 4; "
                f"got {keypoints} keypoint(s), stacks {stacks}, depth {depth} and width {width}.",
                remedy="Give for example --model.stacks=2 --model.depth=4 --model.width=256.",
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
            nn.init.constant_(bias, math.log(PRIOR / (1 - PRIOR)) if from_prior else 0.0)

    def forward(self, image: Tensor) -> Sequence[Tensor]:
        """Images (B, 3, H, W) -> one output (B, K, ceil(H / 4), ceil(W / 4)) per stack, first to last."""
        check_side(min(image.shape[-2:]), self.depth)
        features = self.stem(image)
        outputs = []
        for number, (hourglass, linear, head) in enumerate(
            zip(self.hourglasses, self.linear, self.heads, strict=True)
        ):
            computed = linear(hourglass(features))
            outputs.append(head(computed))
            if number < len(self.merge_features):
                merged = self.merge_features[number](computed) + self.merge_heatmaps[number](outputs[-1])
                features = features + merged
        return outputs


Unpool = Literal["indices", "nearest"]
LEAK = 0.1
"""Slope of the LeakyReLU below 0 (003, Tables 4.3 to 4.5)."""


class UnpoolingHourglass(nn.Module):
    """The hourglass of 003, Table 4.3: images (B, 3, H, W) -> logits (B, K, H, W).

    Layers are named by their numbers in the table.  4 and 4b both read layer 3, 6 and 6b layer 5; the sum of 6 and 6b
    is enlarged (7), and the sum of 8 and 4b once more (9).

    Args:
        keypoints: Number of keypoints K.
        unpool: Enlarge by the ``indices`` of the maxima (the table's UnPool), or repeat the ``nearest`` value.
    """

    def __init__(self, keypoints: int, unpool: Unpool = "indices") -> None:
        super().__init__()
        self.unpool: Unpool = unpool
        self.layers1_2 = nn.Sequential(leaky_convolution(3, 20), leaky_convolution(20, 48))
        self.layer4, self.layer4b = leaky_convolution(48, 64), leaky_convolution(48, 48)
        self.layer6, self.layer6b = leaky_convolution(64, 64), leaky_convolution(64, 64)
        self.layer8, self.layer10 = leaky_convolution(64, 48), leaky_convolution(48, 20)
        self.layer11 = nn.Conv2d(20, keypoints, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, K, H, W).  Raises ConfigurationError for a side below 4 px."""
        if min(image.shape[-2:]) < 4:
            raise ConfigurationError(
                f"This hourglass halves its images twice and needs a side of at least 4 px, got "
                f"{image.shape[-1]}x{image.shape[-2]} px.",
                remedy="Set --data.size to a larger number.",
            )
        full = self.layers1_2(image)
        half, places2 = self._halve(full)  # 3
        middle = self.layer4(half)
        quarter, places4 = self._halve(middle)  # 5
        low = self._double(self.layer6(quarter) + self.layer6b(quarter), places4, middle)  # 7
        high = self._double(self.layer8(low) + self.layer4b(half), places2, full)  # 9
        return cast(Tensor, self.layer11(self.layer10(high)))

    def _halve(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w) -> (B, C, h // 2, w // 2) and the places of the maxima."""
        return F.max_pool2d_with_indices(features, [2, 2])

    def _double(self, features: Tensor, places: Tensor, like: Tensor) -> Tensor:
        """Features (B, C, h // 2, w // 2) -> (B, C, h, w), the size of ``like``."""
        size = (like.shape[-2], like.shape[-1])
        if self.unpool == "nearest":
            return F.interpolate(features, size, mode="nearest")
        return F.max_unpool2d(features, places, [2, 2], output_size=list(size))


def leaky_convolution(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution that keeps the size, and LeakyReLU: (B, inputs, h, w) -> (B, outputs, h, w)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.LeakyReLU(LEAK, inplace=True)
    )


def _activated(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
