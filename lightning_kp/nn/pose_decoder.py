"""GlobalNet, the pose decoder of 000 (4.4, 4.8 Table 4.3), after the Cascaded Pyramid Network.

Deviations: upsampling keeps the pixel grid (``align_corners=False``), so that heatmaps stay aligned with the
image. The reference code stretches the grid (``align_corners=True``, an option here). 000 states both that the
heatmaps of all resolutions are summed (4.4) and that the last predict block alone gives the heatmap (4.8). The
second is the default and what the reference code does; ``fuse='sum'`` is the first.
"""

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.nn.turning import TURNS, TurningConv2d, batch_norm, mean_over_turns

Fuse = Literal["finest", "sum"]


class GlobalNet(nn.Module):
    """Feature maps (B, channels[i], h_i, w_i), fine to coarse -> logits (B, K, h_0, w_0) at the finest stride.

    With ``doubled`` the logits are (B, K, 2 h_0, 2 w_0).

    Args:
        channels: Channels of the feature maps, fine to coarse.
        keypoints: Number of keypoints K.
        width: Channels of every lateral.
        sharpness: Initial scale of the last batch normalisation, which acts as the inverse temperature of the
            spatial softmax. When training from scratch, a softmax over unit-variance logits is nearly flat and
            every point starts at the centre; small presets use 5.
        fuse: ``finest`` head alone, or the ``sum`` of the heads of all resolutions.
        align_corners: Upsample as the reference code does.
        turning: The features are fields, and the heatmaps turn with the image (see
            :mod:`lightning_kp.nn.turning`).
        doubled: Upsample the finest level once more, as Table 4.3 does: heatmaps of half the image side
            from ResNet-50.

    Raises:
        ConfigurationError: There is no such ``fuse``.
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
        doubled: bool = False,
    ) -> None:
        super().__init__()
        if fuse not in get_args(Fuse):
            raise ConfigurationError(
                f"fuse must be {' or '.join(get_args(Fuse))}, got {fuse!r}.",
                remedy="Use --model.fuse=finest.",
            )
        self.fuse: Fuse = fuse
        self.align_corners = align_corners
        deep_first = list(reversed(channels))
        self.laterals = nn.ModuleList(_conv1x1(c, width, relu=True, turning=turning) for c in deep_first)
        self.upsamples = nn.ModuleList(
            _conv1x1(width, width, relu=False, turning=turning) for _ in deep_first[1:]
        )
        self.last_upsample = _conv1x1(width, width, relu=False, turning=turning) if doubled else None
        # Only heads that contribute to a loss exist: plain DDP would stop at a head without gradient.
        used = range(len(deep_first)) if fuse == "sum" else [len(deep_first) - 1]
        self.heads = nn.ModuleDict(
            {str(level): _Head(width, keypoints, sharpness, turning) for level in used}
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, channels[i], h_i, w_i), fine to coarse -> logits (B, K, h_0, w_0), or doubled."""
        size = pyramid[0].shape[-2:]
        if self.last_upsample is not None:
            size = torch.Size(2 * side for side in size)
        merged: Tensor | None = None
        logits: Tensor | None = None
        for level, features in enumerate(reversed(pyramid)):
            lateral = self.laterals[level](features)
            if merged is not None:
                lateral = lateral + self._upsampled(self.upsamples[level - 1], merged, lateral.shape[-2:])
            merged = lateral
            if str(level) in self.heads:
                last = self.last_upsample if level == len(pyramid) - 1 else None
                features = merged if last is None else self._upsampled(last, merged, size)
                head = self.heads[str(level)](features, size, self.align_corners)
                logits = head if logits is None else logits + head
        assert logits is not None  # the finest level always has a head
        return logits

    def _upsampled(self, block: nn.Module, features: Tensor, size: Sequence[int]) -> Tensor:
        """Features (B, width, h, w) -> (B, width, *size) by an upsample block: 1x1 convolution and normalisation."""
        # The 1x1 convolution comes before the upsampling: the result is the same (both are linear, and bilinear
        # weights sum to one) at a quarter of the cost. Batch statistics are taken afterwards.
        convolve, normalise = cast(nn.Sequential, block)
        larger = F.interpolate(
            convolve(features), size=size, mode="bilinear", align_corners=self.align_corners
        )
        return normalise(larger)  # type: ignore[no-any-return]


class _Head(nn.Module):
    """Predict block: 1x1 and 3x3 convolution, upsampling to ``size`` (h, w), batch normalisation."""

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
            logits = mean_over_turns(logits)
        if logits.shape[-2:] != tuple(size):
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)
        return self.scale(logits)  # type: ignore[no-any-return]


def _conv1x1(inputs: int, outputs: int, *, relu: bool, turning: bool) -> nn.Sequential:
    convolve = TurningConv2d(inputs, outputs, 1) if turning else nn.Conv2d(inputs, outputs, 1, bias=False)
    layers: list[nn.Module] = [convolve, batch_norm(outputs, turning)]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
