"""A method whose named points never move, for tests of scores."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from lightning_kp.batches import Images
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class Still(KeypointMethod):
    """Finds tail at (0, 0.6) and nose at (0, 0) in every image."""

    batch_type = Images
    weights_type = Weights
    keypoint_names = ("tail", "nose")

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        return torch.full((len(image), 2, 2, 2), 0.25)

    def forward(self, image: Tensor) -> Keypoints:
        points = torch.tensor([[[0.0, 0.6], [0.0, 0.0]]]).expand(len(image), 1, 2, 2)
        return Keypoints(points, torch.ones(len(image), 1, 2))
