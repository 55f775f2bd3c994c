"""Local and global descriptors, which give the keypoints of photographs the texture around them (003, 4.5.5.1).

A square of p pixels around each keypoint is cut out, its corners outside of the circle are set to 0, and a network with
a bottleneck (Table 4.6) turns it into a patch of p x p values, which is put back where the crop was.  Cutting and
putting back are bilinear, so that keypoints between pixels get a gradient; the second is the transpose of the first.

Deviation: 4.4.2.1 names a global descriptor without a table.  Here the whole image, averaged to p x p cells, passes
through a network of the same layout, and its patch is enlarged to one more map.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import to_pixels


def descriptor_network(patch: int, values: int) -> nn.Sequential:
    """Table 4.6: patches (N, 3 p p) -> descriptors of v ``values`` -> patches (N, p p) in (0, 1)."""
    sizes = (3 * patch**2, 512, 256, values, 8 * values, 16 * values)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], patch**2), nn.Sigmoid())


def circle(patch: int) -> Tensor:
    """A mask (p, p): 1 where the centre of a cell lies in the circle with the diameter p, else 0.

    >>> circle(3).int().sum().item(), circle(5).int()[0].tolist()
    (9, [0, 1, 1, 1, 0])
    """
    away = torch.arange(patch) - (patch - 1) / 2
    return (away.square().unsqueeze(1) + away.square() <= (patch / 2) ** 2).float()


def bilinear_weights(centre_px: Tensor, patch: int, size: int) -> Tensor:
    """Weights (B, K, p, S) of ``size`` S pixels at p positions, one pixel apart, around centres (B, K) in pixels.

    >>> bilinear_weights(torch.tensor([[1.25]]), 1, 4).tolist()
    [[[[0.0, 0.75, 0.25, 0.0]]]]
    """
    step = torch.arange(patch, dtype=centre_px.dtype, device=centre_px.device) - (patch - 1) / 2
    position = (centre_px.unsqueeze(-1) + step).unsqueeze(-1)
    pixel = torch.arange(size, dtype=centre_px.dtype, device=centre_px.device)
    return (1 - (position - pixel).abs()).clamp_min(0)


class Descriptors(nn.Module):
    """Images (B, 3, H, W) and keypoints (B, K, 2), normalised -> textured heatmaps (B, K, H, W), or K + 1 of them.

    Args:
        patch: Side p of the crop in pixels (ours: 9).
        values: Size v of the descriptor (ours: 8).
        whole: Add a map of the global descriptor.

    Raises:
        ConfigurationError: A size is below 1.
    """

    mask: Tensor

    def __init__(self, patch: int = 9, values: int = 8, whole: bool = False) -> None:
        super().__init__()
        if min(patch, values) < 1:
            raise ConfigurationError(
                f"Descriptors need a patch and a number of values of at least 1, got {patch} and {values}.",
                remedy="Leave the options out to use 9 and 8.",
            )
        self.patch = patch
        self.local = descriptor_network(patch, values)
        self.whole = descriptor_network(patch, values) if whole else None
        self.register_buffer("mask", circle(patch), persistent=False)

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Images (B, 3, H, W) and points (B, K, 2) -> maps (B, K, H, W), with the global one (B, K + 1, H, W)."""
        height, width = image.shape[-2:]
        x, y = to_pixels(points, (height, width)).unbind(-1)
        down, across = bilinear_weights(y, self.patch, height), bilinear_weights(x, self.patch, width)
        crops = torch.einsum("bkph,bchw,bkqw->bkcpq", down, image, across) * self.mask
        patches = self.local(crops.flatten(2)).unflatten(-1, (self.patch, self.patch)) * self.mask
        maps = torch.einsum("bkph,bkpq,bkqw->bkhw", down, patches, across)
        return maps if self.whole is None else torch.cat((maps, self._global(image)), dim=1)

    def _global(self, image: Tensor) -> Tensor:
        assert self.whole is not None
        small = F.adaptive_avg_pool2d(image, self.patch).flatten(1)
        patch = self.whole(small).view(-1, 1, self.patch, self.patch)
        return F.interpolate(patch, image.shape[-2:], mode="bilinear")
