"""Image classes from nothing but keypoints: how much of an image do its keypoints tell?

Harris, PhD thesis, Southampton 2024 (003), 4.6.3.3: a simple neural network classifies the keypoints that another one
found. The same serves the posture classes of Ryou, PhD thesis, Caltech 2022 (000), Figure 4.9. Here it has two hidden
layers on standardised points (ours; neither text states it). The network that finds the keypoints stays as it is.

An accuracy alone says little, since any few numbers of an image may act as a hash of it:
``python -m lightning_kp.studies.still_points`` puts principal components, random projections and an untrained network
beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.batches import ClassifiedImages
from lightning_kp.checkpoints import known_class, load_method
from lightning_kp.contract import agreed_classes
from lightning_kp.errors import CheckpointError, ConfigurationError
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, Method, OptimizerCallable, class_path
from lightning_kp.metrics.classes import TopError
from lightning_kp.nn.classifiers import POINT_WIDTH, PointClassifier


@dataclass(frozen=True)
class KeypointClassifierWeights:
    """Weight of the only term of :class:`KeypointClassifier`."""

    classification: float = 1.0


class KeypointClassifier(Method):
    """Classifies images by their keypoints (003, 4.6.3.3): images (B, 3, H, W) in [0, 1] -> logits (B, C).

    Logs the error in per cent, ``val/error``; in a test ``test/error``.

    Args:
        run: Run folder or checkpoint of the network that finds the keypoints. It becomes part of this method, whose
            own checkpoint needs it no more.
        classes: Class names, in the order of the labels; by default those of the datamodule.
        width: Units of each of the two hidden layers (ours: 256).
        discovered: In place of ``run``, the class path of a keypoint method; set by ``run``.
        settings: Options of that method; set by ``run``.
        keypoints: Number of its keypoints, of all animals; set by ``run``.
        weights: Weight of the loss.
        optimizer: Default: Adam for the classifier alone, learning rate 1e-3 (ours).
        scheduler: Default: none.

    Raises:
        ConfigurationError: Neither ``run`` nor ``discovered`` is given.
        CheckpointError: ``run`` holds no keypoint method.
    """

    batch_type = ClassifiedImages
    weights_type = KeypointClassifierWeights
    paper = "003 4.6.3.3 (Harris 2024); 000 Figure 4.9 (Ryou 2022)"
    has_test_metrics = True

    def __init__(
        self,
        run: str = "",
        classes: Sequence[str] = (),
        width: int = POINT_WIDTH,
        discovered: str = "",
        settings: dict[str, Any] | None = None,
        keypoints: int = 0,
        weights: KeypointClassifierWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.discovered = _trained(run) if run else _empty(discovered, settings or {})
        self.discovered.requires_grad_(False).eval()
        self.keypoints, self.width, self.classes = keypoints, width, tuple(classes)
        self.error = TopError()
        self.network: PointClassifier | None = None
        kind = type(self.discovered)
        kept = _without_sources(kind, dict(self.discovered.hparams))
        self.hparams.update(run="", discovered=class_path(kind), settings=kept)
        if classes and keypoints:
            self.classes = agreed_classes(self, classes)
            self._build()

    def setup(self, stage: str) -> None:
        """Use the classes of the datamodule, and raise ConfigurationError if it has others than the method."""
        super().setup(stage)
        self.classes = agreed_classes(self, self.classes)
        if self.network is None:
            self.keypoints = self.keypoints or self._count(getattr(self.trainer.datamodule, "size", 64))  # type: ignore[attr-defined]
            self._build()

    @torch.no_grad()
    def _count(self, side: int) -> int:
        """Keypoints of the network, of all animals, counted on an empty image."""
        found = self.discovered(torch.zeros(1, 3, side, side, device=self.device))
        return int(found.points.shape[1] * found.points.shape[2])

    def _build(self) -> None:
        self.network = PointClassifier(2 * self.keypoints, len(self.classes), self.width).to(self.device)
        # These settings are saved, so that the network can be rebuilt from a checkpoint alone.
        self.hparams.update(keypoints=self.keypoints, classes=list(self.classes))

    def train(self, mode: bool = True) -> "KeypointClassifier":
        """Set the mode of the classifier; the network that finds the keypoints stays in evaluation mode."""
        super().train(mode)
        self.discovered.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> logits (B, C)."""
        assert self.network is not None  # setup has built it
        with torch.no_grad():
            points = self.discovered(image).points
        logits: Tensor = self.network(points)
        return logits

    def terms(self, batch: ClassifiedImages) -> dict[str, Tensor]:
        """``classification``: cross entropy of images (B, 3, H, W) and labels (B,)."""
        logits = self(batch.image)
        if not self.training:
            self.error.update(logits.detach(), batch.label)
        return {"classification": F.cross_entropy(logits, batch.label)}

    def predict_step(self, batch: ClassifiedImages, batch_idx: int = 0) -> Tensor:
        """Class probabilities (B, C) of a batch of images (B, 3, H, W)."""
        probability: Tensor = self(batch.image).softmax(dim=1)
        return probability

    def on_validation_epoch_end(self) -> None:
        self._log_error("val")

    def on_test_epoch_end(self) -> None:
        self._log_error("test")

    def _log_error(self, stage: str) -> None:
        self.log(f"{stage}/error", self.error.compute(), prog_bar=True)
        self.error.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        assert self.network is not None  # setup has built it
        return torch.optim.Adam(self.network.parameters(), lr=1e-3)


def _trained(run: str) -> KeypointMethod:
    method = load_method(run)
    if not isinstance(method, KeypointMethod):
        raise CheckpointError(
            f"{run} holds a {type(method).__name__}, which finds no keypoints.",
            remedy="Give --model.run the folder of a run that does.",
        )
    return method


def _empty(discovered: str, settings: dict[str, Any]) -> KeypointMethod:
    """The network without its weights, which a checkpoint of the classifier brings."""
    if not discovered:
        raise ConfigurationError(
            "KeypointClassifier needs a network that finds keypoints.",
            remedy="Give --model.run=runs/NAME, the folder of its run.",
        )
    kind = known_class(discovered, KeypointMethod)  # type: ignore[type-abstract]
    if kind is None:
        raise CheckpointError(
            f"KeypointClassifier needs the keypoint method {discovered}, which is not installed.",
            remedy="Install the plug-in that provides it.",
        )
    return kind(**_without_sources(kind, settings))


def _without_sources(kind: type[KeypointMethod], settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that choose no initial weights, since a checkpoint brings the trained ones."""
    return settings | {name: False for name in kind.weight_sources if name in settings}
