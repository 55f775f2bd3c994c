"""Image classification with the anchor loss and the losses that the paper compares with it.

Source: 000, chapter 2 (Ryou, Jeong and Perona, Anchor Loss, ICCV 2019): equations 2.1, 2.2 and 2.15 to 2.18,
Tables 2.1, 2.3 and 2.8.

Deviations: the paper's text does not state momentum, weight decay and batch size; the values 0.9, 1e-4 and 128 are
those of He et al. (2016, section 4.2). Images are normalised by ImageNet statistics. The softmax cross entropy of the
first epochs is a separate term, and validation uses the final loss from the first epoch on. The curriculum callback
is not used for it, because that callback starts terms and this term ends.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.batches import ClassifiedImages
from lightning_kp.contract import agreed_classes
from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.anchor import MARGIN, AnchorDesign, AnchorOptions
from lightning_kp.losses.class_losses import RHO, ClassLossName, class_loss
from lightning_kp.method import LRSchedulerCallable, Method, OptimizerCallable
from lightning_kp.metrics.classes import TopError
from lightning_kp.nn.classifiers import build_classifier
from lightning_kp.nn.pooling import EPS, Pooling
from lightning_kp.nn.weights import Pretrained

TOP = 5
SOFTMAX_LOSSES = ("ce", "ohem")
DROPS = (160, 180)  # epochs; section 2.5, Implementation details


@dataclass(frozen=True)
class AnchorWeights:
    """Weights of :class:`AnchorClassifier`: the chosen loss, and the softmax cross entropy of the first epochs."""

    classification: float = 1.0
    warmup: float = 1.0


class ClassPrediction(NamedTuple):
    """Class probabilities of a batch.

    ``probability`` (B, C) in [0, 1], from sigmoids or, for the losses of a softmax, from a softmax; ``label`` (B,)
    as in :class:`lightning_kp.batches.ClassifiedImages`.
    """

    probability: Tensor
    label: Tensor


class AnchorClassifier(Method):
    """Image classifier: images (B, 3, H, W) in [0, 1] -> logits (B, C).

    Logs the top-1 and top-5 error in per cent, ``val/error`` and ``val/error_top5``; in a test, ``test/error`` and
    ``test/error_top5``.

    Args:
        network: ``cifar_resnet110`` (6n + 2 layers), a torchvision model, or ``timm/NAME``.
        classes: Class names, in the order of the labels; by default those of the datamodule.
        pretrained: ImageNet weights (true), the path of a state dict, or none (false).
        loss: ``anchor``, ``ce`` (softmax), ``bce`` (sigmoids), ``focal`` or ``ohem``.
        gamma: Exponent of the anchor and the focal loss, at least 0 (Table 2.1: 0.5).
        delta: Margin of the anchor, in [0, 1] (section 2.4).
        design: Classes that the anchor loss modulates: ``background`` (the paper's choice), ``target`` or ``both``.
        anchor: A fixed anchor probability in place of the predicted one (Table 2.3).
        detach: Keep the gradient out of the anchor.
        kappa: Balance of the branches of the focal loss, in [0, 1].
        hardest: Share of a batch that ``ohem`` keeps, in (0, 1] (Table 2.1: 0.9).
        warmup_epochs: Epochs of softmax cross entropy before the chosen loss (section 2.5: 5).
        pooling: Global pooling before the last layer: ``average`` (the paper's networks), ``max`` or ``leaky`` (004).
        eps: That of leaky max pooling (004: 0.1).
        weights: Weights of the terms.
        optimizer: Default: SGD with learning rate 0.1, momentum 0.9 and weight decay 1e-4.
        scheduler: Default, with the default optimiser: the learning rate falls to a tenth at epoch 160 and again
            at epoch 180.
    """

    batch_type = ClassifiedImages
    weights_type = AnchorWeights
    paper = "000 ch. 2 (Ryou 2022; Ryou, Jeong and Perona 2019)"
    has_test_metrics = True

    def __init__(
        self,
        network: str = "cifar_resnet110",
        classes: Sequence[str] = (),
        pretrained: Pretrained = False,
        loss: ClassLossName = "anchor",
        gamma: float = 0.5,
        delta: float = MARGIN,
        design: AnchorDesign = "background",
        anchor: float | None = None,
        detach: bool = True,
        kappa: float | None = None,
        hardest: float = RHO,
        warmup_epochs: int = 0,
        pooling: Pooling = "average",
        eps: float = EPS,
        weights: AnchorWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.network_name, self.pretrained = network, pretrained
        self.classes, self.warmup_epochs = tuple(classes), warmup_epochs
        self.pooling: Pooling = pooling
        self.eps = eps
        options = AnchorOptions(gamma, delta, design, anchor, detach)
        self.loss = class_loss(loss, options, kappa, hardest)
        self.is_softmax = loss in SOFTMAX_LOSSES
        self.error, self.error_top5 = TopError(), TopError(TOP)
        self.network: nn.Module | None = None
        if classes:
            self.classes = agreed_classes(self, classes)
            self._build()

    def setup(self, stage: str) -> None:
        """Use the classes of the datamodule, and raise ConfigurationError if it has others than the method."""
        super().setup(stage)
        self.classes = agreed_classes(self, self.classes)
        if self.network is None:
            self._build()

    def _build(self) -> None:
        network = build_classifier(
            self.network_name, len(self.classes), self.pretrained, self.pooling, self.eps
        )
        self.network = network.to(self.device)
        # The classes are saved, so that the network can be rebuilt from a checkpoint alone.
        self.hparams.update(classes=list(self.classes))

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> logits (B, C).

        Raises ConfigurationError if the network does not accept images of this size.
        """
        assert self.network is not None  # setup has built it
        try:
            logits: Tensor = self.network(image)
        except (RuntimeError, AssertionError) as error:
            # Networks word this error differently; all mention "size" or "height".
            if isinstance(error, torch.OutOfMemoryError) or not re.search("size|height", str(error)):
                raise
            side = "x".join(map(str, image.shape[-2:]))
            raise ConfigurationError(
                f"The network '{self.network_name}' cannot process images of {side} px "
                f"({str(error).splitlines()[0]}).",
                remedy="Set --data.size to the size that it was designed for, such as 224.",
            ) from error
        return logits

    def terms(self, batch: ClassifiedImages) -> dict[str, Tensor]:
        """``classification``, or ``warmup`` in the first epochs of training, from images (B, 3, H, W)."""
        logits = self(batch.image)
        if not self.training:
            for error in (self.error, self.error_top5):
                error.update(logits.detach(), batch.label)
        elif self.current_epoch < self.warmup_epochs:
            return {"warmup": F.cross_entropy(logits, batch.label)}
        return {"classification": self.loss(logits, batch.label)}

    def predict_step(self, batch: ClassifiedImages, batch_idx: int = 0) -> ClassPrediction:
        """Class probabilities (B, C) of a batch of images (B, 3, H, W)."""
        logits = self(batch.image)
        return ClassPrediction(logits.softmax(dim=1) if self.is_softmax else logits.sigmoid(), batch.label)

    def on_validation_epoch_end(self) -> None:
        self._log_errors("val")

    def on_test_epoch_end(self) -> None:
        self._log_errors("test")

    def _log_errors(self, stage: str) -> None:
        self.log(f"{stage}/error", self.error.compute(), prog_bar=True)
        self.log(f"{stage}/error_top{TOP}", self.error_top5.compute())
        self.error.reset()
        self.error_top5.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def configure_optimizers(self) -> Any:
        """Use the paper's schedule with the paper's optimiser only; another optimiser needs its own."""
        if self._optimizer is not None or self._scheduler is not None:
            return super().configure_optimizers()
        optimizer = self.default_optimizer()
        drops = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=DROPS, gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": drops}
