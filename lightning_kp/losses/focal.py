"""Focal loss of independent sigmoids (Lin et al. 2017; 000, eq. 2.6 to 2.12; 001, eq. 4 and 9).

001 calls the balance between the branches kappa, Lin et al. alpha.
"""

import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, kappa: float | None = None) -> Tensor:
    """-v k (1-p)^gamma log p - (1-v) (1-k) p^gamma log(1-p) with p = sigmoid(logits), element by element.

    ``target`` v in [0, 1], shaped as ``logits``, weighs the branches: 1 positive, 0 negative, between them
    the score of 001's eq. 9.  ``kappa`` k in [0, 1] balances them; None leaves both at 1.  With ``gamma`` 0
    and no ``kappa`` it is the binary cross entropy.  Raises ConfigurationError where gamma is below 0 or
    kappa outside [0, 1].
    """
    check_focal(gamma, kappa)
    # log p and log(1-p) from the logits: the logarithm of a saturated sigmoid is minus infinity.  The
    # modulators are their exponentials, whose gradient at exactly 0 is finite for every gamma.
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -target * (gamma * log_not_p).exp() * log_p
    negative = -(1 - target) * (gamma * log_p).exp() * log_not_p
    if kappa is None:
        return positive + negative
    return kappa * positive + (1 - kappa) * negative


def check_focal(gamma: float, kappa: float | None) -> None:
    """Refuse options of the focal loss that are out of range."""
    check_gamma(gamma)
    if kappa is not None and not 0 <= kappa <= 1:
        raise ConfigurationError(
            f"The focal loss shares 1 between its branches; kappa {kappa} was given.",
            remedy="Give a kappa in [0, 1], such as 0.25, or none.",
        )


def check_gamma(gamma: float) -> None:
    """Refuse an exponent that would make hard samples count less than easy ones."""
    if gamma < 0:
        raise ConfigurationError(
            f"The exponent of a modulated loss is not negative; gamma {gamma} was given.",
            remedy="Give gamma=2 as for a focal loss, or 0 for the binary cross entropy.",
        )
