"""Keypoints from the filters of a classifier: selection, proposals and learnable clustering (004, 3.2, Algorithm 1).

A proposal is the cell of a feature map's maximum.  Each keypoint is the cell with the most proposals; those within a
threshold are erased, and the next keypoint follows.

What the algorithm amounts to: the cells found depend neither on the number of iterations nor on the floor under the
distance.  They are those of greedy vote counting with suppression, since the fullest cell also gets the greatest
weight.  So cells are counted, exactly, and the iterations only shape the maps.  Distances are those of maxima in cells;
1/d at d = 0 is 1/floor; an erased proposal has no weight.

Fewer keypoints than asked for are possible, where all proposals are erased: those have no votes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError


class Proposals(NamedTuple):
    """Maxima of c feature maps: ``cells`` (B, c), numbers of cells in row-major order; ``present`` (B, c)."""

    cells: Tensor
    present: Tensor


class Clusters(NamedTuple):
    """Keypoints of B images.

    ``maps`` (B, k, h, w), the weighted proposals (Y of Algorithm 1), 0 for a keypoint that is absent; ``cells_row_col``
    (B, k, 2), -1 where absent; ``votes`` (B, k), proposals in the cell; ``erased`` (B, k, c), the proposals within the
    threshold; ``centroid_row_col`` (B, k, 2), their mean.
    """

    maps: Tensor
    cells_row_col: Tensor
    votes: Tensor
    erased: Tensor
    centroid_row_col: Tensor


def strongest_maps(maps: Tensor, count: int) -> Tensor:
    """Numbers (B, c) of the ``count`` maps with the greatest maxima, descending, of maps (B, C, h, w); stable."""
    greatest = maps.flatten(2).amax(dim=2)
    if (
        torch.compiler.is_exporting()
    ):  # ONNX has no stable sort, but its TopK prefers the lower number among equals
        return greatest.topk(min(count, greatest.shape[1]), dim=1).indices
    return greatest.argsort(dim=1, descending=True, stable=True)[:, :count]


def propose(maps: Tensor, count: int) -> Proposals:
    """Feature maps (B, C, h, w) >= 0 -> proposals of the ``count`` strongest; a map of zeros proposes nothing."""
    flat = maps.flatten(2)
    kept = strongest_maps(maps, count)
    best = flat.max(dim=2)
    return Proposals(best.indices.gather(1, kept), best.values.gather(1, kept) > 0)


def cluster(
    proposals: Proposals,
    size: tuple[int, int],
    keypoints: int,
    *,
    threshold: float,
    iterations: int = 3,
    floor: float = 1.0,
) -> Clusters:
    """Group proposals (B, c) on maps of ``size`` (h, w) into k keypoints, for all images at once (Algorithm 1).

    Args:
        proposals: Proposals in cells of maps of this size.
        size: Height and width of the maps.
        keypoints: Number k of keypoints.
        threshold: Distance in cells below which a proposal belongs to a keypoint (004: 3).
        iterations: Updates of the weights, n.
        floor: Least distance in the weights 1/d.

    Raises:
        ConfigurationError: A number is not above 0, or the threshold is larger than the map.
    """
    _check(size, keypoints, threshold, iterations, floor)
    width = size[1]
    rows, columns = proposals.cells // width, proposals.cells % width
    places = torch.stack((rows, columns), dim=-1).to(torch.get_default_dtype())  # (B, c, 2)
    left = proposals.present
    steps = []
    for _ in range(keypoints):
        votes = torch.zeros(left.shape[0], size[0] * width, dtype=torch.long, device=left.device)
        votes = votes.scatter_add(1, proposals.cells, left.long())
        cell = votes.argmax(dim=1, keepdim=True)  # the first of equals
        centre = torch.cat((cell // width, cell % width), dim=1)
        distance = (places - centre.unsqueeze(1)).norm(dim=-1)
        weights = _weights(distance, left, iterations, floor)
        near = left & (distance < threshold)
        steps.append((_drawn(weights * left, proposals.cells, size), centre, votes.gather(1, cell), near))
        left = left & ~near
    maps, cells, counts, erased = (torch.stack(each, dim=1) for each in zip(*steps, strict=True))
    shares = erased.to(places) / erased.sum(dim=2, keepdim=True).clamp_min(1)
    found = counts > 0
    return Clusters(maps, cells.where(found, -1), counts.squeeze(2), erased, shares @ places)


def _weights(distance: Tensor, left: Tensor, iterations: int, floor: float) -> Tensor:
    """Distances (B, c) to a keypoint -> the weights (B, c) of the proposals after some iterations."""
    similarity = left / distance.clamp_min(floor)
    raw = torch.ones_like(distance)
    for _ in range(iterations):
        raw = raw.softmax(dim=1) + similarity
    return raw.softmax(dim=1)


def _drawn(weights: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Weights (B, c) in their cells: maps (B, h, w)."""
    maps = torch.zeros(weights.shape[0], size[0] * size[1], dtype=weights.dtype, device=weights.device)
    return maps.scatter_add(1, cells, weights).view(-1, *size)


def _check(size: tuple[int, int], keypoints: int, threshold: float, iterations: int, floor: float) -> None:
    if min(keypoints, iterations) < 1 or not floor > 0 or not 0 < threshold <= math.hypot(*size):
        raise ConfigurationError(
            f"Clustering on maps of {size[1]}x{size[0]} cells needs at least 1 keypoint and 1 iteration, and a "
            f"threshold above 0 and at most {math.hypot(*size):.1f} cells; "
            f"got {keypoints}, {iterations} and {threshold}.",
            remedy="Use --model.threshold=3 --model.iterations=3.",
        )
