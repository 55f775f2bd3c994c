import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.focal import focal_loss

LOGIT_QUARTER = -math.log(3)  # sigmoid 0.25
EXTREMES = tensor([-1e4, -200.0, -50.0, 0.0, 50.0, 200.0, 1e4])


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    return logits, torch.rand(3, 5, generator=generator, dtype=torch.float64)


def test_values_by_hand() -> None:
    """p = 1/4: positive (3/4)^2 ln 4, negative (1/4)^2 ln(4/3)."""
    logits = torch.full((2,), LOGIT_QUARTER, dtype=torch.float64)
    expected = tensor([0.5625 * math.log(4), 0.0625 * math.log(4 / 3)], dtype=torch.float64)
    target = tensor([1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(focal_loss(logits, target), expected)
    balanced = focal_loss(logits, target, kappa=0.25)
    torch.testing.assert_close(balanced, expected * tensor([0.25, 0.75], dtype=torch.float64))


def test_a_soft_target_weighs_both_branches() -> None:
    """001, eq. 9 with v = 0.4."""
    logits = torch.full((1,), LOGIT_QUARTER, dtype=torch.float64)
    expected = 0.4 * 0.25 * 0.5625 * math.log(4) + 0.6 * 0.75 * 0.0625 * math.log(4 / 3)
    found = focal_loss(logits, torch.full_like(logits, 0.4), kappa=0.25)
    torch.testing.assert_close(found, torch.full_like(logits, expected))


@given(st.integers(0, 1000))
def test_without_gamma_it_is_the_binary_cross_entropy(seed: int) -> None:
    logits, target = drawn(seed)
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(focal_loss(logits, target, gamma=0.0), expected)


@given(st.integers(0, 1000), st.floats(0, 5))
def test_swapping_the_classes_changes_nothing(seed: int, gamma: float) -> None:
    logits, target = drawn(seed)
    torch.testing.assert_close(focal_loss(-logits, 1 - target, gamma), focal_loss(logits, target, gamma))


@given(st.integers(0, 1000), st.floats(0, 5), st.floats(0, 5))
def test_never_negative_and_falls_with_gamma(seed: int, gamma: float, more: float) -> None:
    logits, target = drawn(seed)
    found = focal_loss(logits, target, gamma)
    assert bool((found >= 0).all())
    assert bool((focal_loss(logits, target, gamma + more) <= found + 1e-12).all())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("kappa", [None, 0.25])
def test_gradient(gamma: float, kappa: float | None) -> None:
    logits, target = drawn(0)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, target, gamma, kappa), logits.requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_extreme_logits_stay_finite(gamma: float, target: float) -> None:
    logits = EXTREMES.clone().requires_grad_()
    found = focal_loss(logits, torch.full_like(logits, target), gamma)
    found.sum().backward()
    assert logits.grad is not None
    assert bool(found.isfinite().all())
    assert bool(logits.grad.isfinite().all())
    if target == 1.0:  # confident and wrong: as large as the cross entropy, with gradient -1
        torch.testing.assert_close((found[0], logits.grad[0]), (tensor(1e4), tensor(-1.0)))


@pytest.mark.parametrize("options", [{"gamma": -1.0}, {"kappa": 1.5}, {"kappa": -0.1}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="was given"):
        focal_loss(torch.zeros(2), torch.ones(2), **options)
