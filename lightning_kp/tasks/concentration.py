"""Concentration of heatmaps: the constraint of 003, 4.4.3 and 4.5.6, equation 4.2.

The equation compares the maps before the soft arg-max with the cleaned heatmaps, Gaussians at the keypoints.  Read to
the letter (``raw``) these are logits and peaks of 1, and at beta = 1 a map that equals its blob has its soft arg-max
within 1 % of the image's centre: every keypoint is drawn to the centre.  The default compares distributions instead.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import pixel_gaussians
from lightning_kp.tasks.task import Maps, Task

Reading = Literal["mass", "peak", "raw"]


def concentration_loss(
    logits: Tensor, heatmaps: Tensor, points: Tensor, sigma_px: float, reading: Reading = "mass"
) -> Tensor:
    """Squared difference () between maps and Gaussians at their keypoints, 003, equation 4.2.

    Summed over the map, averaged over images and keypoints.

    Args:
        logits: Maps before the soft arg-max (B, K, h, w).
        heatmaps: Maps after it (B, K, h, w), which sum to one.
        points: Keypoints (B, K, 2), normalised; the Gaussians follow them in the gradient too, unless detached.
        sigma_px: Standard deviation of the Gaussians in pixels of the map.
        reading: ``mass``: heatmaps and Gaussians that both sum to one; ``peak``: both with peak 1; ``raw``: logits and
            Gaussians with peak 1, as printed.
    """
    blobs = pixel_gaussians(points, (heatmaps.shape[-2], heatmaps.shape[-1]), sigma_px)
    maps = logits if reading == "raw" else heatmaps
    if reading == "mass":
        blobs = blobs / blobs.sum(dim=(-2, -1), keepdim=True)
    elif reading == "peak":
        maps = heatmaps / heatmaps.amax(dim=(-2, -1), keepdim=True)
    return (maps - blobs).square().sum(dim=(-2, -1)).mean()


class Concentration(Task):
    """Draws each heatmap (B, K, h, w) together into a Gaussian at its keypoint (003, 4.5.6).  It has no network.

    Args:
        keypoints: Number of keypoints K; not used.
        reading: What is compared: ``mass``, ``peak`` or ``raw``, see :func:`concentration_loss`.
        held: Keep the gradient out of the Gaussians, so that maps move to them and not they to the maps.
    """

    name = "concentration"

    def __init__(self, keypoints: int, reading: Reading = "mass", held: bool = False) -> None:
        super().__init__()
        if reading not in get_args(Reading):
            raise ConfigurationError(
                f"The reading of the concentration must be one of {', '.join(get_args(Reading))}, got {reading!r}.",
                remedy="Leave it out to use mass.",
            )
        self.reading: Reading = reading
        self.held = held

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss () of keypoints (B, K, 2)."""
        points = keypoints.detach() if self.held else keypoints
        return concentration_loss(maps.logits, maps.heatmaps, points, maps.sigma_px, self.reading)
