"""The referential game of 003, 4.4.2.1 and 4.5.5.2: which of several images do the keypoints come from?

Deviation: above 28 px, the side that the paper's toy images have, the last feature maps are averaged to 28 x 28 before
the linear layers of Table 4.7, which would have 268 million weights for images of 128 px.  Smaller images are brought
to the same size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.metrics.classes import TopError
from lightning_kp.tasks.task import Maps, Task

SIDE = 28


def game_network(keypoints: int, images: int) -> nn.Sequential:
    """Table 4.7: stacked maps and images (B, K + 3 d, H, W) -> scores (B, d)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((keypoints + 3 * images, 64), (64, 128), (128, 32), (32, 4)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(SIDE), nn.Flatten(),
        nn.Linear(4 * SIDE * SIDE, 4096), nn.ReLU(inplace=True),
        nn.Linear(4096, 256), nn.ReLU(inplace=True), nn.Linear(256, images),
    )  # fmt: skip


def draw_line_up(batch: int, images: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw for each image which images of the batch it stands among, and where.

    Returns:
        ``rows`` (batch, images), numbers of images of the batch: one is the image itself, all others differ from it
        and from each other; ``target`` (batch,), the column of the image itself.
    """
    shifts = torch.randperm(batch - 1, generator=generator)[: images - 1] + 1
    own = torch.arange(batch).unsqueeze(1)
    rows = torch.cat((own, (own + shifts) % batch), dim=1)
    target = torch.randint(images, (batch,), generator=generator)
    # The image itself, in column 0, changes places with what stands at its target.
    columns = torch.arange(images).expand(batch, images).clone()
    columns[own.squeeze(1), target] = 0
    columns[:, 0] = target
    columns[target == 0, 0] = 0
    return rows.gather(1, columns), target


class ReferentialGame(Task):
    """Tells the image of the keypoints from others of the batch: a multi-margin loss with margin 1 (003, 4.5.5.2).

    The network reads cleaned heatmaps (B, K, H, W) and d images (B, 3, H, W).  Figure: ``accuracy`` in per cent; a tie
    of two scores counts as wrong.

    Args:
        keypoints: Number of keypoints K.
        images: Images d to choose from, the own one included (003: typically 2).

    Raises:
        ConfigurationError: Fewer than 2 images, or (in the loss) more than a batch has.
    """

    name = "game"

    def __init__(self, keypoints: int, images: int = 2) -> None:
        super().__init__()
        if images < 2:
            raise ConfigurationError(
                f"The game needs at least 2 images to choose from, got {images}.",
                remedy="Leave the option out to use 2.",
            )
        self.images = self.least_batch = images
        self.network = game_network(keypoints, images)
        self.error = TopError()

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        """Loss () of keypoints (B, K, 2) that were found in images (B, 3, H, W)."""
        rows, target = (each.to(images.device) for each in draw_line_up(len(images), self.images, generator))
        line_up = images[rows].flatten(1, 2)
        scores: Tensor = self.network(torch.cat((maps.cleaned, line_up), dim=1))
        if not self.training:
            self.error.update(scores.detach(), target)
        return F.multi_margin_loss(scores, target)

    def figures(self) -> dict[str, Tensor]:
        """``accuracy`` in per cent."""
        return {"accuracy": 100 - self.error.compute()}

    def reset(self) -> None:
        """Start the accuracy anew."""
        self.error.reset()
