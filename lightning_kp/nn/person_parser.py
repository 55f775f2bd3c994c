"""The two networks of 000, section 3.5: part localizer and person decoder.

What the paper leaves to a supplement that the thesis does not print, and what is done here: the sum of the
64-channel maps becomes K part heatmaps through a 1x1 convolution; the residual block that halves the part
features is the basic one of encoders.py; a cell has as many channels as the part features (``hidden``); the
decoder's last block is read by a 3x3 convolution; both start from heatmaps that are almost nowhere 1.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.nn.convlstm import CellState, ConvLSTMCell
from lightning_kp.nn.encoders import ResidualBlock

RARE = -4.0  # initial logit of every pixel: a disc covers about a fiftieth of a heatmap


class PartLocalizer(nn.Module):
    """Pyramid (fine to coarse) -> features of ``width`` channels per scale, and part logits (B, K, h, w)."""

    def __init__(self, channels: Sequence[int], keypoints: int, width: int = 64) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.read = nn.Conv2d(width, keypoints, 1)
        _start_rare(self.read)

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        features = [reduce(each) for reduce, each in zip(self.reduce, pyramid, strict=True)]
        size = features[0].shape[-2:]
        total = features[0]
        for coarse in features[1:]:
            total = total + F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        return features, self.read(total)


class PersonDecoder(nn.Module):
    """Features per scale (fine to coarse) -> logits (B, K, h, w) of one instance after another.

    A block of two stacked cells per scale; the coarsest comes first, and what it shows is enlarged and goes,
    with that scale's part features (halved), into the next finer one.
    """

    def __init__(self, scales: int, width: int, hidden: int, keypoints: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.halve = nn.ModuleList(ResidualBlock(width, half, 1) for _ in range(scales))
        coarsest = scales - 1
        self.first = nn.ModuleList(
            ConvLSTMCell(0 if level == coarsest else hidden, hidden, half) for level in range(scales)
        )
        self.second = nn.ModuleList(ConvLSTMCell(hidden, hidden) for _ in range(scales))
        self.read = nn.Conv2d(hidden, keypoints, 3, padding=1)
        _start_rare(self.read)

    def start(self, features: Sequence[Tensor]) -> "Decoding":
        """Begin with the part features (B, width, h_i, w_i), fine to coarse."""
        halved = [halve(each) for halve, each in zip(self.halve, features, strict=True)]
        prepared = [_cell(cell).prepare(each) for cell, each in zip(self.first, halved, strict=True)]
        states = [
            [_cell(cell).start(each) for cell in pair]
            for pair, each in zip(zip(self.first, self.second, strict=True), halved, strict=True)
        ]
        return Decoding(self, prepared, states)


class Decoding:
    """A sequence in progress: :meth:`step` gives the next instance's logits (B, K, h, w)."""

    def __init__(self, decoder: PersonDecoder, prepared: list[Tensor], states: list[list[CellState]]) -> None:
        self.decoder = decoder
        self.prepared = prepared
        self.states = states

    def step(self) -> Tensor:
        """Let every scale go one step, the coarsest first."""
        above: Tensor | None = None
        for level in reversed(range(len(self.prepared))):
            prepared = self.prepared[level]
            if above is not None:
                size = prepared.shape[-2:]
                above = F.interpolate(above, size=size, mode="bilinear", align_corners=False)
            lower = self.decoder.first[level](above, self.states[level][0], prepared)
            upper = self.decoder.second[level](lower.hidden, self.states[level][1])
            self.states[level] = [lower, upper]
            above = upper.hidden
        logits: Tensor = self.decoder.read(above)
        return logits

    def steps(self, count: int) -> Tensor:
        """``count`` steps in a row: (B, count, K, h, w)."""
        return torch.stack([self.step() for _ in range(count)], dim=1)


def _cell(module: nn.Module) -> ConvLSTMCell:
    assert isinstance(module, ConvLSTMCell)
    return module


def _start_rare(convolution: nn.Conv2d) -> None:
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, RARE)
