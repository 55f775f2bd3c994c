"""Hard example mining: only the hardest samples or keypoints count (000, section 2.3 and Table 2.1).

OHEM (Shrivastava et al. 2016) selects samples of a batch, OHKM (Chen et al. 2017) keypoints of an animal.
"""

import math

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError

ROUNDING_SLACK = 1e-4  # a share is not exact in binary, and 0.9 of 10 must not become 10


def hardest_samples(loss: Tensor, share: float) -> Tensor:
    """Losses (B,) -> mean loss of the hardest ``share`` in (0, 1] of the samples (OHEM).

    At least one sample is kept. Raises ConfigurationError for a share out of range.

    >>> hardest_samples(torch.tensor([1.0, 4.0, 2.0, 3.0]), share=0.5)
    tensor(3.5000)
    """
    check_share(share)
    count = max(1, math.ceil(len(loss) * share - ROUNDING_SLACK))
    return loss.topk(count).values.mean()


def hardest_keypoints(loss: Tensor, weight: Tensor, share: float) -> Tensor:
    """Losses (B, K) and weights (B, K) >= 0 -> weighted mean loss of each animal's hardest keypoints (OHKM).

    Of each animal's keypoints with a weight above 0, the ``share`` in (0, 1] with the highest loss is kept, but at
    least one. The result is 0 if no keypoint has a weight. Raises ConfigurationError for a share out of range.

    >>> hardest_keypoints(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]]), share=0.5)
    tensor(3.)
    """
    check_share(share)
    present = weight > 0
    order = torch.where(present, loss.detach(), -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
    kept = (present.sum(dim=1, keepdim=True) * share - ROUNDING_SLACK).ceil().clamp_min(1)
    weight = torch.where(present & (order < kept), weight, 0)
    return (torch.where(weight > 0, loss, 0) * weight).sum() / weight.sum().clamp_min(
        torch.finfo(weight.dtype).tiny
    )


def check_share(share: float) -> None:
    """Raise ConfigurationError unless ``share`` is in (0, 1]."""
    if not 0 < share <= 1:
        raise ConfigurationError(
            f"Hard example mining keeps a share of the losses in (0, 1]; {share} was given.",
            remedy="Give for example hardest=0.9.",
        )
