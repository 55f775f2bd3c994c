"""Networks and losses of the person parser: by hand, laws, gradients."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn, tensor

from lightning_kp.losses.person_parsing import (
    discs,
    matched_targets,
    part_loss,
    person_loss,
    steps_asked,
)
from lightning_kp.nn.convlstm import CellState, ConvLSTMCell
from lightning_kp.nn.person_parser import PartLocalizer, PersonDecoder

# ConvLSTM


def test_a_step_by_hand() -> None:
    cell = ConvLSTMCell(1, 1)
    nn.init.zeros_(cell.gates.weight)
    assert cell.gates.bias is not None
    with torch.no_grad():
        cell.gates.weight[3, 0, 1, 1] = 1.0  # the new value is tanh of the input, the gates are half open
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
    """Channels that never change may be convolved once: the same as concatenating them in every step."""
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


# Losses


def test_discs_by_hand() -> None:
    # Pixel centres of 4 lie at -0.75, -0.25, ...; the point is pixel (x 1, y 2), radius 1: a cross of 5 pixels.
    found = discs(tensor([[-0.25, 0.25], [0.0, 0.0]]), tensor([1.0, 0.0]), (4, 4), 1.0)
    assert found[0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    assert found[1].sum() == 0


def test_part_loss_by_hand() -> None:
    logits, target = tensor([[[[0.0, 2.0]]]]), tensor([[[[1.0, 0.0]]]])
    expected = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert part_loss(logits, target, torch.ones(1, 1, 2)).item() == pytest.approx(expected)
    assert part_loss(logits, target, tensor([[[1.0, 0.0]]])).item() == pytest.approx(math.log(2))


def test_steps_asked_for() -> None:
    # The image of three shows more than is asked for: two steps count and no stop.
    asked, steps = steps_asked(tensor([1, 2, 3, 0]), 2)
    assert asked.tolist() == [1, 2, 2, 0]
    assert steps.tolist() == [3, 4, 2, 2]
    assert steps_asked(tensor([3]), None)[1].tolist() == [5]


def drawn(images: int = 3, steps: int = 4, people: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    target = (torch.rand(images, people, 2, 3, 3) > 0.6).float()
    there = torch.ones(images, people, dtype=torch.bool)
    there[0, 1] = False
    return 3 * torch.randn(images, steps, 2, 3, 3), target * there[..., None, None, None], there


def test_the_order_is_the_cheapest_of_all() -> None:
    logits, target, there = drawn()
    asked, counts = there.sum(dim=1), torch.ones(3, 3, 3)
    steps = asked + 2
    found = person_loss(logits, matched_targets(logits, target, there, asked, counts), steps, counts)
    total = []
    for image in range(3):
        people = [person for person in range(3) if there[image, person]]
        losses = []
        for order in permutations(people):
            targets = torch.cat((target[image, list(order)], torch.zeros(4, 2, 3, 3)))[:4]
            error = nn.functional.binary_cross_entropy_with_logits(logits[image], targets, reduction="none")
            active = min(4, len(people) + 2)
            losses.append(error[:active].sum().item() / (2 * 9 * (len(people) + 2)))
        total.append(min(losses))
    assert found.item() == pytest.approx(sum(total) / 3, rel=1e-5)


@given(st.permutations([0, 1, 2]))
def test_the_order_of_the_labels_plays_no_part(order: list[int]) -> None:
    logits, target, there = drawn()
    counts = torch.ones(3, 3, 3)
    asked, steps = steps_asked(there.sum(dim=1), 2)
    losses = [
        person_loss(logits, matched_targets(logits, *each, asked, counts), steps, counts)
        for each in ((target, there), (target[:, order], there[:, order]))
    ]
    torch.testing.assert_close(*losses)


def test_steps_beyond_the_stop_do_not_count() -> None:
    logits, target, there = drawn(steps=6)
    counts, asked = torch.ones(3, 3, 3), there.sum(dim=1)
    changed = logits.clone()
    changed[:, 5:] += 7
    losses = [
        person_loss(each, matched_targets(each, target, there, asked, counts), asked + 2, counts)
        for each in (logits, changed)
    ]
    torch.testing.assert_close(*losses)


def test_pixels_without_labels_count_nowhere() -> None:
    logits, target, there = drawn()
    counts, asked = torch.ones(3, 3, 3), there.sum(dim=1)
    counts[:, 1] = 0
    changed = logits.clone()
    changed[..., 1, :] = -9.0
    losses = [
        person_loss(each, matched_targets(each, target, there, asked, counts), asked + 2, counts)
        for each in (logits, changed)
    ]
    torch.testing.assert_close(*losses)
    nothing = torch.zeros(3, 3, 3)
    assert person_loss(logits, torch.zeros_like(logits), asked, nothing) == 0
    assert part_loss(logits[:, 0], torch.zeros_like(logits[:, 0]), nothing) == 0


def test_gradients() -> None:
    logits, target, there = drawn(images=2)
    logits = logits[:2].double().requires_grad_()
    counts, asked = torch.ones(2, 3, 3).double(), there[:2].sum(dim=1)
    ordered = matched_targets(logits, target[:2], there[:2], asked, counts.float()).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)  # the losses compute in single precision
        assert torch.autograd.gradcheck(lambda z: person_loss(z, ordered, asked + 2, counts), logits)
        assert torch.autograd.gradcheck(lambda z: part_loss(z[:, 0], ordered[:, 0], counts), logits)


def test_the_mean_is_taken_over_pixels_that_count() -> None:
    logits, zeros = torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2)
    half = tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert person_loss(logits, zeros, tensor([1]), half).item() == pytest.approx(math.log(2))
    assert part_loss(logits[:, 0], zeros[:, 0], half).item() == pytest.approx(math.log(2))
