"""Which of three sets of keypoints is the middle one of a warp? 003, 4.4.2.1 and 4.5.5.3, Table 4.8."""

from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.metrics.classes import TopError
from lightning_kp.tasks.task import Maps, Task
from lightning_kp.warps import random_splines, warp_image

SecondWarp = Literal["doubled", "twice"]
FRAMES = 3


def middle_frame_network(keypoints: int) -> nn.Sequential:
    """Table 4.8: three sets of points (B, 6 K) -> scores (B, 3)."""
    sizes = (2 * FRAMES * keypoints, 512, 1024, 2048, 512)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], FRAMES))


def draw_orders(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw orders of three frames: ``order`` (batch, 3), frame numbers by place; ``target`` (batch,), where 1 is."""
    order = torch.rand(batch, FRAMES, generator=generator).argsort(dim=1)
    return order, (order == 1).int().argmax(dim=1)


class MiddleFrame(Task):
    """Finds the middle of an image, its warp, and the further warp, by their keypoints alone (003, 4.5.5.3).

    Images (B, 3, H, W) are warped by thin-plate splines.  Figure: ``accuracy`` in per cent.

    Args:
        keypoints: Number of keypoints K.
        second: The further warp: the first with ``doubled`` parameters (4.5.5.3), or the first applied ``twice``
            (4.4.2.1).
        controls: Control points along each side (ours: 5, as in 4.3.2.1).
        deviation: Standard deviation of their displacements in normalised units (ours: 0.1).

    Raises:
        ConfigurationError: ``second`` is not known, or a number is too small.
    """

    name = "middle_frame"

    def __init__(
        self, keypoints: int, second: SecondWarp = "doubled", controls: int = 5, deviation: float = 0.1
    ) -> None:
        super().__init__()
        if second not in get_args(SecondWarp) or controls < 2 or not deviation > 0:
            raise ConfigurationError(
                f"The middle frame needs second=doubled or twice, at least 2 controls and a deviation above 0; got "
                f"second={second}, controls={controls}, deviation={deviation}.",
                remedy="Leave the options out to use doubled, 5 and 0.1.",
            )
        self.second: SecondWarp = second
        self.controls, self.deviation = controls, deviation
        self.network = middle_frame_network(keypoints)
        self.error = TopError()

    @torch.no_grad()
    def extra_views(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, 3, H, W) -> the middle frames and the last ones, (2, B, 3, H, W)."""
        splines = random_splines(len(images), self.controls, self.deviation, generator)
        splines = splines._replace(parameters=splines.parameters.to(images))
        middle = warp_image(images, splines)
        last = (
            warp_image(middle, splines) if self.second == "twice" else warp_image(images, splines.scaled(2))
        )
        return torch.stack((middle, last))

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        """Cross entropy () of keypoints (B, K, 2) and those of the two views, shuffled."""
        frames = torch.stack((keypoints, *maps.views), dim=1)
        order, target = (each.to(frames.device) for each in draw_orders(len(frames), generator))
        shuffled = frames.gather(1, order[..., None, None].expand_as(frames))
        scores = self.network(shuffled.flatten(1))
        if not self.training:
            self.error.update(scores.detach(), target)
        return F.cross_entropy(scores, target)

    def figures(self) -> dict[str, Tensor]:
        """``accuracy`` in per cent."""
        return {"accuracy": 100 - self.error.compute()}

    def reset(self) -> None:
        """Start the accuracy anew."""
        self.error.reset()
