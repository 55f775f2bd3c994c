"""Layers that turn with the image: convolutions over the group of quarter turns (Cohen & Welling 2016, p4).

A feature of such a network is a *field*: four channels, one per quarter turn of the same learnt filter. When the
image turns, the maps turn and the four channels of each field are permuted. A head that takes the mean of the
four is exactly equivariant to quarter turns, whatever its weights. Eq. 5.2 of 000 then holds by construction, and
a keypoint cannot stand for "the upper end in the image". Channels are ordered field by field: channel ``4 f + r``
is turn ``r`` of field ``f``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError

TURNS = 4


def fields(channels: int) -> int:
    """Number of fields in ``channels`` channels; raises ConfigurationError unless it is a multiple of 4.

    >>> fields(12)
    3
    """
    if channels < TURNS or channels % TURNS:
        raise ConfigurationError(
            f"A network that turns with the image needs a multiple of 4 channels, got {channels}.",
            remedy=f"Use {max(TURNS, round(channels / TURNS) * TURNS)}.",
        )
    return channels // TURNS


class TurningConv2d(nn.Module):
    """Convolution from fields to fields or, with ``lift``, from the channels of an image to fields.

    Features (B, inputs, H, W) -> (B, outputs, H', W'). ``inputs`` and ``outputs`` count channels and are multiples
    of 4, except ``inputs`` with ``lift``. The layer costs as much as nn.Conv2d with as many channels and has a
    quarter of its parameters. With ``stride`` 2 the kernel and the image sides have to be even; otherwise the
    output grid would not turn onto itself.

    Raises:
        ConfigurationError: A number of channels is not a multiple of 4.

    When the image turns, the maps turn and the channels of each field move on by one:

    >>> convolve = TurningConv2d(1, 4, 3, padding=1, lift=True)
    >>> image = torch.rand(1, 1, 6, 6)
    >>> turned = torch.rot90(convolve(image), dims=(-2, -1)).roll(1, dims=1)
    >>> torch.allclose(convolve(torch.rot90(image, dims=(-2, -1))), turned, atol=1e-6)
    True
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, *, lift: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.lift = stride, padding, lift
        if not lift:
            fields(inputs)
        self.weight = nn.Parameter(torch.empty(fields(outputs), inputs, kernel, kernel))
        # Like nn.Conv2d: uniform, with variance 1 / (3 fan-in).
        bound = 1 / math.sqrt(inputs * kernel**2)
        nn.init.uniform_(self.weight, -bound, bound)

    def kernels(self) -> Tensor:
        """Weights (outputs, inputs, k, k) of the equivalent plain convolution."""
        by_turn = self.weight.unflatten(1, (-1, 1 if self.lift else TURNS))
        turned = [torch.rot90(by_turn.roll(r, dims=2), r, dims=(-2, -1)) for r in range(TURNS)]
        return torch.stack(turned, dim=1).flatten(2, 3).flatten(0, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, inputs, H, W) -> fields (B, outputs, H', W')."""
        return F.conv2d(features, self.kernels(), None, self.stride, self.padding)


class TurningBatchNorm2d(nn.BatchNorm3d):
    """Batch normalisation of fields (B, 4 F, H, W), with one mean, variance, scale and shift per field."""

    def __init__(self, channels: int) -> None:
        super().__init__(fields(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Fields (B, 4 F, H, W) -> normalised fields (B, 4 F, H, W)."""
        normalised: Tensor = super().forward(features.unflatten(1, (-1, TURNS)))
        return normalised.flatten(1, 2)


def batch_norm(channels: int, turning: bool) -> nn.Module:
    """Batch normalisation for (B, channels, H, W): per channel or, with ``turning``, per field."""
    return TurningBatchNorm2d(channels) if turning else nn.BatchNorm2d(channels)


def mean_over_turns(features: Tensor) -> Tensor:
    """Fields (B, 4 F, H, W) -> mean over the four turns (B, F, H, W), which turns with the image.

    >>> mean_over_turns(torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 4, 1, 1)).item()
    3.0
    """
    mean: Tensor = features.unflatten(1, (-1, TURNS)).mean(dim=2)
    return mean
