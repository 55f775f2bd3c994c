"""Sub-pixel position of the highest pixel of a heatmap, for heatmaps that do not sum to one.

``quarter`` moves the maximum by a quarter of a pixel towards the higher neighbour on each axis (Newell et al.
2016, section 3.4, in the released code; the usual decoding of pose networks), so that points lie on a grid of four
positions per pixel.  ``quadratic`` uses the vertex of the parabola through the maximum and its two neighbours on each
axis, ``gaussian`` that of the parabola through their logarithms, which is exact for a Gaussian.  At the border, where a
neighbour is missing, the maximum does not move on that axis.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import normalise

Refinement = Literal["gaussian", "quarter", "quadratic", "none"]
FLOOR = 1e-4
"""``gaussian`` takes lower scores as this share of the maximum: their logarithms are noise (ours)."""


class Highest(NamedTuple):
    """The highest pixel of each heatmap: ``row`` and ``column`` (B, K), int64, and ``value`` (B, K)."""

    row: Tensor
    column: Tensor
    value: Tensor


def highest_pixel(scores: Tensor) -> Highest:
    """Scores (B, K, h, w) of any range -> their highest pixels (B, K); of equal pixels the first in reading order.

    >>> highest_pixel(torch.tensor([[[[0.1, 0.7, 0.2]]]])).column.tolist()
    [[1]]
    """
    width = scores.shape[-1]
    value, index = scores.flatten(2).max(dim=-1)
    return Highest(index // width, index % width, value)


def refined_points(scores: Tensor, highest: Highest, refinement: Refinement) -> Tensor:
    """Normalised points (B, K, 2) of the ``highest`` pixels of scores (B, K, h, w), with a sub-pixel refinement.

    Raises ConfigurationError for an unknown refinement.

    >>> scores = torch.tensor([[[[0.0, 0.5, 1.0, 0.75, 0.0]]]])  # the centre of pixel 2 is at x = 0
    >>> x, y = refined_points(scores, highest_pixel(scores), "quarter")[0, 0].tolist()
    >>> round(x, 3)  # a quarter of a pixel, towards the higher neighbour
    0.1
    """
    if refinement not in get_args(Refinement):
        raise ConfigurationError(
            f"There is no refinement {refinement!r}.", remedy=f"Use {', '.join(get_args(Refinement))}."
        )
    height, width = scores.shape[-2:]
    flat, index = scores.flatten(2), highest.row * width + highest.column
    x = highest.column + _offset(flat, index, highest.column, width, 1, refinement)
    y = highest.row + _offset(flat, index, highest.row, height, width, refinement)
    return normalise(torch.stack((x, y), dim=-1), (height, width))


def _offset(
    flat: Tensor, index: Tensor, along: Tensor, length: int, stride: int, refinement: Refinement
) -> Tensor:
    """Offset (B, K) of the maximum from the highest pixel on one axis, in pixels, in [-0.5, 0.5].

    ``flat`` (B, K, h w) holds the scores, ``index`` (B, K) the flat position of the highest pixel, ``along`` (B, K)
    its row or column among ``length``, and ``stride`` the step to its neighbour on the axis.
    """
    if refinement == "none":
        return torch.zeros_like(flat[..., 0])
    inside = (along > 0) & (along < length - 1)

    def at(steps: int) -> Tensor:
        neighbour = torch.where(inside, index + steps * stride, index)
        return flat.gather(2, neighbour.unsqueeze(-1)).squeeze(-1)

    before, here, after = at(-1), at(0), at(1)
    if refinement == "quarter":
        return torch.where(inside, 0.25 * torch.sign(after - before), 0)
    if refinement == "gaussian":
        low = FLOOR * here.abs().clamp_min(torch.finfo(flat.dtype).tiny / FLOOR)
        before, here, after = (value.maximum(low).log() for value in (before, here, after))
    bend = 2 * here - before - after  # at least 0, since nothing is higher than the maximum
    offset = (after - before) / (2 * bend).clamp_min(torch.finfo(flat.dtype).tiny)
    return torch.where(inside & (bend > 0), offset.clamp(-0.5, 0.5), 0)
