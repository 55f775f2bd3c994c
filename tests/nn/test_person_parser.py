"""Networks of the person parser: values worked out by hand, and laws."""

import math

import pytest
import torch
from torch import nn, tensor

from lightning_kp.nn.person_parser import CellState, ConvLSTMCell, PartLocalizer, PersonDecoder


def test_a_step_by_hand() -> None:
    cell = ConvLSTMCell(1, 1)
    nn.init.zeros_(cell.gates.weight)
    assert cell.gates.bias is not None
    with torch.no_grad():
        cell.gates.weight[3, 0, 1, 1] = 1.0  # the candidate is tanh of the input, and the gates are half open
        cell.gates.bias.zero_()
    empty = cell.start(torch.zeros(1, 1, 1, 1))
    state = cell(tensor([[[[0.5]]]]), CellState(empty.hidden, empty.cell + 2))
    memory = 0.5 * 2 + 0.5 * math.tanh(0.5)
    assert state.cell.item() == pytest.approx(memory)
    assert state.hidden.item() == pytest.approx(0.5 * math.tanh(memory))


def test_the_forget_gate_starts_open() -> None:
    bias = ConvLSTMCell(2, 3).gates.bias
    assert bias is not None
    assert (bias[3:6] > 0.5).all()
    assert (bias[:3] < 0.5).all()


def test_prepared_channels_are_concatenated_ones() -> None:
    """Constant channels may be convolved once, which is equivalent to concatenating them in every step."""
    cell = ConvLSTMCell(2, 3, constant=4)
    plain = ConvLSTMCell(2 + 4, 3)
    assert isinstance(cell.steady, nn.Conv2d)
    kernel = torch.cat((cell.gates.weight[:, :2], cell.steady.weight, cell.gates.weight[:, 2:]), dim=1)
    plain.gates.load_state_dict({"weight": kernel, "bias": cell.gates.bias})
    constant, state, other = torch.randn(1, 4, 5, 5), None, None
    for _ in range(3):
        value = torch.randn(1, 2, 5, 5)
        state = cell(value, state or cell.start(value), cell.prepare(constant))
        other = plain(torch.cat((value, constant), dim=1), other or plain.start(value))
    assert state is not None
    assert other is not None
    torch.testing.assert_close(state.hidden, other.hidden)


def test_the_decoder_remembers_what_it_said() -> None:
    features = [torch.randn(2, 8, 8, 8), torch.randn(2, 8, 4, 4), torch.randn(2, 8, 2, 2)]
    decoder = PersonDecoder(3, 8, 6, 5).eval()
    steps = decoder.start(features).steps(3)
    assert steps.shape == (2, 3, 5, 8, 8)
    assert not torch.allclose(steps[:, 0], steps[:, 1])
    torch.testing.assert_close(decoder.start(features).step(), steps[:, 0])


def test_parts_are_rare_at_first() -> None:
    features, logits = PartLocalizer((4, 6), 3, width=8)([torch.zeros(1, 4, 8, 8), torch.zeros(1, 6, 4, 4)])
    assert [each.shape for each in features] == [(1, 8, 8, 8), (1, 8, 4, 4)]
    assert logits.shape == (1, 3, 8, 8)
    assert logits.sigmoid().mean() < 0.1
