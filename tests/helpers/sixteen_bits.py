"""Checks of a method under mixed precision."""

from typing import Any

import torch

from lightning_kp.method import KeypointMethod


def agrees_in_sixteen_bits(method: KeypointMethod, batch: Any, *, rtol: float) -> None:
    """Terms equal those in 32 bits up to rounding, and points have 32 bits."""
    exact = method.terms(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = method.terms(batch)
        found = method.eval()(batch.image)
    assert found.points.dtype == torch.float32
    assert rounded.keys() == exact.keys()
    for name, term in exact.items():
        torch.testing.assert_close(rounded[name], term, rtol=rtol, atol=0.02)
