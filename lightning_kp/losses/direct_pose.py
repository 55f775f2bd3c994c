"""What DirectPose's three branches learn from labelled animals: G, U and P (001, section 3.2).

What the paper leaves open, and what is done here: a box of K points in a line has no area, so that it is
enlarged by ``margin`` cells on each side; a part without a label may be there all the same, so that the maps
of that part do not count inside the animal's box (the paper trains through them, and replaces the pups' images
because of it).  "The closest keypoint" of eq. 6 is that of any animal (``owner="keypoint"``); in a crowd a cell
then names the parts of several animals, and branches that repeat these targets without an error do not give the
animals back.  The default is that of Tian et al. (2019a), which the paper extends: the parts of the animal with the
smallest box that holds the cell (``owner="animal"``).

Keypoints that B2 and B3 agree on, and the map that B1 should have then (001, section 3.3).

The paper says that the map is a function of the keypoints and of their scores.  Here it is made of the windows
of G with edges that fall over one cell, so that gradients reach the keypoints; of several that cover a cell the
highest score counts.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.keypoints import Keypoints, box_of

Owner = Literal["keypoint", "animal"]
FAR = 1e3  # normalised: where absent points wait, nearest to nothing


class PoseTargets(NamedTuple):
    """Targets of B1, B2 and B3 on the grid of h x w cells.

    ``keypoints`` G and ``boxes`` U (B, K, h, w), 0 or 1; ``vectors`` P (B, K, 2, h, w), from the centre of the
    cell to the keypoint, normalised; ``counted`` (B, K, h, w) bool: cells whose G and U are known; ``known``
    (B, K, h, w) bool: cells of U that have a vector.
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

    G is 1 in the square of ``2 window + 1`` cells a side around each keypoint.  An animal that lacks parts and whose
    labelled ones are less than ``reach`` (about half an animal, normalised) apart has the rest of its body somewhere
    around them: cells so near count for nothing.
    """
    points, present = labelled.points, labelled.present
    x, y = pixel_centres(size[1], like=points), pixel_centres(size[0], like=points)
    cell = points.new_tensor((2 / size[1], 2 / size[0]))
    exists = present.any(dim=-1)
    low, extent = box_of(points, present).split(2, dim=-1)
    first, last = low - margin * cell, low + extent + margin * cell
    in_x = (x >= first[..., :1]) & (x <= last[..., :1]) & exists.unsqueeze(-1)
    in_y = (y >= first[..., 1:]) & (y <= last[..., 1:])
    half = (window + 0.5) * cell
    near_x = _within(x - points[..., :1], half[0]) & present.unsqueeze(-1)
    near_y = _within(y - points[..., 1:], half[1])
    boxes = _joined(in_y.unsqueeze(2) & present.unsqueeze(-1), in_x.unsqueeze(2))
    lacking = _joined(in_y.unsqueeze(2) & ~present.unsqueeze(-1), in_x.unsqueeze(2))
    near, close = _joined(near_y, near_x), present.all(dim=-1) | (extent.amax(dim=-1) >= reach)
    around_x = (x >= first[..., :1] - reach) & (x <= last[..., :1] + reach) & (exists & ~close).unsqueeze(-1)
    around_y = (y >= first[..., 1:] - reach) & (y <= last[..., 1:] + reach)
    hidden = _joined(around_y.unsqueeze(2).expand(-1, -1, present.shape[-1], -1), around_x.unsqueeze(2))
    counted = boxes | near | ~(lacking | hidden)
    if owner == "keypoint":
        target, known = _nearest(points, present, x, y), boxes
    else:
        target, known = _of_the_smallest(points, present, in_x, in_y, extent)
    grid = torch.stack((x.expand(size), y.unsqueeze(1).expand(size)))
    return PoseTargets(
        near.to(points.dtype),
        boxes.to(points.dtype),
        target - grid,
        counted,
        known & boxes,
    )


def _within(difference: Tensor, reach: Tensor) -> Tensor:
    """Half open, so that every square has the same number of cells."""
    return (difference >= -reach) & (difference < reach)


def _joined(rows: Tensor, columns: Tensor) -> Tensor:
    """Union over animals of rectangles, given as rows (B, I, K, h) and columns (B, I, K or 1, w): (B, K, h, w)."""
    along_y = rows.permute(0, 2, 3, 1).float()
    along_x = columns.permute(0, 2, 1, 3).float()
    return along_y @ along_x > 0


def _nearest(points: Tensor, present: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Of every part (B, I, K, 2) the one that lies nearest to each cell: (B, K, 2, h, w)."""
    placed = torch.where(present.unsqueeze(-1), points, FAR).transpose(1, 2)  # (B, K, I, 2)
    square_x = (placed[..., :1] - x).square()
    square_y = (placed[..., 1:] - y).square()
    index = (square_y.unsqueeze(-1) + square_x.unsqueeze(-2)).argmin(dim=2)  # (B, K, h, w)
    chosen = [placed[..., axis].gather(2, index.flatten(2)).view(index.shape) for axis in (0, 1)]
    return torch.stack(chosen, dim=2)


def _of_the_smallest(
    points: Tensor, present: Tensor, in_x: Tensor, in_y: Tensor, extent: Tensor
) -> tuple[Tensor, Tensor]:
    """Parts of the animal with the smallest box around each cell (B, K, 2, h, w), and whether it has them."""
    area = extent.prod(dim=-1)[..., None, None]
    inside = in_y.unsqueeze(-1) & in_x.unsqueeze(-2)
    index = torch.where(inside, area, torch.inf).argmin(dim=1).flatten(1)  # (B, h w)
    batch = torch.arange(len(points), device=points.device).unsqueeze(1)
    shape = (len(points), points.shape[2], inside.shape[-2], inside.shape[-1])
    has = present[batch, index].transpose(1, 2).reshape(shape) & inside.any(dim=1, keepdim=True)
    chosen = points[batch, index].permute(0, 2, 3, 1)
    return chosen.reshape(*shape[:2], 2, *shape[2:]), has


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
