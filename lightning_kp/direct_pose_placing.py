"""Branch B1 says where the parts of decoded animals lie, and how sure that is (ours).

Blau et al. (001) train B1 to agree with B2 and B3, and Tian et al. (2019a) leave it out when predicting.  A part that
B3 points at from afar is half a cell or more off, while B1 sees the part itself: its maps are read around every
part that :mod:`lightning_kp.direct_pose_decoding` has found.  And B2 says which cells belong to an animal, not whether
they point at it well: with what B1 says at the parts, animals rank better.
"""

import torch
from torch import Tensor

from lightning_kp.direct_pose_decoding import Animals
from lightning_kp.geometry import pixel_centres

# The first three were chosen with the default squares of 3 x 3 cells (``window`` 1), at strides 4 and 8.
WIDTH = 0.85  # cells: standard deviation of the window around a part
POWER = 4  # of B1's scores, whose targets are squares of cells: the middle of a plateau counts, not its rim
AGREED = 0.03  # cells: where an animal's proposals spread less, they count for more than B1, which knows whole cells
TINY = 1e-6
NOTHING = 1e-12  # less evidence moves no part


def placed_by_maps(found: Animals, maps: Tensor) -> Animals:
    """Animals with points (B, I, K, 2) and logits of B1 (B, K, h, w) -> the same animals, placed and scored by B1.

    A part moves to the centroid of B1's scores, to the power of ``POWER``, in a Gaussian window around it.  A cell
    that several animals' windows cover is divided among them in proportion, so that none is drawn to its neighbour's
    part.  Confidence becomes the geometric mean of B2's and of B1's mean score in the window.  Covariances stay.
    """
    height, width = maps.shape[-2:]
    x, y = pixel_centres(width, like=maps), pixel_centres(height, like=maps)
    at = found.points.transpose(1, 2)  # (B, K, I, 2)
    exists = (found.confidence > 0).transpose(1, 2).unsqueeze(3)
    columns = _window(x - at[..., :1], 2 / width)  # (B, K, I, w)
    rows = _window(y - at[..., 1:], 2 / height) * exists  # (B, K, I, h)
    everybody = (rows.transpose(2, 3) @ columns).clamp_min(TINY)  # (B, K, h, w)
    # An animal's window times its share of the cell is the square of its window over everybody's.
    square_x, square_y = columns.square(), rows.square()

    def summed(values: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
        """Values of the cells (B, K, h, w), weighed for every animal by rows and columns: (B, K, I)."""
        return ((along_x @ values.transpose(2, 3)) * along_y).sum(dim=3)

    score = maps.sigmoid()
    evidence = score.pow(POWER) / everybody
    total = summed(evidence, square_x, square_y)
    middle = torch.stack(
        (summed(evidence, square_x * x, square_y), summed(evidence, square_x, square_y * y)), dim=3
    ) / total.clamp_min(NOTHING).unsqueeze(3)
    moved = torch.where((total > NOTHING).unsqueeze(3), middle, at).transpose(1, 2)
    cell = found.covariance.new_tensor((2 / width, 2 / height))
    spread = (found.covariance[..., :2] / cell.square()).mean(dim=3, keepdim=True)
    points = found.points.lerp(moved, spread / (spread + AGREED**2))
    window = (columns.sum(dim=3) * rows.sum(dim=3)).clamp_min(TINY)
    said = (summed(score / everybody, square_x, square_y) / window).transpose(1, 2)
    return Animals(points, found.covariance, (found.confidence * said).sqrt())


def _window(difference: Tensor, cell: float) -> Tensor:
    return (difference / (WIDTH * cell)).square().mul(-0.5).exp()
