"""Logs pictures of the keypoints during training, with every logger that accepts images."""

import math
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import to_pixels
from lightning_kp.images.drawing import draw_keypoints, tile
from lightning_kp.images.files import Image
from lightning_kp.method import KeypointMethod
from lightning_kp.runs.loggers import log_pictures

NAME = "val/keypoints"
MIN_SIDE_PX = 192  # ours: smaller frames are enlarged so that markers do not hide the animal


class KeypointOverlay(L.Callback):
    """Draws the keypoints onto a fixed set of validation frames and logs the picture.

    The frames come from batches spread evenly over the validation set, one frame per batch. The opacity of a
    marker is its confidence relative to the 90 % quantile of the picture. Without effect for methods that find no
    keypoints and for batches without a field ``image`` or ``future``.

    Args:
        frames: Frames in a picture.
        columns: Frames side by side.
        every_n_epochs: Epochs from one picture to the next. By default after epochs 1, 2, 4, 8, ... and the last
            one, since keypoints change most at the beginning.

    Raises:
        ConfigurationError: A number is below 1.
    """

    def __init__(self, frames: int = 8, columns: int = 4, every_n_epochs: int | None = None) -> None:
        super().__init__()
        if min(frames, columns, every_n_epochs or 1) < 1:
            raise ConfigurationError(
                f"KeypointOverlay needs numbers of at least 1, but got frames={frames}, columns={columns}, "
                f"every_n_epochs={every_n_epochs}.",
                remedy="To log nothing at all, use --trainer.logger=false.",
            )
        self.frames = frames
        self.columns = columns
        self.every_n_epochs = every_n_epochs
        self._images: list[Tensor] | None = None

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        wanted = isinstance(pl_module, KeypointMethod) and bool(trainer.loggers) and trainer.is_global_zero
        due = not trainer.sanity_checking and self._is_due(trainer.current_epoch + 1, trainer.max_epochs)
        self._images = [] if wanted and due else None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._images is None or len(self._images) == self.frames or dataloader_idx > 0:
            return
        stride = max(1, math.floor(_batches(trainer) / self.frames))
        if batch_idx % stride == 0 and (images := frames_of(batch)) is not None:
            self._images += list(images[: 1 if _batches(trainer) >= self.frames else self.frames])
            self._images = self._images[: self.frames]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._images:
            picture = draw(cast(KeypointMethod, pl_module), self._images, self.columns)
            log_pictures(trainer.loggers, NAME, picture, trainer.global_step)
        self._images = None

    def _is_due(self, epoch: int, last: int | None) -> bool:
        if self.every_n_epochs is not None:
            return epoch % self.every_n_epochs == 0
        return epoch == last or epoch & (epoch - 1) == 0


def frames_of(batch: Any) -> Tensor | None:
    """Images (B, 3, H, W) of a batch, in [0, 1]; the later frame of a pair. None if the batch has no images."""
    for name in ("future", "image"):
        value = getattr(batch, name, None)
        if isinstance(value, Tensor) and value.ndim == 4:
            return value
    return None


def draw(method: KeypointMethod, images: list[Tensor], columns: int) -> Image:
    """Draw the keypoints that the method finds onto images and arrange them as one picture.

    Args:
        method: In evaluation mode; finds keypoints in images (N, 3, H, W).
        images: N images (3, H, W) of one size, in [0, 1].
        columns: Images side by side.

    Returns:
        Picture (height, width, 3), uint8, in which each image has a longer side of about 192 px or more.
    """
    stack = torch.stack(images)
    with torch.inference_mode():
        found = method(stack)
    zoom = max(1, round(MIN_SIDE_PX / max(stack.shape[-2:])))
    points = to_pixels(found.points.float().cpu(), (stack.shape[-2] * zoom, stack.shape[-1] * zoom)).numpy()
    confidence = found.confidence.float().cpu().numpy()
    pixels = (stack.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    full = float(np.quantile(confidence, 0.9)) or 1.0
    drawn = [
        draw_keypoints(image.repeat(zoom, 0).repeat(zoom, 1), points_px, opacity, full_confidence=full)
        for image, points_px, opacity in zip(pixels, points, confidence, strict=True)
    ]
    return tile(drawn, columns)


def _batches(trainer: L.Trainer) -> float:
    counts = trainer.num_val_batches
    count = counts[0] if isinstance(counts, list) and counts else counts
    return float(count) if isinstance(count, (int, float)) and math.isfinite(count) else 1.0
