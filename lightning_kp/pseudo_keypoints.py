"""Keypoints that B2 and B3 agree on, and the map that B1 should have then (001, section 3.3).

The paper says that the map is a function of the keypoints and of their scores.  Here it is made of the windows
of G with edges that fall over one cell, so that gradients reach the keypoints; of several that cover a cell the
highest score counts.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class PseudoKeypoints(NamedTuple):
    """``cell`` (N, 4) = image, keypoint, row, column that proposes it; ``point`` (N, 2) normalised; ``score`` (N)."""

    cell: Tensor
    point: Tensor
    score: Tensor


def pseudo_keypoints(boxes: Tensor, points: Tensor, threshold: float) -> PseudoKeypoints:
    """Scores of B2 (B, K, h, w) in [0, 1] and points of B3 (B, K, 2, h, w) -> what eq. 8 selects.

    Scores are no path for gradients, points are.
    """
    score = boxes.detach()
    cell = (score > threshold).nonzero()
    image, keypoint, row, column = cell.unbind(1)
    chosen = points[image, keypoint, :, row, column]
    return PseudoKeypoints(cell, chosen, score[image, keypoint, row, column])


def pseudo_target(found: PseudoKeypoints, shape: tuple[int, int, int, int], window: int = 1) -> Tensor:
    """The map of eq. 9 (B, K, h, w): squares of ``2 window + 1`` cells a side, as high as the scores."""
    batch, keypoints, height, width = shape
    position = (found.point + 1) / 2 * found.point.new_tensor((width, height)) - 0.5  # in cells, x and y
    taps = torch.arange(-window, window + 2, device=position.device)
    # The square may reach one cell further where its centre lies between two; a far point needs no cell at all.
    corner = position.detach().floor().clamp(-window - 2, max(width, height) + window + 2).long()
    cells = corner.unsqueeze(-1) + taps  # (N, 2, T)
    share = (window + 1 - (cells - position.unsqueeze(-1)).abs()).clamp(0, 1)
    value = found.score.view(-1, 1, 1) * share[:, 1, :, None] * share[:, 0, None, :]
    column, row = cells[:, 0, None, :], cells[:, 1, :, None]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    plane = (found.cell[:, 0] * keypoints + found.cell[:, 1]).view(-1, 1, 1)
    index = (plane * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
    flat = value.new_zeros(batch * keypoints * height * width)
    filled = flat.scatter_reduce(0, index.flatten(), (value * inside).flatten(), "amax")
    return filled.view(shape)
