"""Viewpoint equivariance: mirrored images of objects that look to one side (000, 4.4, Algorithm 1 and eq. 4.5)."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Literal["mse", "norm"]


class Mirrored(NamedTuple):
    """``rows`` (N_v,) of the images that are mirrored, and ``labels`` (N_v, K, 2), the keypoints of their mirrors."""

    rows: Tensor
    labels: Tensor


def facing_one_side(points: Tensor, parts: int, wide: int, mirrored: int, side: str) -> Mirrored:
    """Choose images that look to one side, and label their mirror images (Algorithm 1).

    Args:
        points: Keypoints (N, K, 2), normalised, K at least 2.
        parts: The first K_w keypoints tell the side.
        wide: Number N_s of images whose keypoints vary most in x.
        mirrored: Number N_v of these that look furthest to one side.
        side: ``right`` or ``left``.

    Returns:
        The chosen rows, and their keypoints with x negated, without gradient; fewer where there are fewer images.

    Example:
        >>> points = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]], [[0.7, 0.2], [-0.7, 0.2]], [[0.1, 0.0], [0.0, 0.0]]])
        >>> facing_one_side(points, parts=1, wide=2, mirrored=1, side="right").rows.tolist()
        [1]
    """
    points = points.detach()
    x = points[..., 0]
    widest = x.var(dim=1).argsort(descending=True, stable=True)[:wide]
    centre = x[widest, :parts].mean(dim=1)
    rows = widest[centre.argsort(descending=side == "right", stable=True)[:mirrored]]
    return Mirrored(rows, points[rows] * points.new_tensor((-1, 1)))


def viewpoint_loss(points: Tensor, labels: Tensor, distance: Distance = "mse") -> Tensor:
    """Distance of keypoints (N, K, 2) of mirrored images from their labels (eq. 4.5); a scalar.

    ``mse`` is the mean squared error over coordinates, as the text says, ``norm`` the mean Euclidean distance of whole
    poses, as the formula does.

    >>> points, labels = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    >>> viewpoint_loss(points, labels).item(), viewpoint_loss(points, labels, "norm").item()
    (6.25, 5.0)
    """
    if distance == "mse":
        return F.mse_loss(points, labels)
    poses: Tensor = torch.linalg.vector_norm((points - labels).flatten(1), dim=1)
    return poses.mean()
