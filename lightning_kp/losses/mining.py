"""Hard example mining: the loss of the hardest samples or keypoints alone (000, section 2.3 and Table 2.1).

OHEM (Shrivastava et al. 2016) picks samples of a batch, OHKM (Chen et al. 2017) keypoints of an animal.
"""

import math

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError

SLACK = 1e-4  # a share is rounded to binary: 0.9 of 10 must not become 10


def hardest_samples(loss: Tensor, share: float) -> Tensor:
    """Losses (B,) -> mean over the ``share`` in (0, 1] of the samples that have the highest (OHEM)."""
    check_share(share)
    count = max(1, math.ceil(len(loss) * share - SLACK))
    return loss.topk(count).values.mean()


def hardest_keypoints(loss: Tensor, weight: Tensor, share: float) -> Tensor:
    """Losses (B, K) and weights (B, K) >= 0 -> mean over each animal's hardest keypoints (OHKM).

    Of an animal's keypoints with a weight above 0 the ``share`` with the highest loss is kept, at least one.
    0 where none has a weight.
    """
    check_share(share)
    present = weight > 0
    order = torch.where(present, loss.detach(), -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    kept = (present.sum(dim=1, keepdim=True) * share - SLACK).ceil().clamp_min(1)
    weight = torch.where(present & (order < kept), weight, 0)
    return (torch.where(weight > 0, loss, 0) * weight).sum() / weight.sum().clamp_min(
        torch.finfo(weight.dtype).tiny
    )


def check_share(share: float) -> None:
    """Refuse a share that keeps nothing, or more than there is."""
    if not 0 < share <= 1:
        raise ConfigurationError(
            f"Mining keeps a share of the losses; {share} was given.",
            remedy="Give a share in (0, 1], such as 0.9.",
        )
