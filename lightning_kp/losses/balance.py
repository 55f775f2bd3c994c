"""Sums of several losses that let none of them dominate: 003, 4.4.2.2.

``fixed``: by their weights. ``exponential``: sum of e^(l / 50) (Liang and Zhang 2020, as in 003). ``logarithmic``: sum
of log(1 + l). ``uncertainty``: sum of (e^-s l + s) / 2 with a learned s for each loss (Cipolla, Gal and Kendall 2018).
``pareto``: the shared part of the network follows the shortest vector in the convex hull of the gradients (Sener and
Koltun 2018), every other part the gradient of its own loss (their Algorithm 2).

Deviations: the configured weight of a loss multiplies it, e^(l / 50) or log(1 + l) before it is summed.  The min-norm
point is exact for any number of losses; the public code of Sener and Koltun iterates, and keeps two weights in
[0.001, 0.999].  A loss whose gradient is exactly 0, such as a margin loss that is met, is left out; otherwise it would
be the min-norm point and stop the training.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError, DivergenceError

Kind = Literal["fixed", "exponential", "logarithmic", "uncertainty", "pareto"]
SCALE = 50.0


def exponential_sum(losses: Tensor, scale: float = SCALE) -> Tensor:
    """Losses (T,) -> e^(l / scale) (T,), whose sum is the objective (003, 4.4.2.2)."""
    return (losses / scale).exp()


def uncertainty_sum(losses: Tensor, log_variances: Tensor) -> Tensor:
    """Losses (T,) and log variances s (T,) -> (e^-s l + s) / 2 (T,), whose sum is the objective."""
    return ((-log_variances).exp() * losses + log_variances) / 2


def min_norm_weights(gradients: Tensor) -> NDArray[np.float64]:
    """Gradients (T, P) -> weights (T,) >= 0 with sum 1 that minimise the norm of the weighted sum, exactly.

    The weights of the shortest point of a convex hull are those of a least-squares problem without negative unknowns
    (Lawson and Hanson 1974, chapter 23), normalised.  Where gradients depend on each other, several weights give the
    one shortest sum; any of them is returned.

    >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).round(3).tolist()
    [0.8, 0.2]
    """
    wide = gradients.detach().double()
    gram = (wide @ wide.T).cpu().numpy()
    values, vectors = np.linalg.eigh(gram)
    # Rows with the same products as the gradients, in T dimensions rather than P.
    rows = vectors * np.sqrt(values.clip(min=0))
    longest = float(np.sqrt(np.diag(gram).max()))
    if longest == 0:
        return np.full(len(gram), 1 / len(gram))
    # The row of ones counts as much as the shortest gradient, so that the tolerance suits the solution.
    ones = np.full((1, len(gram)), max(float(np.sqrt(np.diag(gram).min())), 1e-9 * longest))
    solution, _ = nnls(np.concatenate((rows.T, ones)), np.append(np.zeros(len(gram)), ones[0, 0]))
    weights: NDArray[np.float64] = solution / solution.sum()
    return weights


class Balance(nn.Module):
    """Sums losses by name.  A subclass writes :meth:`combine`.

    Args:
        names: The losses that it balances, by default all; others are added by their weights.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.names = tuple(names)
        self.shared: Tensor | None = (
            None  # the tensor through which all losses reach the network, of this step
        )

    def forward(
        self, terms: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses () and their weights, by name -> objective () and the derivative of it by each loss, ()."""
        chosen = [name for name in terms if not self.names or name in self.names]
        rest = [weights[name] * loss for name, loss in terms.items() if name not in chosen]
        effective = {name: torch.tensor(weights[name]) for name in terms if name not in chosen}
        if chosen:
            losses = [terms[name] for name in chosen]
            given = losses[0].new_tensor([weights[name] for name in chosen])
            objective, factors = self.combine(losses, given, chosen)
            rest.append(objective)
            effective |= dict(zip(chosen, factors.detach(), strict=True))
        return torch.stack(rest).sum(), effective

    @abstractmethod
    def combine(
        self, losses: Sequence[Tensor], weights: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """T losses (), weights (T,) and names -> objective () and its derivatives by the losses (T,)."""


class Fixed(Balance):
    """The sum by the configured weights: losses (T,) -> objective ()."""

    def combine(
        self, losses: Sequence[Tensor], weights: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """T losses () and weights (T,) -> objective () and derivatives (T,)."""
        return (weights * torch.stack(list(losses))).sum(), weights


class Exponential(Balance):
    """Sum of w e^(l / scale): losses (T,) -> objective ()."""

    def __init__(self, names: Sequence[str] = (), scale: float = SCALE) -> None:
        super().__init__(names)
        self.scale = scale

    def combine(
        self, losses: Sequence[Tensor], weights: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """T losses () and weights (T,) -> objective () and derivatives (T,)."""
        mapped = weights * exponential_sum(torch.stack(list(losses)), self.scale)
        return mapped.sum(), mapped / self.scale


class Logarithmic(Balance):
    """Sum of w log(1 + l): losses (T,) -> objective ().  Raises DivergenceError for a loss of -1 or less."""

    def combine(
        self, losses: Sequence[Tensor], weights: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """T losses () and weights (T,) -> objective () and derivatives (T,)."""
        stacked = torch.stack(list(losses))
        low = [name for name, loss in zip(names, stacked.tolist(), strict=True) if loss <= -1]
        if low:
            raise DivergenceError(
                f"The logarithmic balance needs losses above -1; {', '.join(low)} is below.",
                remedy="Choose another kind of LossBalance, or leave the term out of its terms.",
            )
        return (weights * stacked.log1p()).sum(), weights / (1 + stacked)


class Uncertainty(Balance):
    """Sum of (e^-s w l + s) / 2 with learned log variances s, 0 at the start: losses (T,) -> objective ()."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names})

    def combine(
        self, losses: Sequence[Tensor], weights: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """T losses () and weights (T,) -> objective () and derivatives (T,)."""
        log_variances = torch.stack([self.log_variance[name] for name in names])
        mapped = uncertainty_sum(weights * torch.stack(list(losses)), log_variances)
        return mapped.sum(), weights * (-log_variances).exp() / 2


class Pareto(Balance):
    """The min-norm point of the gradients at ``shared``: losses (T,) -> objective ().

    The gradients are taken at ``shared`` alone, and a hook replaces the gradient that arrives there in the backward
    pass by their weighted sum.  So the network below is gone back through once, and what lies above ``shared`` gets
    the gradients of the plain sum.
    """

    def combine(
        self, losses: Sequence[Tensor], weights: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """T losses () and weights (T,) -> objective () and the weights of the gradients (T,)."""
        assert self.shared is not None  # the callback refuses methods that share nothing
        shared, self.shared = self.shared, None
        # One by one: through a stack of them, a NaN of one loss would reach the gradients of all.
        weighted = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
        gradients = _gradients(weighted, shared)
        flat = gradients.flatten(1)
        if bad := [name for name, row in zip(names, flat, strict=True) if not row.isfinite().all()]:
            raise DivergenceError(
                f"The gradient of term {', '.join(bad)} is not finite.",
                remedy="Try a smaller learning rate (--model.optimizer.init_args.lr).",
            )
        moving = (flat != 0).any(dim=1)
        shares = flat.new_zeros(len(flat))
        if moving.any():
            shares[moving] = torch.from_numpy(min_norm_weights(flat[moving])).to(flat)
        direction = torch.tensordot(shares, gradients, dims=1)
        shared.register_hook(lambda _: direction)
        return torch.stack(weighted).sum(), shares * weights


def _gradients(losses: Sequence[Tensor], shared: Tensor) -> Tensor:
    """T losses () -> their gradients at ``shared``, (T, ...); 0 where a loss does not depend on it."""
    rows = []
    for loss in losses:
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        rows.append(torch.zeros_like(shared) if gradient is None else gradient)
    return torch.stack(rows)


def build_balance(kind: Kind, names: Sequence[str], scale: float = SCALE) -> Balance:
    """Build a balance of the losses ``names``; ``scale`` is that of the exponential one.

    Raises ConfigurationError for a kind that is not known, or a scale that is not above 0.
    """
    if kind not in get_args(Kind) or not scale > 0:
        raise ConfigurationError(
            f"A balance needs a kind ({', '.join(get_args(Kind))}) and a scale above 0, got {kind!r} and {scale}.",
            remedy="Use kind: exponential, and leave the scale out.",
        )
    if kind == "exponential":
        return Exponential(names, scale)
    kinds: dict[str, type[Balance]] = {
        "fixed": Fixed,
        "logarithmic": Logarithmic,
        "uncertainty": Uncertainty,
        "pareto": Pareto,
    }
    return kinds[kind](names)
