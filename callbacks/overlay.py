"""Pictures of the keypoints while they are being discovered, for every logger that takes images."""

import math
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import to_pixels
from lightning_kp.images.drawing import Image, draw_keypoints, tile
from lightning_kp.method import KeypointMethod
from lightning_kp.runs.loggers import log_pictures

NAME = "val/keypoints"
LEAST_SIDE_PX = 192  # ours: smaller frames are enlarged, or markers would hide the animal


class KeypointOverlay(L.Callback):
    """Draws the keypoints onto the same validation frames again and again, and logs the picture.

    The frames come from batches spread evenly over the validation set, one each.  Opacity is confidence
    relative to the picture's 90 % quantile.  A method that finds no keypoints, or batches without a field
    ``image`` or ``future``, leave it without effect.

    Args:
        frames: Frames in a picture.
        columns: Frames side by side.
        every_n_epochs: Distance of pictures; default: after epochs 1, 2, 4, 8, ... and the last one, since
            keypoints change most in the beginning.
    """

    def __init__(self, frames: int = 8, columns: int = 4, every_n_epochs: int | None = None) -> None:
        super().__init__()
        if min(frames, columns, every_n_epochs or 1) < 1:
            raise ConfigurationError(
                f"KeypointOverlay needs numbers of at least 1, got frames={frames}, columns={columns}, "
                f"every_n_epochs={every_n_epochs}.",
                remedy="--trainer.logger=false logs nothing at all.",
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
    """The images (B, 3, H, W) of a batch, in [0, 1]; of a pair the later frame; None where there are none."""
    for name in ("future", "image"):
        held = getattr(batch, name, None)
        if isinstance(held, Tensor) and held.ndim == 4:
            return held
    return None


def draw(method: KeypointMethod, images: list[Tensor], columns: int) -> Image:
    """Images (3, H, W) in [0, 1] of one size with their keypoints, as one picture (h, w, 3)."""
    stack = torch.stack(images)
    with torch.inference_mode():
        found = method(stack)
    zoom = max(1, round(LEAST_SIDE_PX / max(stack.shape[-2:])))
    points = to_pixels(found.points.float().cpu(), (stack.shape[-2] * zoom, stack.shape[-1] * zoom)).numpy()
    confidence = found.confidence.float().cpu().numpy()
    pixels = (stack.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    full = float(np.quantile(confidence, 0.9)) or 1.0
    drawn = [
        draw_keypoints(image.repeat(zoom, 0).repeat(zoom, 1), where, sure, full_confidence=full)
        for image, where, sure in zip(pixels, points, confidence, strict=True)
    ]
    return tile(drawn, columns)


def _batches(trainer: L.Trainer) -> float:
    counts = trainer.num_val_batches
    count = counts[0] if isinstance(counts, list) and counts else counts
    return float(count) if isinstance(count, (int, float)) and math.isfinite(count) else 1.0
