"""The untrained twin of a network: the baseline that a trained network is compared with."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.method import KeypointMethod

BATCH_SIZE = 32


def untrained_like(
    method: KeypointMethod, images: Tensor | Iterable[Tensor], seed: int = 0
) -> KeypointMethod:
    """Create the same network with initial weights.

    An untrained network has no statistics of batch normalisation yet.  They are taken from ``images``, which pass
    through the network once in training mode, as in any training.  The random state of the caller is left unchanged.

    Args:
        method: The trained network; it is not changed.
        images: Images (N, 3, H, W) uint8, or batches of such images.
        seed: Seed of the initial weights.

    Returns:
        The twin, on the device of ``method`` and in evaluation mode.
    """
    batches = images.split(BATCH_SIZE) if isinstance(images, Tensor) else images
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = type(method)(**dict(method.hparams)).to(method.device)
    with torch.inference_mode():
        twin.train()
        for batch in batches:
            twin.heatmaps(floats_in_unit_range(batch.to(method.device)))
    return twin.eval()
