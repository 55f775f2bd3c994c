"""Where the highest pixel of a heatmap lies, finer than a pixel; for heatmaps that do not sum to one.

``quarter`` moves the maximum by a quarter of a pixel towards the higher neighbour on each axis (Newell et al.
2016, section 3.4's released code; the usual decoding of pose networks).  ``quadratic`` takes the top of the
parabola through the maximum and its two neighbours on each axis.  At the border, where a neighbour is missing,
the maximum stays on its axis.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError

Refinement = Literal["quarter", "quadratic", "none"]


class Highest(NamedTuple):
    """The highest pixel of each heatmap: ``row``, ``column`` (B, K) as numbers of pixels, ``value`` (B, K)."""

    row: Tensor
    column: Tensor
    value: Tensor


def highest_pixel(scores: Tensor) -> Highest:
    """Scores (B, K, h, w) of any range -> their highest pixel, of equal ones the first in reading order."""
    width = scores.shape[-1]
    value, index = scores.flatten(2).max(dim=-1)
    return Highest(index // width, index % width, value)


def refined_points(scores: Tensor, highest: Highest, refinement: Refinement = "quarter") -> Tensor:
    """Normalised points (B, K, 2) of the highest pixels, refined; raises ConfigurationError for another name."""
    if refinement not in get_args(Refinement):
        raise ConfigurationError(
            f"There is no refinement {refinement!r}.", remedy=f"Use {', '.join(get_args(Refinement))}."
        )
    height, width = scores.shape[-2:]
    flat, place = scores.flatten(2), highest.row * width + highest.column
    x = highest.column + _offset(flat, place, highest.column, width, 1, refinement)
    y = highest.row + _offset(flat, place, highest.row, height, width, refinement)
    return torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)


def _offset(
    flat: Tensor, place: Tensor, along: Tensor, length: int, stride: int, refinement: Refinement
) -> Tensor:
    """How far the top lies from the highest pixel on one axis, in pixels within half a pixel."""
    if refinement == "none":
        return torch.zeros_like(flat[..., 0])
    inside = (along > 0) & (along < length - 1)

    def at(steps: int) -> Tensor:
        index = torch.where(inside, place + steps * stride, place)
        return flat.gather(2, index.unsqueeze(-1)).squeeze(-1)

    before, here, after = at(-1), at(0), at(1)
    if refinement == "quarter":
        return torch.where(inside, 0.25 * torch.sign(after - before), 0)
    bend = 2 * here - before - after  # not below 0: nothing is higher than the maximum
    offset = (after - before) / (2 * bend).clamp_min(torch.finfo(flat.dtype).tiny)
    return torch.where(inside & (bend > 0), offset.clamp(-0.5, 0.5), 0)
