"""Convolutional LSTM: a recurrent cell whose state is a stack of feature maps.

Shi et al., "Convolutional LSTM Network", 2015, without peephole connections from the cell to the gates. This
follows Romera-Paredes and Torr (2016), on whom 000 (3.5) builds. Kernels are 3x3 (000, 3.5).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

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
