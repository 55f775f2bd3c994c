"""Targets of DirectPose's three branches: G, U and P from labelled animals, and pseudo targets from B2 and B3.

Targets from labels (001, section 3.2). The paper leaves some points open; here:

- A box of K points in a line has no area, so that it is enlarged by ``margin`` cells on each side.
- A keypoint without a label may still be visible, so that its maps do not count inside the bounding box of the
  animal. The paper trains on these cells, and replaces the images of mouse pups for this reason.
- "The closest keypoint" of eq. 6 is that of any animal (``owner="keypoint"``). In a crowd the vectors of a cell
  then point at keypoints of several animals, and even branches without any error do not give the animals back.
  The default (``owner="animal"``) follows Tian et al. (2019a), whom the paper extends: the vectors point at the
  keypoints of the animal with the smallest bounding box that contains the cell.

Pseudo targets (001, section 3.3): keypoints on which B2 and B3 agree, and the map that B1 should then have. The
paper describes the map as a function of the keypoints and their scores. Here it consists of the windows of G with
edges that fall off over one cell, so that gradients reach the keypoints. Where several windows cover a cell, the
highest score counts.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import pixel_centres, to_pixels
from lightning_kp.keypoints import Keypoints, bounding_box

Owner = Literal["keypoint", "animal"]
FAR_AWAY = 1e3  # normalised coordinate given to absent points, so that they are nearest to no cell


class PoseTargets(NamedTuple):
    """Targets of B1, B2 and B3 on a grid of h x w cells.

    ``keypoints`` (G) and ``boxes`` (U) (B, K, h, w) are 0 or 1. ``vectors`` (P) (B, K, 2, h, w) point from the
    centre of the cell to the keypoint, as (x, y) in normalised units. ``counted`` (B, K, h, w) bool: cells whose G
    and U are known. ``known`` (B, K, h, w) bool: cells of U that have a vector.
    """

    keypoints: Tensor
    boxes: Tensor
    vectors: Tensor
    counted: Tensor
    known: Tensor


def pose_targets(
    labelled: Keypoints,
    size: tuple[int, int],
    *,
    window: int = 1,
    margin: float = 1.0,
    owner: Owner = "animal",
    reach: float = 0.0,
) -> PoseTargets:
    """Labelled animals (B, I, K, 2) -> targets on a grid of ``size`` = (h, w) cells.

    Args:
        labelled: Labelled keypoints (B, I, K, 2), normalised (x, y), with confidence (B, I, K), 0 = unlabelled.
        size: Rows and columns of the grid, (h, w).
        window: G is 1 in the square of 2 window + 1 cells a side around each keypoint.
        margin: Cells added on each side of a bounding box.
        owner: Whether a cell's vectors point at the keypoints of one ``animal`` or at the nearest ``keypoint``.
        reach: About half an animal, in normalised units. If an animal lacks keypoints and its labelled ones span
            less than this, the rest of its body lies somewhere around them, so that cells this close do not count.

    Raises:
        ConfigurationError: There is no such ``owner``.

    One keypoint at the centre of the left of two cells:

    >>> one = Keypoints(torch.tensor([[[[-0.5, 0.0]]]]), torch.ones(1, 1, 1))
    >>> found = pose_targets(one, (1, 2), window=0, margin=0.0)
    >>> found.keypoints.tolist(), found.boxes.tolist()
    ([[[[1.0, 0.0]]]], [[[[1.0, 0.0]]]])
    >>> found.vectors.tolist()  # x of both cells, then y
    [[[[[0.0, -1.0]], [[0.0, 0.0]]]]]
    """
    check_owner(owner)
    points, present = labelled.points, labelled.present
    x, y = pixel_centres(size[1], like=points), pixel_centres(size[0], like=points)
    cell = points.new_tensor((2 / size[1], 2 / size[0]))
    exists = present.any(dim=-1)
    low, extent = bounding_box(points, present).split(2, dim=-1)
    first, last = low - margin * cell, low + extent + margin * cell
    in_x = (x >= first[..., :1]) & (x <= last[..., :1]) & exists.unsqueeze(-1)
    in_y = (y >= first[..., 1:]) & (y <= last[..., 1:])
    half = (2 * window + 1) * cell / 2  # of the side of a square
    near_x = _within(x - points[..., :1], half[0]) & present.unsqueeze(-1)
    near_y = _within(y - points[..., 1:], half[1])
    boxes = _union(in_y.unsqueeze(2) & present.unsqueeze(-1), in_x.unsqueeze(2))
    lacking = _union(in_y.unsqueeze(2) & ~present.unsqueeze(-1), in_x.unsqueeze(2))
    near, complete = _union(near_y, near_x), present.all(dim=-1) | (extent.amax(dim=-1) >= reach)
    around_x = (
        (x >= first[..., :1] - reach) & (x <= last[..., :1] + reach) & (exists & ~complete).unsqueeze(-1)
    )
    around_y = (y >= first[..., 1:] - reach) & (y <= last[..., 1:] + reach)
    hidden = _union(around_y.unsqueeze(2).expand(-1, -1, present.shape[-1], -1), around_x.unsqueeze(2))
    counted = boxes | near | ~(lacking | hidden)
    if owner == "keypoint":
        target, known = _nearest(points, present, x, y), boxes
    else:
        target, known = _of_smallest_box(points, present, in_x, in_y, extent)
    grid = torch.stack((x.expand(size), y.unsqueeze(1).expand(size)))
    return PoseTargets(
        near.to(points.dtype),
        boxes.to(points.dtype),
        target - grid,
        counted,
        known & boxes,
    )


def check_owner(owner: str) -> None:
    """Raise ConfigurationError unless ``owner`` is one of :data:`Owner`."""
    if owner not in get_args(Owner):
        raise ConfigurationError(
            f"owner must be {' or '.join(get_args(Owner))}, got {owner!r}.",
            remedy="Use --model.owner=animal.",
        )


def _within(difference: Tensor, reach: Tensor) -> Tensor:
    """Half-open interval, so that every square has the same number of cells."""
    return (difference >= -reach) & (difference < reach)


def _union(rows: Tensor, columns: Tensor) -> Tensor:
    """Union over animals of rectangles: rows (B, I, K, h) and columns (B, I, K or 1, w) -> (B, K, h, w) bool."""
    along_y = rows.permute(0, 2, 3, 1).float()
    along_x = columns.permute(0, 2, 1, 3).float()
    return along_y @ along_x > 0


def _nearest(points: Tensor, present: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Points (B, I, K, 2) -> for each keypoint type the point nearest to each cell, (B, K, 2, h, w)."""
    placed = torch.where(present.unsqueeze(-1), points, FAR_AWAY).transpose(1, 2)  # (B, K, I, 2)
    square_x = (placed[..., :1] - x).square()
    square_y = (placed[..., 1:] - y).square()
    index = (square_y.unsqueeze(-1) + square_x.unsqueeze(-2)).argmin(dim=2)  # (B, K, h, w)
    chosen = [placed[..., axis].gather(2, index.flatten(2)).view(index.shape) for axis in (0, 1)]
    return torch.stack(chosen, dim=2)


def _of_smallest_box(
    points: Tensor, present: Tensor, in_x: Tensor, in_y: Tensor, extent: Tensor
) -> tuple[Tensor, Tensor]:
    """Keypoints (B, K, 2, h, w) of the animal with the smallest box around each cell; which exist (B, K, h, w)."""
    area = extent.prod(dim=-1)[..., None, None]
    inside = in_y.unsqueeze(-1) & in_x.unsqueeze(-2)
    index = torch.where(inside, area, torch.inf).argmin(dim=1).flatten(1)  # (B, h w)
    batch = torch.arange(len(points), device=points.device).unsqueeze(1)
    shape = (len(points), points.shape[2], inside.shape[-2], inside.shape[-1])
    has = present[batch, index].transpose(1, 2).reshape(shape) & inside.any(dim=1, keepdim=True)
    chosen = points[batch, index].permute(0, 2, 3, 1)
    return chosen.reshape(*shape[:2], 2, *shape[2:]), has


class PseudoKeypoints(NamedTuple):
    """Keypoints proposed by cells of B2 and B3.

    ``cell`` (N, 4) holds image, keypoint, row and column of the proposing cell; ``point`` (N, 2) is normalised
    (x, y); ``score`` (N,) is in [0, 1].
    """

    cell: Tensor
    point: Tensor
    score: Tensor


def pseudo_keypoints(boxes: Tensor, points: Tensor, threshold: float) -> PseudoKeypoints:
    """Select the keypoints of eq. 8: those of cells whose score in B2 is above ``threshold``.

    Gradients pass through the points and not through the scores.

    Args:
        boxes: Scores of B2 (B, K, h, w) in [0, 1].
        points: Points of B3 (B, K, 2, h, w), normalised (x, y).
        threshold: Lower limit of the scores, exclusive.

    >>> boxes, points = torch.tensor([[[[0.9, 0.1]]]]), torch.tensor([[[[[0.25, 0.0]], [[0.5, 0.0]]]]])
    >>> found = pseudo_keypoints(boxes, points, threshold=0.5)
    >>> found.cell.tolist(), found.point.tolist()
    ([[0, 0, 0, 0]], [[0.25, 0.5]])
    """
    score = boxes.detach()
    cell = (score > threshold).nonzero()
    image, keypoint, row, column = cell.unbind(1)
    chosen = points[image, keypoint, :, row, column]
    return PseudoKeypoints(cell, chosen, score[image, keypoint, row, column])


def pseudo_target(found: PseudoKeypoints, shape: tuple[int, int, int, int], window: int = 1) -> Tensor:
    """Target map of eq. 9, (B, K, h, w): squares of 2 window + 1 cells a side, as high as the scores.

    Args:
        found: N keypoints of :func:`pseudo_keypoints`.
        shape: Shape (B, K, h, w) of the map.
        window: Cells on each side of the central cell.

    >>> found = PseudoKeypoints(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[-0.75, 0.0]]), torch.tensor([0.9]))
    >>> pseudo_target(found, (1, 1, 1, 4), window=0)
    tensor([[[[0.9000, 0.0000, 0.0000, 0.0000]]]])
    """
    batch, keypoints, height, width = shape
    position = to_pixels(found.point, (height, width))  # in cells, x and y
    taps = torch.arange(-window, window + 2, device=position.device)
    # A square whose centre lies between two cells may cover one more; a point far outside covers no cell.
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
