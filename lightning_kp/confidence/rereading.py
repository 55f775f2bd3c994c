"""Reads frames again after small shifts and turns: a point that a network is right about stays on the animal.

Mirror images are left out: what a network knows as the left ear is the right one there, so a keypoint that tells the
two apart would seem wrong.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.batches import FramePairs, floats_in_unit_range
from lightning_kp.geometry import full_precision
from lightning_kp.method import KeypointMethod
from lightning_kp.readout.instances import match_animals

Array = NDArray[np.float64]


class View(NamedTuple):
    """A copy of an image: turned by ``turn_deg``, enlarged by ``zoom`` and shifted by ``shift`` (x, y), normalised."""

    turn_deg: float
    zoom: float
    shift: tuple[float, float]

    def matrix(self) -> Tensor:
        """(2, 3): the copy shows at p what the image shows at ``matrix @ (p, 1)``."""
        angle = math.radians(self.turn_deg)
        cosine, sine = math.cos(angle) / self.zoom, math.sin(angle) / self.zoom
        return torch.tensor([[cosine, -sine, self.shift[0]], [sine, cosine, self.shift[1]]])


VIEWS = (
    View(15, 1.0, (0.03, -0.05)), View(-15, 1.0, (-0.055, 0.02)), View(40, 1.0, (0.0, 0.0)), View(0, 1.1, (0.02, 0.07)),
)  # fmt: skip
"""The copies (ours): no two share a turn, and no shift is a whole number of cells of usual heatmaps."""


@torch.no_grad()
def reread(method: KeypointMethod, image: Tensor) -> Tensor:
    """Images (B, 3, S, S) in [0, 1] -> points (B, V, I, K, 2), normalised, of each of :data:`VIEWS` moved back."""
    plain = method.locate(image).points
    found = []
    for view in VIEWS:
        matrix = view.matrix().to(image)
        with full_precision(image):
            grid = F.affine_grid(matrix.expand(len(image), -1, -1), list(image.shape), align_corners=False)
            copy = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
            points = method.locate(copy).points
            back = (points.flatten(1, 2) @ matrix[:, :2].T + matrix[:, 2]).view_as(points)
        found.append(match_animals(back, plain))
    return torch.stack(found, dim=1)


class Rereader:
    """Rereads the first frames of the batches that pass through :meth:`watch`."""

    def __init__(self, method: KeypointMethod) -> None:
        self.method = method
        self._found: list[Array] = []

    def watch(self, batches: Iterable[FramePairs]) -> Iterator[FramePairs]:
        """Yield the batches as they are."""
        was_training = self.method.training
        for batch in batches:
            self.method.eval()
            image = floats_in_unit_range(batch.frame).to(self.method.device, self.method.dtype)  # type: ignore[arg-type]
            self._found.append(reread(self.method, image).double().cpu().numpy())
            self.method.train(was_training)
            yield batch

    def points(self) -> Array:
        """Points (N, V, I, K, 2) of all batches so far, normalised."""
        return np.concatenate(self._found)
