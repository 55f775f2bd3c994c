"""Convolutional LSTM: a recurrent cell whose state is a stack of feature maps.

Shi et al., "Convolutional LSTM Network", 2015, without the connections from the cell to the gates, as
Romera-Paredes and Torr (2016), whom 000 (3.5) follows, have it.  Kernels are 3x3 (000, 3.5).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

KERNEL = 3


class CellState(NamedTuple):
    """What a cell remembers: ``hidden`` and ``cell``, each (B, hidden, h, w)."""

    hidden: Tensor
    cell: Tensor


class ConvLSTMCell(nn.Module):
    """One step: what comes in (B, inputs, h, w) and the state -> the next state.

    ``constant`` channels enter every step of a sequence alike; their share of the gates is computed once, by
    :meth:`prepare`, which is the same as concatenating them to the input.  Without ``inputs`` a cell is driven
    by those and its state alone.  The forget gate starts open (bias 1).
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
        """The state before the first step, for maps of the size of ``like`` (B, ..., h, w): nothing remembered."""
        empty = like.new_zeros(like.shape[0], self.hidden, *like.shape[-2:])
        return CellState(empty, empty)

    def prepare(self, constant: Tensor) -> Tensor:
        """The constant channels' share of the gates, (B, 4 hidden, h, w)."""
        assert self.steady is not None, "this cell has no constant channels"
        prepared: Tensor = self.steady(constant)
        return prepared

    def forward(self, value: Tensor | None, state: CellState, prepared: Tensor | None = None) -> CellState:
        known = state.hidden if value is None else torch.cat((value, state.hidden), dim=1)
        gates = self.gates(known)
        if prepared is not None:
            gates = gates + prepared
        admit, keep, show, new = gates.chunk(4, dim=1)
        cell = keep.sigmoid() * state.cell + admit.sigmoid() * new.tanh()
        return CellState(show.sigmoid() * cell.tanh(), cell)
