"""Global pooling: average, max and leaky max, 004, 3.1, equations 1 to 3.

Each is a product of a feature map with a pooling vector.  Leaky max pooling gives the greatest value the weight 1 and
every other one -eps, so that a pattern that repeats lowers the output.  The layer uses the closed form
(1 + eps) max - eps sum, which needs no vector and costs two reductions.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError

Pooling = Literal["average", "max", "leaky"]
EPS = 0.1
"""All experiments of 004 (4.1)."""


def pooling_vector(maps: Tensor, pooling: Pooling, eps: float = EPS) -> Tensor:
    """Maps (B, C, h, w) -> the weight of each of their values, (B, C, h, w), as in equations 1 to 3.

    Where several values are greatest, the first in row-major order counts as the greatest.

    >>> pooling_vector(torch.tensor([[[[0.0, 2.0, 1.0]]]]), "leaky").flatten()
    tensor([-0.1000,  1.0000, -0.1000])
    """
    flat = maps.flatten(2)
    if pooling == "average":
        return torch.full_like(maps, 1 / flat.shape[-1])
    vector = torch.full_like(flat, -eps if pooling == "leaky" else 0.0)
    return vector.scatter(2, flat.argmax(dim=2, keepdim=True), 1.0).view_as(maps)


def global_pool(maps: Tensor, pooling: Pooling, eps: float = EPS) -> Tensor:
    """Maps (B, C, h, w) -> (B, C): the product of each map with its :func:`pooling_vector`.

    >>> global_pool(torch.ones(1, 1, 2, 2), "leaky")  # 1 - 3 eps, Figure 3 of 004
    tensor([[0.7000]])
    """
    flat = maps.flatten(2)
    if pooling == "average":
        return flat.mean(dim=2)
    # Of equal values one alone gets the gradient, as a pooling vector has it; that of amax would be shared.
    greatest = flat.max(dim=2).values
    return greatest if pooling == "max" else (1 + eps) * greatest - eps * flat.sum(dim=2)


class GlobalPooling(nn.Module):
    """Maps (B, C, h, w) -> (B, C, 1, 1), in place of the last pooling of a classifier.

    Args:
        pooling: ``average``, ``max`` or ``leaky``.
        eps: Weight of the values that are not the greatest; used by ``leaky``, at least 0.
        flat: Return (B, C).

    Raises:
        ConfigurationError: The pooling is not known, or ``eps`` is negative.
    """

    def __init__(self, pooling: Pooling = "leaky", eps: float = EPS, flat: bool = False) -> None:
        super().__init__()
        if pooling not in get_args(Pooling) or not eps >= 0:
            raise ConfigurationError(
                f"Pooling is {', '.join(get_args(Pooling))} with an eps of at least 0; got {pooling!r} and {eps}.",
                remedy="Use --model.pooling=leaky --model.eps=0.1.",
            )
        self.pooling: Pooling = pooling
        self.eps, self.flat = eps, flat

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) -> (B, C, 1, 1), or (B, C)."""
        pooled = global_pool(maps, self.pooling, self.eps)
        return pooled if self.flat else pooled[..., None, None]


def replace_pooling(network: nn.Module, name: str, pooling: Pooling, eps: float = EPS) -> None:
    """Give a classifier another global pooling, in place; ``average`` leaves the network as it is.

    Knows the networks of torchvision that have a global ``avgpool``, those of timm that have a ``global_pool``, and our
    CIFAR networks (``pool``).  Raises ConfigurationError for other networks, which ``name`` names.
    """
    layer = GlobalPooling(pooling, eps)
    if pooling == "average":
        return
    for owner in (network, getattr(network, "head", None)):
        for attribute in ("pool", "avgpool", "global_pool"):
            old: Any = getattr(owner, attribute, None)
            if isinstance(old, GlobalPooling):
                layer.flat = old.flat
            elif isinstance(old, nn.AdaptiveAvgPool2d) and old.output_size in (1, (1, 1)):
                layer.flat = False
            elif attribute == "global_pool" and isinstance(getattr(old, "flatten", None), nn.Module):
                layer.flat = isinstance(old.flatten, nn.Flatten)
            else:
                continue
            setattr(owner, attribute, layer)
            return
    raise ConfigurationError(
        f"The network '{name}' has no global average pooling that could be replaced.",
        remedy="Use a ResNet, such as resnet18 or cifar_resnet20, or --model.pooling=average.",
    )
