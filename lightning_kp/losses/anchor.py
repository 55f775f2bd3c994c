"""Anchor loss: cross entropy scaled by the difficulty of the prediction (000, chapter 2; Ryou et al. 2019).

The difficulty of a prediction is its distance from an anchor probability q*, which is itself a prediction.

Deviations and choices: the anchor is clamped to [0, 1] after the margin is applied, and the margin also widens the
anchor of eq. 2.16; both follow the reference code. For heatmaps the paper defines only the design of eq. 2.5; the
other two transfer eq. 2.16 and 2.18, with the true positives of eq. 2.4. Targets up to ``floor`` count as true
negatives: the paper's targets end three standard deviations from the point (0.011), while ours never reach 0.
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

AnchorDesign = Literal["target", "background", "both"]
"""Classes that are modulated: eq. 2.16 (target), 2.17 (background, the paper's choice), 2.18 (both)."""


class AnchorOptions(NamedTuple):
    """Options of the anchor loss.

    Args:
        gamma: Exponent, >= 0.
        margin: delta in [0, 1]; penalises backgrounds that come close to the target.
        design: Classes that are modulated.
        static: Fixed anchor in [0, 1] that replaces every predicted anchor (Table 2.3) and has no margin.
        detach: Keep the gradient out of the anchor (section 2.4, Gradient Analysis).
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

    Here q = sigmoid(logits) and p = target. With equal exponents the default anchors give the focal loss
    (eq. 2.10 to 2.12), and with both 0 the binary cross entropy.

    Args:
        logits: Logits (...).
        target: Target probabilities (...) in [0, 1].
        q_pos: Anchors in [0, 1] of the target term, broadcast against the logits.
        q_neg: Anchors in [0, 1] of the background term, broadcast against the logits.
        gamma_target: Exponent of the target term.
        gamma_background: Exponent of the background term.

    Returns:
        Loss (...), at least in float32.

    >>> anchored_cross_entropy(torch.zeros(1), torch.zeros(1), gamma_background=1.0)  # 0.5 log 2
    tensor([0.3466])
    """
    wide = _wide(logits)
    at_target, at_background = target * F.logsigmoid(wide), (1 - target) * F.logsigmoid(-wide)
    # 1 - q is a sigmoid too, and 1 - q_neg is computed first, so that small differences keep their precision.
    if gamma_target:
        at_target = _power(torch.sigmoid(-wide) + q_pos, gamma_target) * at_target
    if gamma_background:
        at_background = _power(torch.sigmoid(wide) + (1 - q_neg), gamma_background) * at_background
    return -(at_target + at_background)


def anchor_classification(logits: Tensor, label: Tensor, options: AnchorOptions | None = None) -> Tensor:
    """Logits (B, C) and labels (B,) from 0 -> loss (B,), summed over the classes (eq. 2.2, 2.16 to 2.18).

    Raises ConfigurationError for options out of range.

    With a fixed anchor of 0.5 and gamma 1, the background's log 2 is scaled by 1 + 0.5 - 0.5 = 1:

    >>> anchor_classification(torch.zeros(1, 2), torch.tensor([0]), AnchorOptions(gamma=1.0, static=0.5))
    tensor([1.3863])
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
    """Logits (B, K, h, w) and target heatmaps (B, K, h, w) with peak 1 -> loss per pixel (B, K, h, w).

    Eq. 2.3 to 2.5: the anchor of a heatmap is its highest prediction where the target exceeds 0.5, and its true
    negatives are modulated. All other pixels have the binary cross entropy. The heatmap of an absent keypoint has
    it everywhere, since no pixel exceeds 0.5 and there is no anchor.

    Args:
        logits: Logits (B, K, h, w).
        target: Target heatmaps (B, K, h, w) in [0, 1].
        options: Default: gamma 2 (Table 2.7) and no margin.
        floor: Targets up to this value are true negatives.

    Raises:
        ConfigurationError: An option is out of range.

    The anchor is sigmoid(0) = 0.5, so that the true negative's log 2 is scaled by (1 + 0.5 - 0.5)^2 = 1:

    >>> anchor_pose(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]]))
    tensor([[[[0.6931, 0.6931]]]])
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
    """Anchors q_pos and q_neg (..., 1), margin included; ``target`` and ``background`` (..., N) are masks."""
    if options.static is not None:
        return options.static, options.static
    wide = _wide(logits.detach() if options.detach else logits)
    q_pos = (torch.sigmoid(_masked_maximum(wide, background)) + options.margin).clamp_max(1)
    q_neg = (torch.sigmoid(_masked_maximum(wide, target)) - options.margin).clamp_min(0)
    return q_pos, q_neg


def _masked_maximum(logits: Tensor, mask: Tensor) -> Tensor:
    """Highest logit within the mask along the last axis, (..., 1); the lowest number if the mask is empty."""
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).amax(dim=-1, keepdim=True)


def _exponents(options: AnchorOptions) -> tuple[float, float]:
    """gamma_t and gamma_b of eq. 2.15."""
    at_target = options.gamma if options.design != "background" else 0.0
    at_background = options.gamma if options.design != "target" else 0.0
    return at_target, at_background


def _wide(logits: Tensor) -> Tensor:
    """Logits in at least float32, because 16 bits are too coarse for a modulator."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _power(base: Tensor, exponent: float) -> Tensor:
    """``base`` in [0, 2] to a power; at 0, where the slope of a root is infinite, the gradient is 0."""
    return base.clamp_min(torch.finfo(base.dtype).tiny).pow(exponent)


def checked_options(options: AnchorOptions) -> AnchorOptions:
    """Return ``options``; raise ConfigurationError if exponent, design, margin or anchor is out of range."""
    check_gamma(options.gamma)
    if options.design not in get_args(AnchorDesign):
        raise ConfigurationError(
            f"There is no anchor design {options.design!r}.",
            remedy=f"Use one of {', '.join(get_args(AnchorDesign))}.",
        )
    given = {"delta, the margin": options.margin, "anchor, the fixed anchor": options.static}
    for name, value in given.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigurationError(
                f"{name} of the anchor loss, must be between 0 and 1, got {value}.",
                remedy="Leave the option out to use its default.",
            )
    return options
