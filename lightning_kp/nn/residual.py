"""Residual block of ResNets (He et al. 2016), for channels or for fields that turn with the image."""

import torch
from torch import Tensor, nn

from lightning_kp.nn.turning import TurningConv2d, batch_norm


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut (He et al. 2016, basic block).

    Features (B, inputs, h, w) -> (B, outputs, h / stride, w / stride). With ``turning`` the channels are fields
    (see :mod:`lightning_kp.nn.turning`) and their numbers multiples of four.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, turning: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride, turning),
            batch_norm(outputs, turning),
            nn.ReLU(inplace=True),
            convolution(outputs, outputs, 3, 1, turning),
            batch_norm(outputs, turning),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                convolution(inputs, outputs, 1, stride, turning), batch_norm(outputs, turning)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(features) + self.shortcut(features))


def convolution(inputs: int, outputs: int, kernel: int, stride: int, turning: bool) -> nn.Module:
    """Convolution of (B, inputs, h, w) that keeps the size at stride 1; with ``turning``, of fields.

    Returns features (B, outputs, h / stride, w / stride).
    """
    if not turning:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    conv = TurningConv2d(inputs, outputs, kernel, padding=kernel // 2)
    # An odd kernel with stride 2 sees the left neighbour but not the right one, so its grid does not turn.
    return conv if stride == 1 else nn.Sequential(nn.AvgPool2d(stride), conv)
