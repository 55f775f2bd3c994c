"""Classification losses by name, so that a configuration can choose one (000, Tables 2.1, 2.3 and 2.8).

Losses of independent sigmoids are summed over the classes. All losses are averaged over the batch (section 2.5).
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.losses.anchor import AnchorOptions, anchor_classification, checked_options
from lightning_kp.losses.focal import check_focal, focal_loss
from lightning_kp.losses.mining import check_share, hardest_samples

ClassLossName = Literal["ce", "bce", "focal", "ohem", "anchor"]
ClassLoss = Callable[[Tensor, Tensor], Tensor]  # logits (B, C), labels (B,) -> scalar
RHO = 0.9  # Table 2.1


def class_loss(
    name: ClassLossName,
    options: AnchorOptions | None = None,
    kappa: float | None = None,
    hardest: float = RHO,
) -> ClassLoss:
    """Classification loss by name: a function of logits (B, C) and labels (B,) from 0 -> scalar.

    Args:
        name: ``ce`` (softmax cross entropy), ``bce`` (cross entropy of sigmoids), ``focal``, ``ohem`` (softmax
            cross entropy of the hardest samples of a batch) or ``anchor``.
        options: Options of ``anchor``; ``focal`` uses their gamma.
        kappa: Balance of the branches of ``focal``, in [0, 1]; None leaves both at 1.
        hardest: Share of a batch that ``ohem`` keeps, in (0, 1].

    Raises:
        ConfigurationError: The name is unknown, or an option is out of range.

    >>> import torch
    >>> class_loss("ce")(torch.zeros(1, 2), torch.tensor([0]))  # log 2
    tensor(0.6931)
    >>> class_loss("bce")(torch.zeros(1, 2), torch.tensor([0]))  # log 2 for each of two classes
    tensor(1.3863)
    """
    given = checked_options(options or AnchorOptions())
    check_focal(given.gamma, kappa)
    check_share(hardest)

    def focal(logits: Tensor, label: Tensor, gamma: float) -> Tensor:
        wide = logits if logits.dtype.itemsize > 2 else logits.float()
        return (
            focal_loss(wide, F.one_hot(label, logits.shape[1]).to(wide.dtype), gamma, kappa).sum(dim=1).mean()
        )

    known: dict[str, ClassLoss] = {
        "ce": F.cross_entropy,
        "bce": lambda logits, label: anchor_classification(logits, label, given._replace(gamma=0.0)).mean(),
        "focal": lambda logits, label: focal(logits, label, given.gamma),
        "ohem": lambda logits, label: hardest_samples(
            F.cross_entropy(logits, label, reduction="none"), hardest
        ),
        "anchor": lambda logits, label: anchor_classification(logits, label, given).mean(),
    }
    if name not in known:
        raise ConfigurationError(
            f"There is no classification loss called {name!r}.",
            remedy=did_you_mean(name, get_args(ClassLossName)),
        )
    return known[name]
