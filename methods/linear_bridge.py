"""Named points as linear combinations of discovered ones: labels for a network that was trained without.

Ryou, PhD thesis, Caltech 2022 (000), section 5.5, regresses labelled points from discovered ones by least
squares without a bias term.  Deviations: a constant term, and a penalty that a handful of labels needs
(:mod:`lightning_kp.metrics.bridge`); the map is kept as a method, so that whatever takes a checkpoint finds named
points.  `kp name` solves for the map; ``kp fit`` would go on from there by gradient.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_kp.batches import Frames, LabelledImages
from lightning_kp.checkpoints import known_class
from lightning_kp.contract import refuse_other_names
from lightning_kp.errors import CheckpointError, ConfigurationError
from lightning_kp.geometry import full_precision
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import (
    KeypointMethod,
    LRSchedulerCallable,
    OptimizerCallable,
    Prediction,
    class_path,
)
from lightning_kp.metrics.bridge import Bridge

HEATMAP_SIGMA = 0.06
"""Spread of the maps that stand for named points, in normalised units (ours)."""


@dataclass(frozen=True)
class LinearBridgeWeights:
    """One term only."""

    regression: float = 1.0


class LinearBridge(KeypointMethod):
    """Named points from the keypoints of a network that discovered them (000, 5.5); made by ``kp name``.

    Args:
        names: Named points.
        discovered: Class path of the method that discovers, such as lightning_kp.methods.bkind.BKinD.
        settings: Its options.
        keypoints: How many points it finds, those of all animals together.
        weights: Weight of the only term.
        optimizer: Default AdamW, learning rate 1e-3, of the map alone.
        scheduler: Default none.
    """

    batch_type = LabelledImages
    weights_type = LinearBridgeWeights
    paper = "000 5.5, regression to labelled points, kept as a network"

    def __init__(
        self,
        names: list[str],
        discovered: str,
        settings: dict[str, Any],
        keypoints: int,
        weights: LinearBridgeWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        if not names:
            raise ConfigurationError("A bridge needs a named point.", remedy="Label at least one.")
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        kind = known_class(discovered, KeypointMethod)  # type: ignore[type-abstract]
        if kind is None:
            raise CheckpointError(
                f"The bridge stands on {discovered}, which is no installed keypoint method.",
                remedy="Install the plug-in that it comes from.",
            )
        sources = {name: False for name in kind.weight_sources if name in settings}
        self.discovered = kind(**{**settings, **sources}).requires_grad_(False)
        self.keypoint_names = tuple(names)
        self.linear = nn.Parameter(torch.zeros(len(names), 2 * keypoints + 1, 2))
        self.register_buffer("error", torch.zeros(len(names)))
        self.error: Tensor

    @classmethod
    def of(cls, discovered: KeypointMethod, names: list[str], bridge: Bridge) -> "LinearBridge":
        """The method that predicts ``names`` from a trained network and the map fitted to its keypoints."""
        keypoints = bridge.regressor.weights.shape[1] // 2
        made = cls(names, class_path(type(discovered)), dict(discovered.hparams), keypoints)
        made.discovered.load_state_dict(discovered.state_dict())
        made.linear.data.copy_(bridge.regressor.weights)
        # Where leaving frames out says nothing, the worst of the other points stands in.
        worst = float(bridge.error.nan_to_num(0).max())
        made.error.copy_(bridge.error.nan_to_num(worst))
        return made.to(discovered.device).eval()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        refuse_other_names(self)

    def train(self, mode: bool = True) -> "LinearBridge":
        """The discovered network stays as it was trained, its batch statistics included."""
        super().train(mode)
        self.discovered.eval()
        return self

    def forward(self, image: Tensor) -> Keypoints:
        with torch.no_grad():
            found = self.discovered(image)
        return self._keypoints(found)

    def heatmaps(self, image: Tensor) -> Tensor:
        """Gaussians at the named points, at a quarter of the image's size."""
        size = (max(1, image.shape[-2] // 4), max(1, image.shape[-1] // 4))
        maps = render_gaussians(self(image).points[:, 0].clamp(-1, 1), size, HEATMAP_SIGMA)
        return maps / maps.sum(dim=(-2, -1), keepdim=True)

    def predict_step(self, batch: Frames, batch_idx: int = 0) -> Prediction:
        """Covariances pass through the map; what it missed on frames left out is added to them."""
        found = self.discovered.predict_step(batch, batch_idx)
        covariance = self._covariance(found.covariance.flatten(1, 2).unsqueeze(1))
        return Prediction(self._keypoints(found.keypoints), covariance, found.video, found.index)

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """``regression``: mean squared distance to the labelled points."""
        named = self(batch.image).points.flatten(1, 2)
        points, present = batch.points.flatten(1, 2), batch.confidence.flatten(1, 2) > 0
        square = (named - points).square().sum(dim=-1)
        return {"regression": (square * present).sum() / present.sum().clamp_min(1)}

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([self.linear], lr=1e-3)

    def _keypoints(self, found: Keypoints) -> Keypoints:
        """Discovered points of all animals (B, I, K) -> named ones (B, 1, L)."""
        points, confidence = (field.flatten(1, 2).unsqueeze(1) for field in found)
        return Keypoints(self._named(points), self._confidence(confidence))

    def _named(self, points: Tensor) -> Tensor:
        """Discovered (B, 1, K, 2) -> named (B, 1, L, 2)."""
        features = torch.cat((points.flatten(2), torch.ones_like(points[..., 0, :1])), dim=-1)
        with full_precision(points):
            return torch.einsum("bif,lfd->bild", features, self.linear)

    def _confidence(self, confidence: Tensor) -> Tensor:
        """Mean of the discovered ones' (B, 1, K), weighted by how much each moves the named point."""
        shares = self._maps().square().sum(dim=(-2, -1)).sqrt()
        shares = shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        weighted: Tensor = confidence @ shares.T.to(confidence)
        return weighted

    def _covariance(self, covariance: Tensor) -> Tensor:
        """(B, 1, K, 3) -> (B, 1, L, 3), keypoints taken as independent of each other."""
        var_x, var_y, cov = covariance.unbind(-1)
        full = torch.stack((torch.stack((var_x, cov), dim=-1), torch.stack((cov, var_y), dim=-1)), dim=-2)
        maps = self._maps().to(covariance)
        passed = torch.einsum("lkij,bnkjm,lkhm->bnlih", maps, full, maps)
        missed = self.error.square() / 2  # of a distance: half of it in each direction
        return torch.stack(
            (passed[..., 0, 0] + missed, passed[..., 1, 1] + missed, passed[..., 0, 1]), dim=-1
        )

    def _maps(self) -> Tensor:
        """(L, K, 2, 2): what a step of each keypoint makes of each named point."""
        maps: Tensor = self.linear.detach()[:, :-1].unflatten(1, (-1, 2))
        return maps.transpose(-1, -2)
