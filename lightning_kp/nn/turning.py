"""Layers that turn with the image: convolutions over the group of quarter turns (Cohen & Welling 2016, p4).

A feature of such a network is a *field*: four channels, one per quarter turn of the same learnt filter.
When the image turns, the maps turn and the four channels of each field change places.  A head that
takes the mean of the four is then equivariant to quarter turns exactly, whatever its weights: eq. 5.2
of 000 holds by construction, and a keypoint cannot stand for "the upper end in the image".
Channels are ordered field by field: channel ``4 f + r`` is turn ``r`` of field ``f``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError

TURNS = 4


def fields(channels: int) -> int:
    """Number of fields that ``channels`` channels hold.  Raises ConfigurationError unless four divide them."""
    if channels < TURNS or channels % TURNS:
        raise ConfigurationError(
            f"A network that turns with the image needs channels in fours, got {channels}.",
            remedy=f"Use {max(TURNS, round(channels / TURNS) * TURNS)}.",
        )
    return channels // TURNS


class TurningConv2d(nn.Module):
    """Convolution from fields to fields, or, with ``lift``, from the channels of an image to fields.

    Input (B, inputs, H, W), output (B, outputs, H', W'); ``outputs``, and ``inputs`` unless lifting, count
    channels and are multiples of four.  As much arithmetic as nn.Conv2d of the same channels, with a
    fourth of its parameters.  With ``stride`` 2 the kernel has to be even and the image's sides as well,
    or the grid of the output would not turn onto itself.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, *, lift: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.lift = stride, padding, lift
        if not lift:
            fields(inputs)
        self.weight = nn.Parameter(torch.empty(fields(outputs), inputs, kernel, kernel))
        # As nn.Conv2d does: uniform, with variance 1 / (3 fan-in).
        bound = 1 / math.sqrt(inputs * kernel**2)
        nn.init.uniform_(self.weight, -bound, bound)

    def kernels(self) -> Tensor:
        """The weights (outputs, inputs, k, k) of the plain convolution that this is."""
        by_turn = self.weight.unflatten(1, (-1, 1 if self.lift else TURNS))
        turned = [torch.rot90(by_turn.roll(r, dims=2), r, dims=(-2, -1)) for r in range(TURNS)]
        return torch.stack(turned, dim=1).flatten(2, 3).flatten(0, 1)

    def forward(self, features: Tensor) -> Tensor:
        return F.conv2d(features, self.kernels(), None, self.stride, self.padding)


class TurningBatchNorm2d(nn.BatchNorm3d):
    """Batch normalisation with one mean, variance, scale and shift per field."""

    def __init__(self, channels: int) -> None:
        super().__init__(fields(channels))

    def forward(self, features: Tensor) -> Tensor:
        normalised: Tensor = super().forward(features.unflatten(1, (-1, TURNS)))
        return normalised.flatten(1, 2)


def batch_norm(channels: int, turning: bool) -> nn.Module:
    """Batch normalisation of channels, or, with ``turning``, of fields."""
    return TurningBatchNorm2d(channels) if turning else nn.BatchNorm2d(channels)


def over_turns(features: Tensor) -> Tensor:
    """Fields (B, 4 F, H, W) -> their mean over the turns (B, F, H, W), which turns with the image."""
    mean: Tensor = features.unflatten(1, (-1, TURNS)).mean(dim=2)
    return mean
