"""The learning rate over a training."""

import pytest
import torch

from lightning_kp.schedules import FINAL_FACTOR, WarmupCosine, WarmupSteps


def scheduler(total: int, warmup: float = 0.1) -> WarmupCosine:
    made = WarmupCosine(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0), warmup)
    made.set_total_steps(total)
    return made


def rates(made: WarmupCosine, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        made.step()
    return seen


def test_values_by_hand() -> None:
    seen = rates(scheduler(100), 101)
    assert seen[0] == pytest.approx(2 / 11)  # the first of ten rising steps
    assert seen[10] == pytest.approx(2.0)
    assert seen[55] == pytest.approx(1.0, rel=0.01)  # half way down
    assert seen[100] == pytest.approx(2.0 * FINAL_FACTOR)
    assert seen[:11] == sorted(seen[:11])
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_resumed_is_undisturbed() -> None:
    whole = rates(scheduler(20), 20)
    first = scheduler(20)
    rates(first, 8)
    second = scheduler(20)
    second.load_state_dict(first.state_dict())
    assert rates(second, 12) == pytest.approx(whole[8:])


def test_an_extended_training_uses_its_own_length() -> None:
    first = scheduler(20)
    rates(first, 20)
    longer = scheduler(40)
    longer.load_state_dict(first.state_dict())
    assert longer.optimizer.param_groups[0]["lr"] == pytest.approx(rates(scheduler(40), 21)[20])


def test_constant_until_the_length_is_known() -> None:
    made = WarmupCosine(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0))
    assert rates(made, 3) == [2.0, 2.0, 2.0]


def test_steps_of_epochs_with_a_warm_up() -> None:
    """000, section 2.5, ImageNet: 0.1 that falls to a tenth every 30 epochs, and a small rate in the first five."""
    made = WarmupSteps(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    seen = rates(made, 90)  # type: ignore[arg-type]
    assert seen == pytest.approx([0.01] * 5 + [0.1] * 25 + [0.01] * 30 + [0.001] * 30)
