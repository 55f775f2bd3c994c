"""Anchor loss: cross entropy scaled by how hard the prediction is (000, chapter 2; Ryou et al. 2019).

The prediction's difficulty is its distance from an anchor probability q*, which is itself a prediction.

Deviations and choices: the anchor stays in [0, 1] after the margin is taken off, as in the reference code; the
margin widens the anchor of eq. 2.16 too, as there.  For heatmaps the paper has the design of eq. 2.5 alone; the
other two carry eq. 2.16 and 2.18 over, true positives being those of eq. 2.4.  Targets up to ``floor`` count as
true negatives: those of the paper end three standard deviations from the point (0.011), ours never reach 0.
"""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.focal import check_gamma

MARGIN = 0.05  # section 2.4, Classification
POSITIVE = 0.5  # eq. 2.4
FLOOR = 0.01  # ours: just below exp(-9/2), a Gaussian three standard deviations from its centre

# Which of the classes is modulated: eq. 2.16 (target), 2.17 (background, the paper's choice), 2.18 (both).
AnchorDesign = Literal["target", "background", "both"]


class AnchorOptions(NamedTuple):
    """How the anchor loss modulates.

    ``gamma`` >= 0 is the exponent; ``margin`` delta in [0, 1] penalises backgrounds that come close to the
    target; ``static`` in [0, 1] stands in place of every predicted anchor (Table 2.3) and has no margin;
    ``detach`` keeps the gradient out of the anchor (section 2.4, Gradient Analysis).
    """

    gamma: float = 0.5
    margin: float = MARGIN
    design: AnchorDesign = "background"
    static: float | None = None
    detach: bool = True


def anchored_cross_entropy(
    logits: Tensor,
    target: Tensor,
    q_pos: Tensor | float = 0.0,
    q_neg: Tensor | float = 1.0,
    gamma_target: float = 0.0,
    gamma_background: float = 0.0,
) -> Tensor:
    """-(1-q+q_pos)^gamma_t p log q - (1+q-q_neg)^gamma_b (1-p) log(1-q), element by element (eq. 2.15).

    q = sigmoid(logits), p = ``target`` in [0, 1]; anchors in [0, 1] broadcast against the logits.  With
    both exponents equal, the default anchors make it the focal loss (eq. 2.10 to 2.12).
    """
    wide = _wide(logits)
    at_target, at_background = target * F.logsigmoid(wide), (1 - target) * F.logsigmoid(-wide)
    # 1 - q is a sigmoid too, and 1 - q_neg is taken first: a small difference keeps its digits.
    if gamma_target:
        at_target = _power(torch.sigmoid(-wide) + q_pos, gamma_target) * at_target
    if gamma_background:
        at_background = _power(torch.sigmoid(wide) + (1 - q_neg), gamma_background) * at_background
    return -(at_target + at_background)


def anchor_classification(logits: Tensor, label: Tensor, options: AnchorOptions | None = None) -> Tensor:
    """Logits (B, C) and labels (B,) -> loss (B,), summed over the classes (eq. 2.2, 2.16 to 2.18).

    Raises ConfigurationError for options out of range.
    """
    chosen = checked_options(options or AnchorOptions())
    is_target = F.one_hot(label, logits.shape[1]) > 0
    q_pos, q_neg = _anchors(logits, is_target, ~is_target, chosen)
    at_target, at_background = _exponents(chosen)
    target = is_target.to(logits.dtype)
    return anchored_cross_entropy(logits, target, q_pos, q_neg, at_target, at_background).sum(dim=1)


def anchor_pose(
    logits: Tensor, target: Tensor, options: AnchorOptions | None = None, floor: float = FLOOR
) -> Tensor:
    """Logits (B, K, h, w) and target heatmaps with peak 1 -> loss per pixel (B, K, h, w) (eq. 2.3 to 2.5).

    The anchor of a heatmap is its highest prediction where the target exceeds 0.5, the mask its true
    negatives; every other pixel has the binary cross entropy.  So has a heatmap of a point that is not
    there: no pixel exceeds 0.5, there is no anchor.  ``options`` default to gamma 2 (Table 2.7) and no margin.
    """
    chosen = checked_options(options or AnchorOptions(gamma=2.0, margin=0.0))
    wide, wanted = _wide(logits).flatten(2), target.to(_wide(logits).dtype).flatten(2)
    positive, negative = wanted > POSITIVE, wanted <= floor
    q_pos, q_neg = _anchors(wide, positive, negative, chosen)
    at_target, at_background = _exponents(chosen)
    scale = torch.ones_like(wide)
    if at_background:
        counts = negative & (positive.any(dim=-1, keepdim=True) | (chosen.static is not None))
        scale = torch.where(counts, _power(torch.sigmoid(wide) + (1 - q_neg), at_background), scale)
    if at_target:
        counts = positive & (negative.any(dim=-1, keepdim=True) | (chosen.static is not None))
        scale = torch.where(counts, _power(torch.sigmoid(-wide) + q_pos, at_target), scale)
    return (scale * anchored_cross_entropy(wide, wanted)).view_as(logits)


def _anchors(
    logits: Tensor, target: Tensor, background: Tensor, options: AnchorOptions
) -> tuple[Tensor | float, Tensor | float]:
    """q_pos and q_neg (..., 1) from the masks of target and background along the last axis, margin included."""
    if options.static is not None:
        return options.static, options.static
    wide = _wide(logits.detach() if options.detach else logits)
    q_pos = (torch.sigmoid(_masked_maximum(wide, background)) + options.margin).clamp_max(1)
    q_neg = (torch.sigmoid(_masked_maximum(wide, target)) - options.margin).clamp_min(0)
    return q_pos, q_neg


def _masked_maximum(logits: Tensor, mask: Tensor) -> Tensor:
    """The highest logit within the mask along the last axis, (..., 1); the lowest number where it is empty."""
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).amax(dim=-1, keepdim=True)


def _exponents(options: AnchorOptions) -> tuple[float, float]:
    """gamma_t and gamma_b of eq. 2.15."""
    at_target = options.gamma if options.design != "background" else 0.0
    at_background = options.gamma if options.design != "target" else 0.0
    return at_target, at_background


def _wide(logits: Tensor) -> Tensor:
    """At least float32: under mixed precision a modulator has too few digits."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _power(base: Tensor, exponent: float) -> Tensor:
    """``base`` in [0, 2] to a power; at 0, where the slope of a root is infinite, the gradient is 0."""
    return base.clamp_min(torch.finfo(base.dtype).tiny).pow(exponent)


def checked_options(options: AnchorOptions) -> AnchorOptions:
    """The same.  Raises ConfigurationError for an exponent, a design, a margin or an anchor out of range."""
    check_gamma(options.gamma)
    if options.design not in get_args(AnchorDesign):
        raise ConfigurationError(
            f"There is no anchor design {options.design!r}.",
            remedy=f"Use {', '.join(get_args(AnchorDesign))}.",
        )
    given = {"margin": options.margin, "static anchor": options.static}
    for name, value in given.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigurationError(
                f"An anchor is a probability; the {name} {value} was given.", remedy="Give one in [0, 1]."
            )
    return options
