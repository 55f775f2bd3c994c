"""Residual networks for images of 32 pixels (He et al. 2016, section 4.2), such as ResNet-110 of 000, chapter 2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError

WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Images (B, 3, H, W), normalised -> logits (B, C), by ``depth`` = 6n + 2 layers.

    A convolution of 16 channels, three stages of n blocks with 16, 32 and 64 channels, the latter two at half
    the resolution of the one before; mean over the image; one linear layer.  Shortcuts have no parameters:
    where the channels double, they take every second pixel and fill up with zeros (option A).
    """

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            near = 6 * max(1, round((depth - 2) / 6)) + 2
            raise ConfigurationError(
                f"A residual network for CIFAR has 6n + 2 layers; {depth} were asked for.",
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
        self.head = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        features = self.blocks(self.stem(image))
        logits: Tensor = self.head(features.mean(dim=(-2, -1)))
        return logits


class _Block(nn.Module):
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
