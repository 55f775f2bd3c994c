"""Actions of people from sequences of 2-D poses.

Harris, PhD thesis, Southampton 2024 (003), section 4.6.4.4: sequences of 32 poses pass through an LSTM, and the hidden
state of its last layer after the last pose is classified. The text states neither its size nor its optimiser; two
layers of 128 units, dropout and Adam are ours. Features are standardised by batch normalisation (ours).

Windows of a recording vote in validation and tests, in addition to the paper's single windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.batches import LabelledWindows
from lightning_kp.contract import agreed_classes, datamodule_of
from lightning_kp.errors import ConfigurationError
from lightning_kp.method import LRSchedulerCallable, Method, OptimizerCallable
from lightning_kp.metrics.classes import TopError, VotedError
from lightning_kp.nn.temporal import SequenceClassifier


@dataclass(frozen=True)
class ActionLSTMWeights:
    """Weight of the only term of :class:`ActionLSTM`."""

    classification: float = 1.0


class ActionLSTM(Method):
    """Classifies the action in windows of poses (003, 4.6.4.4): windows (B, T, F) -> logits (B, C).

    Logs the error in per cent of single windows (``val/error``) and of recordings, whose windows vote
    (``val/error_voted``); in a test ``test/error`` and ``test/error_voted``.

    Args:
        features: Numbers F of a pose; 0 uses those of the datamodule.
        classes: Actions, in the order of the labels; by default those of the datamodule.
        hidden: Units of each layer (ours: 128).
        layers: Layers of the LSTM (ours: 2).
        dropout: Probability of dropping a value between layers and before the last one (ours: 0.5).
        weights: Weight of the loss.
        optimizer: Default: Adam, learning rate 1e-3 (ours).
        scheduler: Default: none.
    """

    batch_type = LabelledWindows
    weights_type = ActionLSTMWeights
    paper = "003 4.6.4.4 (Harris 2024)"
    has_test_metrics = True

    def __init__(
        self,
        features: int = 0,
        classes: Sequence[str] = (),
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.5,
        weights: ActionLSTMWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        if min(hidden, layers) < 1 or not 0 <= dropout < 1:
            raise ConfigurationError(
                f"ActionLSTM needs hidden and layers of at least 1 and a dropout from 0 to below 1; got {hidden}, "
                f"{layers} and {dropout}.",
                remedy="Leave the options out to use 128, 2 and 0.5.",
            )
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.features, self.classes = features, tuple(classes)
        self.hidden, self.layers, self.dropout = hidden, layers, dropout
        self.error, self.error_voted = TopError(), VotedError()
        self.network: SequenceClassifier | None = None
        if features and classes:
            self.classes = agreed_classes(self, classes)
            self._build()

    def setup(self, stage: str) -> None:
        """Complete the options from the datamodule, and raise ConfigurationError if they do not fit it."""
        super().setup(stage)
        self.classes = agreed_classes(self, self.classes)
        data = datamodule_of(self)
        offered = getattr(data, "num_features", 0)
        if self.features and offered and self.features != offered:
            raise ConfigurationError(
                f"ActionLSTM was built for {self.features} features; {type(data).__name__} yields {offered}.",
                remedy="Leave --model.features out, or train again.",
            )
        self.features = self.features or offered
        if self.network is None:
            self._build()

    def _build(self) -> None:
        if not self.features:
            raise ConfigurationError(
                "ActionLSTM needs the number of features of a pose.",
                remedy="Use a datamodule of poses, such as PoseActions, or give --model.features.",
            )
        network = SequenceClassifier(self.features, len(self.classes), self.hidden, self.layers, self.dropout)
        self.network = network.to(self.device)
        # These settings are saved, so that the network can be rebuilt from a checkpoint alone.
        self.hparams.update(features=self.features, classes=list(self.classes))

    def forward(self, window: Tensor) -> Tensor:
        """Windows (B, T, F) -> logits (B, C)."""
        assert self.network is not None  # setup has built it
        logits: Tensor = self.network(window)
        return logits

    def terms(self, batch: LabelledWindows) -> dict[str, Tensor]:
        """``classification``: cross entropy of windows (B, T, F) and actions (B,)."""
        logits = self(batch.window)
        if not self.training:
            self.error.update(logits.detach(), batch.behaviour)
            self.error_voted.update(logits.detach().softmax(dim=1), batch.behaviour, batch.video)
        return {"classification": F.cross_entropy(logits, batch.behaviour)}

    def predict_step(self, batch: LabelledWindows, batch_idx: int = 0) -> Tensor:
        """Action probabilities (B, C) of windows (B, T, F)."""
        probability: Tensor = self(batch.window).softmax(dim=1)
        return probability

    def on_validation_epoch_end(self) -> None:
        self._log_errors("val")

    def on_test_epoch_end(self) -> None:
        self._log_errors("test")

    def _log_errors(self, stage: str) -> None:
        self.log(f"{stage}/error", self.error.compute(), prog_bar=True)
        self.log(f"{stage}/error_voted", self.error_voted.compute())
        self.error.reset()
        self.error_voted.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)
