"""The two networks of 000, section 3.5: part localizer and person decoder.

The paper leaves some details to a supplement that the thesis does not print. Here:

- a 1x1 convolution turns the sum of the 64-channel maps into K part heatmaps;
- the residual block that halves the channels of the part features is the basic block of nn/residual.py;
- a cell has as many channels as the part features (``hidden``);
- a 3x3 convolution computes the logits from the decoder's last block;
- both outputs start from heatmaps that are close to 0 almost everywhere.

The decoder's recurrent cell, whose state is a stack of feature maps, is that of Shi et al., "Convolutional LSTM
Network", 2015, without peephole connections from the cell to the gates.  This follows Romera-Paredes and Torr (2016),
on whom 000 (3.5) builds.  Kernels are 3x3 (000, 3.5).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.nn.residual import ResidualBlock

INITIAL_LOGIT = -4.0  # of every pixel: a disc covers about a fiftieth of a heatmap
KERNEL = 3


class CellState(NamedTuple):
    """State of a cell: hidden state and cell state, ``hidden`` and ``cell``, each (B, hidden, h, w)."""

    hidden: Tensor
    cell: Tensor


class ConvLSTMCell(nn.Module):
    """One recurrent step: input (B, inputs, h, w) and state -> next state.

    The forget gate starts open (bias 1).

    Args:
        inputs: Channels of the input; with 0 the state and the constant channels alone drive the cell.
        hidden: Channels of the hidden state and of the cell state.
        constant: Channels that are the same in every step of a sequence. :meth:`prepare` computes their
            contribution to the gates once, which is equivalent to concatenating them to each input.
    """

    def __init__(self, inputs: int, hidden: int, constant: int = 0) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, KERNEL, padding=KERNEL // 2)
        self.steady: nn.Module | None = None
        if constant:
            self.steady = nn.Conv2d(constant, 4 * hidden, KERNEL, padding=KERNEL // 2, bias=False)
        assert self.gates.bias is not None
        with torch.no_grad():
            self.gates.bias[hidden : 2 * hidden] += 1

    def start(self, like: Tensor) -> CellState:
        """Initial state of zeros (B, hidden, h, w), with the size, type and device of ``like`` (B, ..., h, w)."""
        empty = like.new_zeros(like.shape[0], self.hidden, *like.shape[-2:])
        return CellState(empty, empty)

    def prepare(self, constant: Tensor) -> Tensor:
        """Constant channels (B, constant, h, w) -> their contribution to the gates (B, 4 hidden, h, w)."""
        assert self.steady is not None, "this cell has no constant channels"
        prepared: Tensor = self.steady(constant)
        return prepared

    def forward(self, value: Tensor | None, state: CellState, prepared: Tensor | None = None) -> CellState:
        """Input ``value`` (B, inputs, h, w) or None, state, ``prepared`` (B, 4 hidden, h, w) -> next state."""
        inputs = state.hidden if value is None else torch.cat((value, state.hidden), dim=1)
        gates = self.gates(inputs)
        if prepared is not None:
            gates = gates + prepared
        input_gate, forget_gate, output_gate, candidate = gates.chunk(4, dim=1)
        cell = forget_gate.sigmoid() * state.cell + input_gate.sigmoid() * candidate.tanh()
        return CellState(output_gate.sigmoid() * cell.tanh(), cell)


class PartLocalizer(nn.Module):
    """Feature maps (B, channels[i], h_i, w_i), fine to coarse -> part features and part logits.

    The part features are (B, width, h_i, w_i) per scale, the part logits (B, K, h_0, w_0).
    """

    def __init__(self, channels: Sequence[int], keypoints: int, width: int = 64) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.read = nn.Conv2d(width, keypoints, 1)
        _initialise(self.read)

    def forward(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Feature maps, fine to coarse -> part features (B, width, h_i, w_i), part logits (B, K, h_0, w_0)."""
        features = [reduce(each) for reduce, each in zip(self.reduce, pyramid, strict=True)]
        size = features[0].shape[-2:]
        total = features[0]
        for coarse in features[1:]:
            total = total + F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        return features, self.read(total)


class PersonDecoder(nn.Module):
    """Part features (B, width, h_i, w_i), fine to coarse -> logits (B, K, h, w) of one instance after another.

    Each scale has a block of two stacked cells. The coarsest scale comes first. Its hidden state is upsampled and
    fed into the next finer scale, together with the part features of that scale (half their channels).
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
        _initialise(self.read)

    def start(self, features: Sequence[Tensor]) -> "Decoding":
        """Start a sequence from part features (B, width, h_i, w_i), fine to coarse."""
        halved = [halve(each) for halve, each in zip(self.halve, features, strict=True)]
        prepared = [_cell(cell).prepare(each) for cell, each in zip(self.first, halved, strict=True)]
        states = [
            [_cell(cell).start(each) for cell in pair]
            for pair, each in zip(zip(self.first, self.second, strict=True), halved, strict=True)
        ]
        return Decoding(self, prepared, states)


class Decoding:
    """A sequence in progress: :meth:`step` returns the logits (B, K, h, w) of the next instance."""

    def __init__(self, decoder: PersonDecoder, prepared: list[Tensor], states: list[list[CellState]]) -> None:
        self.decoder = decoder
        self.prepared = prepared
        self.states = states

    def step(self) -> Tensor:
        """Advance every scale by one step, the coarsest first, and return the next logits (B, K, h, w)."""
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
        """Logits of the next ``count`` steps, (B, count, K, h, w)."""
        return torch.stack([self.step() for _ in range(count)], dim=1)

    def heatmaps(self, count: int, stop: float) -> Tensor:
        """Heatmaps (B, count, K, h, w) in [0, 1] of at most ``count`` instances.

        The sequence of an image ends at the first step in which no pixel reaches ``stop``; from there on its
        heatmaps are 0.
        """
        running: Tensor | None = None
        steps: list[Tensor] = []
        for _ in range(count):
            heatmaps = self.step().float().sigmoid()
            reached = heatmaps.amax(dim=(-3, -2, -1), keepdim=True) >= stop
            running = reached if running is None else running & reached
            steps.append(heatmaps * running)
            if not running.any():
                break
        steps += [torch.zeros_like(steps[0])] * (count - len(steps))
        return torch.stack(steps, dim=1)


def _cell(module: nn.Module) -> ConvLSTMCell:
    assert isinstance(module, ConvLSTMCell)
    return module


def _initialise(convolution: nn.Conv2d) -> None:
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, INITIAL_LOGIT)
