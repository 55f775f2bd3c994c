"""Losses of supervised heatmaps by name, so that a configuration can choose one (000, Table 2.7).

Deviation: the paper does not state the scale; every loss here is a mean over pixels and counted keypoints.
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
HeatmapLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Outputs (B, K, h, w), target heatmaps (B, K, h, w) with peak 1 and weights (B, K) -> scalar."""
LINEAR_LOSSES = ("mse", "ohkm")
"""Losses that compare the output itself with the target; the others treat the output as logits."""

MIN_SIGMA_PX = 0.6
"""With at least this many heatmap pixels a Gaussian exceeds 0.5 wherever its centre lies."""


@dataclass(frozen=True)
class HeatmapLossOptions:
    """Options of the heatmap losses; each loss uses those that apply to it.

    Args:
        gamma: Exponent of the focal and the anchor loss (Table 2.7: 2).
        kappa: Balance of the branches of the focal loss, in [0, 1]; None leaves both at 1.
        delta: Margin of the anchor, in [0, 1] (eq. 2.5 has none).
        design: Pixels that the anchor loss modulates: ``background`` (the paper's), ``target`` or ``both``.
        anchor: A fixed anchor probability; by default the prediction's.
        detach: Keep the gradient out of the anchor.
        floor: Targets up to this value are true negatives (eq. 2.3).
        hardest: Share of each animal's keypoints that ``ohkm`` keeps, in (0, 1] (Chen et al.: 8 of 17).
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
    """Heatmap loss by name: a function of outputs (B, K, h, w), target (B, K, h, w), weight (B, K) -> scalar.

    Keypoints of weight 0 do not count; the loss is 0 if none counts. It is computed in at least float32.

    Args:
        name: ``mse`` or ``ohkm`` (linear outputs), ``bce``, ``focal`` or ``anchor`` (logits).
        options: Options of the losses; by default those of :class:`HeatmapLossOptions`.

    Raises:
        ConfigurationError: The name is unknown, or an option is out of range.

    >>> outputs, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    >>> heatmap_loss("mse")(outputs, target, torch.ones(1, 1))  # (1^2 + 0^2) / 2
    tensor(0.5000)
    >>> heatmap_loss("bce")(outputs, target, torch.ones(1, 1))  # log 2
    tensor(0.6931)
    """
    given = options or HeatmapLossOptions()
    check_focal(given.gamma, given.kappa)
    per_pixel = _per_pixel(name, given)
    if name == "ohkm":
        check_share(given.hardest)

    def loss(outputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        # float32 also under mixed precision: 16 bits are too coarse for a mean over thousands of pixels.
        wide = outputs if outputs.dtype == torch.float64 else outputs.float()
        per_keypoint = per_pixel(wide, target.to(wide.dtype)).mean(dim=(-2, -1))
        share = given.hardest if name == "ohkm" else 1.0
        return hardest_keypoints(per_keypoint, weight.to(wide.dtype), share)

    return loss


def narrow_targets(sigma: float, side: int) -> str:
    """Warning for Gaussians that are too narrow for heatmaps of ``side`` px; empty if they are wide enough.

    A narrow Gaussian between pixels never exceeds 0.5, so that eq. 2.17 finds no anchor. ``sigma`` is in normalised
    units (image half-width = 1).

    >>> narrow_targets(2 / 64, side=64)  # 1 px
    ''
    """
    sigma_px = sigma * side / 2
    if sigma_px >= MIN_SIGMA_PX:
        return ""
    return (
        f"The targets' Gaussians have a sigma of {sigma_px:.2f} px on heatmaps of {side} px; below {MIN_SIGMA_PX} px "
        f"some joints have no pixel close to 1. Set --model.sigma={2 * MIN_SIGMA_PX / side:.3f} or more, or a larger "
        "--data.size."
    )


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
            f"There is no heatmap loss called {name!r}.",
            remedy=did_you_mean(name, get_args(HeatmapLossName)),
        )
    return known[name]
