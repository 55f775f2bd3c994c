"""Named points as linear combinations of discovered keypoints, for a network that was trained without labels.

Ryou, PhD thesis, Caltech 2022 (000), section 5.5, regresses labelled points from discovered ones by least squares
without a bias term. Deviations: a constant term, and a penalty that is needed with few labels
(:mod:`lightning_kp.metrics.bridge`). The linear map is stored as a method, so that everything that accepts a
checkpoint can predict named points. `kp name` computes the map; ``kp fit`` could refine it by gradient descent.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_kp.batches import Frames, LabelledImages
from lightning_kp.checkpoints import known_class
from lightning_kp.contract import require_point_names
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
"""Standard deviation of the Gaussian maps drawn at named points, in normalised units (ours)."""


@dataclass(frozen=True)
class LinearBridgeWeights:
    """Weight of the only term."""

    regression: float = 1.0


class LinearBridge(KeypointMethod):
    """Named points from the keypoints that a network discovered (000, 5.5); created by ``kp name``.

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, L, 2) of L named points, normalised (x, y).

    Args:
        names: Names of the L points.
        discovered: Class path of the discovery method, such as lightning_kp.methods.bkind.BKinD.
        settings: Options of the discovery method.
        keypoints: Number of keypoints that it finds, all animals together.
        weights: Weight of the only term.
        optimizer: Default: AdamW for the linear map alone, learning rate 1e-3.
        scheduler: Default: none.
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
            raise ConfigurationError(
                "LinearBridge needs at least one named point, got none.", remedy="Label at least one point."
            )
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        kind = known_class(discovered, KeypointMethod)  # type: ignore[type-abstract]
        if kind is None:
            raise CheckpointError(
                f"LinearBridge needs the keypoint method {discovered}, which is not installed.",
                remedy="Install the plug-in that provides it.",
            )
        sources = {name: False for name in kind.weight_sources if name in settings}
        self.discovered = kind(**{**settings, **sources}).requires_grad_(False)
        self.keypoint_names = tuple(names)
        self.linear = nn.Parameter(torch.zeros(len(names), 2 * keypoints + 1, 2))
        self.register_buffer("error", torch.zeros(len(names)))
        self.error: Tensor

    @classmethod
    def from_bridge(cls, discovered: KeypointMethod, names: list[str], bridge: Bridge) -> "LinearBridge":
        """Build the method from a trained network and the map fitted to its keypoints.

        ``bridge`` holds weights (L, 2 K + 1, 2) and held-out errors (L,), both in normalised units.
        """
        keypoints = bridge.regressor.weights.shape[1] // 2
        method = cls(names, class_path(type(discovered)), dict(discovered.hparams), keypoints)
        method.discovered.load_state_dict(discovered.state_dict())
        method.linear.data.copy_(bridge.regressor.weights)
        # Where held-out frames give no error, the largest error of the other points is used.
        worst = float(bridge.error.nan_to_num(0).max())
        method.error.copy_(bridge.error.nan_to_num(worst))
        return method.to(discovered.device).eval()

    def setup(self, stage: str) -> None:
        """Raise ConfigurationError unless the labelled points are the named ones, in their order."""
        super().setup(stage)
        require_point_names(self)

    def train(self, mode: bool = True) -> "LinearBridge":
        """Set the mode of the linear map; the discovered network stays in evaluation mode."""
        super().train(mode)
        self.discovered.eval()
        return self

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, L, 2), normalised (x, y)."""
        with torch.no_grad():
            keypoints = self.discovered(image)
        return self._keypoints(keypoints)

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> Gaussians (B, L, H / 4, W / 4) at the named points that sum to one."""
        size = (max(1, image.shape[-2] // 4), max(1, image.shape[-1] // 4))
        maps = render_gaussians(self(image).points[:, 0].clamp(-1, 1), size, HEATMAP_SIGMA)
        return maps / maps.sum(dim=(-2, -1), keepdim=True)

    def predict_step(self, batch: Frames, batch_idx: int = 0) -> Prediction:
        """Named points (B, 1, L, 2) with covariance (B, 1, L, 3), which includes the error on held-out frames."""
        found = self.discovered.predict_step(batch, batch_idx)
        covariance = self._covariance(found.covariance.flatten(1, 2).unsqueeze(1))
        return Prediction(self._keypoints(found.keypoints), covariance, found.video, found.index)

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """``regression``: mean squared distance to the labelled points (B, I, K, 2), I K = L."""
        named = self(batch.image).points.flatten(1, 2)
        points, present = batch.points.flatten(1, 2), batch.confidence.flatten(1, 2) > 0
        square = (named - points).square().sum(dim=-1)
        return {"regression": (square * present).sum() / present.sum().clamp_min(1)}

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([self.linear], lr=1e-3)

    def _keypoints(self, found: Keypoints) -> Keypoints:
        """Discovered Keypoints (B, I, K, 2) -> named Keypoints (B, 1, L, 2)."""
        points, confidence = (field.flatten(1, 2).unsqueeze(1) for field in found)
        return Keypoints(self._named(points), self._confidence(confidence))

    def _named(self, points: Tensor) -> Tensor:
        """Discovered points (B, 1, K, 2) -> named points (B, 1, L, 2)."""
        features = torch.cat((points.flatten(2), torch.ones_like(points[..., 0, :1])), dim=-1)
        with full_precision(points):
            return torch.einsum("bif,lfd->bild", features, self.linear)

    def _confidence(self, confidence: Tensor) -> Tensor:
        """Discovered confidence (B, 1, K) -> named (B, 1, L): a mean weighted by each keypoint's influence."""
        shares = self._maps().square().sum(dim=(-2, -1)).sqrt()
        shares = shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        weighted: Tensor = confidence @ shares.T.to(confidence)
        return weighted

    def _covariance(self, covariance: Tensor) -> Tensor:
        """Discovered covariance (B, 1, K, 3) -> named (B, 1, L, 3), for independent keypoints."""
        var_x, var_y, cov = covariance.unbind(-1)
        full = torch.stack((torch.stack((var_x, cov), dim=-1), torch.stack((cov, var_y), dim=-1)), dim=-2)
        maps = self._maps().to(covariance)
        # In two steps: the order of three factors is chosen by their sizes, which an exported graph must not fix.
        half = torch.einsum("lkij,bnkjm->bnlkim", maps, full)
        passed = torch.einsum("bnlkim,lkhm->bnlih", half, maps)
        residual = self.error.square() / 2  # the error is a distance: half its square in each direction
        return torch.stack(
            (passed[..., 0, 0] + residual, passed[..., 1, 1] + residual, passed[..., 0, 1]), dim=-1
        )

    def _maps(self) -> Tensor:
        """Jacobians (L, K, 2, 2) of each named point with respect to each keypoint."""
        maps: Tensor = self.linear.detach()[:, :-1].unflatten(1, (-1, 2))
        return maps.transpose(-1, -2)
