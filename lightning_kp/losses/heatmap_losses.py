"""Losses of supervised heatmaps by name, so that a configuration can choose one (000, Table 2.7).

Deviation: the paper says nothing of the scale; every loss is a mean over pixels and counted keypoints.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.losses.anchor import FLOOR, AnchorDesign, AnchorOptions, anchor_pose, checked_options
from lightning_kp.losses.focal import check_focal, focal_loss
from lightning_kp.losses.mining import check_share, hardest_keypoints

HeatmapLossName = Literal["mse", "bce", "focal", "anchor", "ohkm"]
# Outputs (B, K, h, w), target heatmaps with peak 1 (B, K, h, w) and weights (B, K) -> scalar.
HeatmapLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
LINEAR = ("mse", "ohkm")  # compare the output itself with the target; the others take it for logits


@dataclass(frozen=True)
class HeatmapLossOptions:
    """What the losses of heatmaps can be told; each reads what concerns it.

    Args:
        gamma: Exponent of focal and anchor loss (Table 2.7: 2).
        kappa: Balance of the focal loss's branches; none leaves them alone.
        delta: Margin of the anchor (eq. 2.5 has none).
        design: Which pixels the anchor loss modulates: ``background`` (the paper's), ``target`` or ``both``.
        anchor: A fixed anchor probability; by default the prediction's.
        detach: Keep the gradient out of the anchor.
        floor: Targets up to it are true negatives (eq. 2.3).
        hardest: Share of each animal's keypoints that ``ohkm`` keeps (Chen et al.: 8 of 17).
    """

    gamma: float = 2.0
    kappa: float | None = None
    delta: float = 0.0
    design: AnchorDesign = "background"
    anchor: float | None = None
    detach: bool = True
    floor: float = FLOOR
    hardest: float = 0.5


def heatmap_loss(name: HeatmapLossName, options: HeatmapLossOptions | None = None) -> HeatmapLoss:
    """The loss of that name: (outputs (B, K, h, w), target (B, K, h, w), weight (B, K)) -> scalar.

    A keypoint of weight 0 does not count; 0 where none counts.  Raises ConfigurationError for a name
    that does not exist, or an option out of range.
    """
    given = options or HeatmapLossOptions()
    check_focal(given.gamma, given.kappa)
    per_pixel = _per_pixel(name, given)
    if name == "ohkm":
        check_share(given.hardest)

    def loss(outputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        # float32 also under mixed precision: a mean over thousands of pixels has no digits to give away.
        wide = outputs if outputs.dtype == torch.float64 else outputs.float()
        per_keypoint = per_pixel(wide, target.to(wide.dtype)).mean(dim=(-2, -1))
        share = given.hardest if name == "ohkm" else 1.0
        return hardest_keypoints(per_keypoint, weight.to(wide.dtype), share)

    return loss


def to_confidence(name: HeatmapLossName, outputs: Tensor) -> Tensor:
    """What a network trained with that loss says of each pixel, in [0, 1]: a sigmoid, or the output itself."""
    return outputs.clamp(0, 1) if name in LINEAR else outputs.sigmoid()


def _per_pixel(name: str, options: HeatmapLossOptions) -> Callable[[Tensor, Tensor], Tensor]:
    modulation = checked_options(
        AnchorOptions(options.gamma, options.delta, options.design, options.anchor, options.detach)
    )
    known: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "mse": lambda outputs, target: F.mse_loss(outputs, target, reduction="none"),
        "bce": lambda outputs, target: focal_loss(outputs, target, gamma=0.0),
        "focal": lambda outputs, target: focal_loss(outputs, target, options.gamma, options.kappa),
        "anchor": lambda outputs, target: anchor_pose(outputs, target, modulation, options.floor),
    }
    known["ohkm"] = known["mse"]
    if name not in known:
        raise ConfigurationError(
            f"There is no loss of heatmaps called {name!r}.",
            remedy=did_you_mean(name, get_args(HeatmapLossName)),
        )
    return known[name]
