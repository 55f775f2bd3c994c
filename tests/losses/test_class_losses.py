import math
from typing import get_args

import pytest
import torch
from torch import tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.anchor import AnchorOptions
from lightning_kp.losses.class_losses import ClassLossName, class_loss

NAMES: tuple[ClassLossName, ...] = get_args(ClassLossName)
# Two images of class 0, the second with the higher loss: scores 0.6, 0.3 and 0.2, 0.5.
LOGITS = tensor([[0.6, 0.3], [0.2, 0.5]], dtype=torch.float64).logit()
LABEL = tensor([0, 0])
LN = math.log


def softmax_losses() -> list[float]:
    odds = [(1.5, 3 / 7), (0.25, 1.0)]
    return [LN((own + other) / own) for own, other in odds]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ce", sum(softmax_losses()) / 2),
        ("ohem", softmax_losses()[1]),  # the harder half
        ("bce", -(LN(0.6) + LN(0.7) + LN(0.2) + LN(0.5)) / 2),
        ("focal", -(0.4**2 * LN(0.6) + 0.3**2 * LN(0.7) + 0.8**2 * LN(0.2) + 0.5**2 * LN(0.5)) / 2),
        ("anchor", -(LN(0.6) + 0.8**2 * LN(0.7) + LN(0.2) + 1.4**2 * LN(0.5)) / 2),
    ],
)
def test_values_by_hand(name: ClassLossName, expected: float) -> None:
    """Gamma 2, margin 0.1: anchors 0.5 and 0.1.  Summed over classes, averaged over the batch."""
    found = class_loss(name, AnchorOptions(2.0, 0.1), hardest=0.5)(LOGITS, LABEL)
    assert found.item() == pytest.approx(expected)


def test_the_balance_of_the_focal_loss() -> None:
    found = class_loss("focal", AnchorOptions(2.0), kappa=0.25)(LOGITS[:1], LABEL[:1])
    assert found.item() == pytest.approx(-0.25 * 0.4**2 * LN(0.6) - 0.75 * 0.3**2 * LN(0.7))


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_lower_it_and_find_the_classes(name: ClassLossName) -> None:
    logits = torch.zeros(6, 4, requires_grad=True)
    label = tensor([0, 1, 2, 3, 3, 0])
    loss, optimiser = class_loss(name), torch.optim.SGD([logits], lr=3.0)
    first = loss(logits, label).item()
    for _ in range(20):
        optimiser.zero_grad()
        loss(logits, label).backward()
        optimiser.step()
    assert loss(logits, label).item() < 0.5 * first
    assert logits.argmax(dim=1).equal(label)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_and_extreme_logits_stay_finite(name: ClassLossName) -> None:
    logits = tensor([[300.0, -300.0, 300.0], [-300.0, 300.0, 0.0]], dtype=torch.bfloat16).requires_grad_()
    loss = class_loss(name)(logits, tensor([1, 0]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize(
    ("name", "options", "hardest", "message"),
    [
        ("anchro", AnchorOptions(), 0.9, "called 'anchro'. Did you mean anchor"),
        ("focal", AnchorOptions(gamma=-1), 0.9, "gamma -1"),
        ("ohem", AnchorOptions(), 0.0, "share of the losses"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    name: ClassLossName, options: AnchorOptions, hardest: float, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        class_loss(name, options, hardest=hardest)
