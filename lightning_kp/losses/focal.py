"""Focal loss of independent sigmoids (Lin et al. 2017; 000, eq. 2.6 to 2.12; 001, eq. 4 and 9).

001 calls the balance between the branches kappa, Lin et al. alpha.
"""

import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, kappa: float | None = None) -> Tensor:
    """-v k (1-p)^gamma log p - (1-v) (1-k) p^gamma log(1-p) with p = sigmoid(logits), element by element.

    With ``gamma`` 0 and no ``kappa`` it is the binary cross entropy.

    Args:
        logits: Logits (...).
        target: v (...) in [0, 1], the weight of the positive branch: 1 positive, 0 negative, between them the
            score of 001's eq. 9.
        gamma: Exponent, >= 0.
        kappa: k in [0, 1], the weight of the positive branch, and 1 - k of the negative one; None leaves both
            at 1.

    Returns:
        Loss (...).

    Raises:
        ConfigurationError: gamma is below 0 or kappa outside [0, 1].

    >>> import torch
    >>> focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]), gamma=1.0, kappa=0.25)  # 0.125 and 0.375 log 2
    tensor([0.0866, 0.2599])
    """
    check_focal(gamma, kappa)
    # log p and log(1-p) come from the logits, since the logarithm of a saturated sigmoid is minus infinity. The
    # modulators are their exponentials, whose gradient at exactly 0 is finite for every gamma.
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -target * (gamma * log_not_p).exp() * log_p
    negative = -(1 - target) * (gamma * log_p).exp() * log_not_p
    if kappa is None:
        return positive + negative
    return kappa * positive + (1 - kappa) * negative


def check_focal(gamma: float, kappa: float | None) -> None:
    """Raise ConfigurationError if gamma is below 0 or kappa outside [0, 1]."""
    check_gamma(gamma)
    if kappa is not None and not 0 <= kappa <= 1:
        raise ConfigurationError(
            f"The focal loss needs a kappa in [0, 1] to balance its branches; kappa {kappa} was given.",
            remedy="Give for example kappa=0.25, or leave it out.",
        )


def check_gamma(gamma: float) -> None:
    """Raise ConfigurationError for a negative exponent, which would make hard samples count less than easy ones."""
    if gamma < 0:
        raise ConfigurationError(
            f"The exponent of a modulated loss must be at least 0; gamma {gamma} was given.",
            remedy="Give gamma=2 as in the focal loss, or 0 for the binary cross entropy.",
        )
