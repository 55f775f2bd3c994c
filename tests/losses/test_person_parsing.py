"""Losses of the person parser: values worked out by hand, laws, gradients."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn, tensor

from lightning_kp.losses.person_parsing import (
    counted_pixels,
    discs,
    matched_targets,
    part_loss,
    person_loss,
    requested_steps,
)


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
    # The image of three shows more instances than requested: two steps count and no stop.
    asked, steps = requested_steps(tensor([1, 2, 3, 0]), 2)
    assert asked.tolist() == [1, 2, 2, 0]
    assert steps.tolist() == [3, 4, 2, 2]
    assert requested_steps(tensor([3]), None)[1].tolist() == [5]


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
    asked, steps = requested_steps(there.sum(dim=1), 2)
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


def test_counted_pixels() -> None:
    counts = torch.ones(1, 4, 4, dtype=torch.bool)
    counts[0, 0, 1] = False
    target = torch.zeros(1, 2, 3, 2, 2)
    target[0, 1, 2, 1, 0] = 1
    assert counted_pixels(counts, target).tolist() == [[[0, 1], [1, 1]]]
    target[0, 0, 1, 0, 0] = 1
    assert counted_pixels(counts, target).all()
