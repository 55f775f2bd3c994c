"""Residual networks for 32 x 32 px images (He et al. 2016, section 4.2), such as ResNet-110 of 000, chapter 2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.nn.pooling import GlobalPooling

WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Residual network of ``depth`` = 6n + 2 layers: normalised images (B, 3, H, W) -> logits (B, C).

    One convolution of 16 channels is followed by three stages of n blocks with 16, 32 and 64 channels; the second
    and third stage halve the resolution. Global average pooling and one linear layer give the logits. Shortcuts
    have no parameters: where the channels double, they keep every second pixel and pad with zeros (option A).

    Args:
        depth: Number of layers, 6n + 2 with n >= 1.
        classes: Number of classes C.

    Raises:
        ConfigurationError: ``depth`` is not 6n + 2; the message names the nearest valid depth.
    """

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            near = 6 * max(1, round((depth - 2) / 6)) + 2
            raise ConfigurationError(
                f"A CIFAR residual network needs 6n + 2 layers, got {depth}.",
                remedy=f"Use cifar_resnet{near}.",
            )
        self.stem = nn.Sequential(
            _convolution(3, WIDTHS[0], 1), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        before = WIDTHS[0]
        for width in WIDTHS:
            strides = [1 if width == before else 2] + [1] * (blocks - 1)
            for stride in strides:
                stages.append(_Block(before, width, stride))
                before = width
        self.blocks = nn.Sequential(*stages)
        self.pool = GlobalPooling("average", flat=True)
        self.head = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, C)."""
        features = self.blocks(self.stem(image))
        logits: Tensor = self.head(self.pool(features))
        return logits


class _Block(nn.Module):
    """Basic block with a parameter-free shortcut: (B, C, h, w) -> (B, C', h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            _convolution(outputs, outputs, 1),
            nn.BatchNorm2d(outputs),
        )
        self.stride, self.added = stride, outputs - inputs

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features
        if self.stride > 1:
            shortcut = features[..., :: self.stride, :: self.stride]
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return torch.relu(self.body(features) + shortcut)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
