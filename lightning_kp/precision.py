"""Coordinates in 32 bits, whatever precision the trainer has: in 16 they are off by pixels."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of ``like``; none at all without autocast, for exported graphs."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def widened(values: Tensor) -> Tensor:
    """Values of 16 bits in 32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
