"""Balances of losses: golden sums, the exact min-norm point and its optimality, and the gradients of Pareto."""

import numpy as np
import pytest
import torch
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError, DivergenceError
from lightning_kp.losses.balance import (
    Balance,
    Exponential,
    Fixed,
    Logarithmic,
    Pareto,
    Uncertainty,
    build_balance,
    min_norm_weights,
)

NAMES = ["a", "b", "c", "d"]


def run(balance: Balance, losses: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """Objective () and effective weights (T,)."""
    terms = dict(zip(NAMES, losses, strict=False))
    objective, effective = balance(terms, dict.fromkeys(terms, weight))
    return objective, torch.stack(list(effective.values()))


@pytest.mark.parametrize(("kind", "name"), [(Exponential, "exponential"), (Logarithmic, "logarithmic")])
def test_golden_sums(goldens: Goldens, kind: type[Balance], name: str) -> None:
    values = goldens("stills/referential_and_balances")
    losses = torch.from_numpy(values["losses"]).requires_grad_()
    objective, effective = run(kind(), losses)
    assert objective.item() == pytest.approx(float(values[name]), rel=1e-9)
    objective.backward()
    np.testing.assert_allclose(losses.grad, values[f"{name}_gradient"], rtol=1e-9)
    np.testing.assert_allclose(effective, values[f"{name}_gradient"], rtol=1e-9)


def test_golden_uncertainties(goldens: Goldens) -> None:
    values = goldens("stills/referential_and_balances")
    losses = torch.from_numpy(values["losses"]).requires_grad_()
    balance = Uncertainty(NAMES).double()
    for name, value in zip(NAMES, values["log_variances"], strict=True):
        nn.init.constant_(balance.log_variance[name], float(value))
    objective, effective = run(balance, losses)
    assert objective.item() == pytest.approx(float(values["uncertainty"]), rel=1e-9)
    objective.backward()
    np.testing.assert_allclose(losses.grad, values["uncertainty_gradient"], rtol=1e-9)
    np.testing.assert_allclose(effective, values["uncertainty_gradient"], rtol=1e-9)
    by_s = [balance.log_variance[name].grad for name in NAMES]
    np.testing.assert_allclose(by_s, values["uncertainty_gradient_s"], rtol=1e-9)


def test_golden_min_norm_points(goldens: Goldens) -> None:
    values = goldens("stills/min_norm")
    for number in range(int(values["number"])):
        gradients = values[f"gradients{number}"]
        weights = min_norm_weights(torch.from_numpy(gradients))
        assert weights.sum() == pytest.approx(1)
        assert weights.min() >= 0
        squared = float(np.square(weights @ gradients).sum())
        assert squared == pytest.approx(float(values[f"squared_norm{number}"]), rel=1e-9, abs=1e-12)
        if values["unique"][number]:
            np.testing.assert_allclose(weights, values[f"weights{number}"], rtol=1e-6, atol=1e-9)


@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 10**6), st.floats(-6, 6))
def test_no_gradient_opposes_the_min_norm_direction(
    tasks: int, size: int, seed: int, exponent: float
) -> None:
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(tasks, size)) * 10 ** (exponent * rng.random((tasks, 1)))
    direction = min_norm_weights(torch.from_numpy(gradients)) @ gradients
    longest = np.square(gradients).sum(axis=1).max()
    assert (gradients @ direction >= direction @ direction - 1e-9 * longest).all()


def test_fixed_weights_and_terms_that_are_not_balanced() -> None:
    losses = torch.tensor([1.0, 2.0])
    assert run(Fixed(), losses, weight=0.5)[0] == 1.5
    objective, effective = Exponential(["b"])({"a": losses[0], "b": losses[1]}, {"a": 3.0, "b": 1.0})
    assert objective.item() == pytest.approx(3 + np.exp(2 / 50))
    assert effective["a"] == 3
    assert effective["b"].item() == pytest.approx(np.exp(2 / 50) / 50)


class Network(nn.Module):
    """Two heads on one shared layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(2))

    def losses(self, inputs: Tensor, balance: Balance | None = None) -> list[Tensor]:
        shared = self.trunk(inputs)
        if balance is not None:
            balance.shared = shared
        return [(head(shared) - number).square().mean() for number, head in enumerate(self.heads)]


def test_pareto_trains_the_trunk_along_the_min_norm_direction_and_heads_by_their_own_losses() -> None:
    network, inputs = Network().double(), torch.randn(5, 3, dtype=torch.float64)
    gradients = []
    for loss in network.losses(inputs):
        network.zero_grad()
        loss.backward(retain_graph=True)
        gradients.append([each.grad.clone() for each in network.trunk.parameters()])
    plain = Network().double()
    plain.load_state_dict(network.state_dict())
    sum(plain.losses(inputs)).backward()  # type: ignore[union-attr]  # two tensors

    network.zero_grad()
    balance = Pareto(NAMES[:2])
    terms = dict(zip(NAMES, network.losses(inputs, balance), strict=False))
    objective, effective = balance(terms, {"a": 1.0, "b": 1.0})
    objective.backward()
    assert sum(effective.values()).item() == pytest.approx(1)  # type: ignore[union-attr]
    for number, parameter in enumerate(network.trunk.parameters()):
        expected = sum(float(w) * each[number] for w, each in zip(effective.values(), gradients, strict=True))
        torch.testing.assert_close(parameter.grad, expected)
    for ours, theirs in zip(network.heads.parameters(), plain.heads.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_pareto_goes_back_through_the_trunk_once() -> None:
    network, balance = Network(), Pareto(NAMES[:2])
    passes: list[int] = []
    network.trunk.register_full_backward_hook(lambda *_: passes.append(1))
    terms = dict(zip(NAMES, network.losses(torch.randn(5, 3), balance), strict=False))
    balance(terms, {"a": 1.0, "b": 1.0})[0].backward()
    assert passes == [1]


def test_a_loss_that_is_met_does_not_stop_the_others() -> None:
    balance = Pareto(NAMES[:2])
    balance.shared = shared = torch.tensor([1.0, 2.0], requires_grad=True) * 1
    met = torch.relu(shared.sum() - 10)
    _, effective = balance({"a": met, "b": shared[0]}, {"a": 1.0, "b": 1.0})
    assert [float(each) for each in effective.values()] == [0, 1]


def test_a_gradient_that_is_not_finite_is_named() -> None:
    balance = Pareto(NAMES[:2])
    balance.shared = shared = torch.zeros(1, requires_grad=True) * 1
    with pytest.raises(DivergenceError, match="gradient of term b is not finite"):
        balance({"a": shared.sum(), "b": shared.sqrt().sum()}, {"a": 1.0, "b": 1.0})


def test_a_logarithm_of_nothing() -> None:
    with pytest.raises(DivergenceError, match="losses above -1; b is below"):
        run(Logarithmic(), torch.tensor([0.0, -1.0]))


@pytest.mark.parametrize(
    ("kind", "scale"), [("log", 50.0), ("exponential", 0.0), ("exponential", float("nan"))]
)
def test_what_is_refused(kind: str, scale: float) -> None:
    with pytest.raises(ConfigurationError, match=r"a kind .* and a scale above 0"):
        build_balance(kind, NAMES, scale)  # type: ignore[arg-type]
