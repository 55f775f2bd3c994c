"""The untrained twin of a network, which its scores are compared with."""

import torch

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.method import KeypointMethod


def untrained_like(method: KeypointMethod, images: torch.Tensor, seed: int = 0) -> KeypointMethod:
    """The same network with first weights; batch normalisation has seen ``images`` (B, 3, S, S) uint8 once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(method)(**dict(method.hparams)).to(method.device)
    with torch.inference_mode():
        fresh.train()
        for part in images.split(32):
            fresh.heatmaps(floats_in_unit_range(part.to(method.device)))
    return fresh.eval()
