"""Behaviour classification from keypoints over time.

Source: 000, 5.5 and 5.8 (behaviour classification on CalMS21 and Fly vs. Fly). Network and hyper-parameters are those
of the benchmark of Sun, Karigo et al., The Multi-Agent Behavior Dataset (CalMS21), NeurIPS 2021, task 1: a window of
100 frames before and 100 after, every second frame (every frame for flies); three blocks of convolution over time
with 128, 64 and 32 channels and width 5; dropout 0.5; Adam with learning rate 1e-3, batches of 128, 15 epochs, cross
entropy.

Deviations:

- Any number of features and behaviours is possible.
- Rare behaviours can be drawn more often (an option of the datamodule, off for CalMS21 as in the benchmark).
- The running averages of batch normalisation adapt within tens of steps (momentum 0.1) rather than hundreds (0.01 in
  Keras), because recordings may be short. That of the input has a smaller epsilon, for features that vary little.
- Beyond the ends of a recording all features are 0 (for positions the centre of the frame); the paper does not say.
- Metrics are also reported for each behaviour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.batches import LabelledWindows
from lightning_kp.errors import ConfigurationError
from lightning_kp.method import LRSchedulerCallable, Method, OptimizerCallable
from lightning_kp.metrics.behaviour import BehaviourScores
from lightning_kp.nn.temporal import WindowClassifier, output_length


@dataclass(frozen=True)
class BehaviourWeights:
    """Weight of the only term of :class:`BehaviourClassifier`."""

    classification: float = 1.0


class BehaviourPrediction(NamedTuple):
    """Behaviour probabilities of a batch of windows.

    ``probability`` (B, C) in [0, 1]; ``video`` and ``index`` (B,) as in
    :class:`lightning_kp.batches.LabelledWindows`.
    """

    probability: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not needed


class BehaviourClassifier(Method):
    """Classifies the behaviour in each frame from a window of features: windows (B, T, F) -> logits (B, C).

    Args:
        features: Features per frame; 0 uses the number of the datamodule.
        length: Frames per window; 0 uses the length of the datamodule.
        behaviours: Behaviour names, in the order of the labels; by default those of the datamodule.
        background: The behaviour that means "nothing of interest"; it is left out of the mean average precision.
        widths: Channels of the convolutions (as CalMS21).
        kernel: Frames that a convolution covers (as CalMS21).
        dropout: Probability of dropping a value after each block (as CalMS21).
        weights: Weight of the loss.
        optimizer: Default: Adam, learning rate 1e-3 (as CalMS21).
        scheduler: Default: none.
    """

    batch_type = LabelledWindows
    weights_type = BehaviourWeights
    paper = "000 ch. 5.5, 5.8 (Ryou 2022; Sun, Karigo et al. 2021, task 1)"

    def __init__(
        self,
        features: int = 0,
        length: int = 0,
        behaviours: Sequence[str] = (),
        background: str | None = None,
        widths: Sequence[int] = (128, 64, 32),
        kernel: int = 5,
        dropout: float = 0.5,
        weights: BehaviourWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.features, self.length, self.background = features, length, background
        self.behaviours, self.widths = tuple(behaviours), tuple(widths)
        self.kernel, self.dropout = kernel, dropout
        self.network: nn.Module | None = None
        if features and length and behaviours:
            self._build()

    def setup(self, stage: str) -> None:
        """Complete the options from the datamodule, and raise ConfigurationError if they do not fit it."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        offered: dict[str, Any] = {
            "features": getattr(data, "num_features", 0),
            "length": getattr(data, "window_length", 0),
            "behaviours": tuple(getattr(data, "behaviours", ())),
        }
        for name, value in offered.items():
            own = getattr(self, name)
            if not own:
                setattr(self, name, value)
            elif value and own != value:
                raise ConfigurationError(
                    f"{type(self).__name__} was built for {name} {own}; {type(data).__name__} yields {value}.",
                    remedy=f"Leave --model.{name} out, or train again.",
                )
        self.background = self.background or getattr(data, "background", None)
        if self.network is None:
            self._build()

    def _build(self) -> None:
        if not (self.features and self.length and self.behaviours):
            raise ConfigurationError(
                "BehaviourClassifier needs the number of features, the length of the window and the behaviours.",
                remedy="Use a datamodule of behaviours, or give --model.features, --model.length and "
                "--model.behaviours.",
            )
        if output_length(self.length, len(self.widths), self.kernel) < 1:
            raise ConfigurationError(
                f"A window of {self.length} frames is too short for {len(self.widths)} blocks of width "
                f"{self.kernel}.",
                remedy="Widen it with --data.past=100 --data.future=100, or give fewer --model.widths.",
            )
        self.network = WindowClassifier(
            self.features, self.length, len(self.behaviours), self.widths, self.kernel, self.dropout
        ).to(self.device)
        self.scores = BehaviourScores(self.behaviours, self.background)
        # These settings are saved, so that the network can be rebuilt from a checkpoint alone.
        found = ("features", "length", "background")
        self.hparams.update({name: getattr(self, name) for name in found})
        self.hparams.update(behaviours=list(self.behaviours), widths=list(self.widths))

    def forward(self, window: Tensor) -> Tensor:
        """Windows (B, T, F) -> logits (B, C)."""
        assert self.network is not None  # setup has built it
        logits: Tensor = self.network(window)
        return logits

    def terms(self, batch: LabelledWindows) -> dict[str, Tensor]:
        """``classification``: cross entropy of windows (B, T, F) and behaviours (B,)."""
        logits = self(batch.window)
        if not self.training:
            self.scores.update(logits.detach().softmax(dim=1), batch.behaviour)
        return {"classification": F.cross_entropy(logits, batch.behaviour)}

    def predict_step(self, batch: LabelledWindows, batch_idx: int = 0) -> BehaviourPrediction:
        """Behaviour probabilities (B, C) of a batch of windows (B, T, F)."""
        return BehaviourPrediction(self(batch.window).softmax(dim=1), batch.video, batch.index)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def _log_scores(self, stage: str) -> None:
        figures = self.scores.compute()
        self.scores.reset()
        self.log_dict({f"{stage}_{name}": value for name, value in figures.as_metrics().items()})

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)
