"""The value type that every keypoint method returns, and similarity and bounding boxes of points."""

from typing import NamedTuple

import torch
from torch import Tensor


class Keypoints(NamedTuple):
    """Keypoints of a batch of images.

    ``points`` (B, I, K, D), normalised; ``confidence`` (B, I, K) in [0, 1], 0 = absent.  I is 1 for
    one animal and for keypoints whose names already tell animals apart; for crowds it is the largest number of
    animals in any image of the batch, and padding instances have confidence 0.  An absent point has finite
    coordinates, so that no NaN ever enters a loss.

    >>> found = Keypoints(torch.zeros(1, 1, 2, 2), torch.tensor([[[0.8, 0.0]]]))
    >>> found.present.tolist()
    [[[True, False]]]
    """

    points: Tensor
    confidence: Tensor

    @property
    def present(self) -> Tensor:
        """Which keypoints exist: (B, I, K) bool."""
        return self.confidence > 0

    @property
    def score(self) -> Tensor:
        """Score (B, I) of each instance: the mean confidence of its present keypoints, 0 for an empty instance."""
        return self.confidence.sum(dim=-1) / self.present.sum(dim=-1).clamp_min(1)

    def select(self, index: Tensor) -> "Keypoints":
        """Keypoints (B, I, L, D) at the positions ``index`` (L,), int64, along K."""
        return Keypoints(self.points.index_select(2, index), self.confidence.index_select(2, index))

    def flip(self, mirror: Tensor) -> "Keypoints":
        """Mirror left and right: x changes sign and keypoint k becomes keypoint ``mirror[k]``, mirror (K,) int64.

        >>> pair = Keypoints(torch.tensor([[[[-0.5, 0.0], [0.25, 0.0]]]]), torch.ones(1, 1, 2))
        >>> pair.flip(torch.tensor([1, 0])).points[0, 0, :, 0].tolist()
        [-0.25, 0.5]
        """
        sign = self.points.new_ones(self.points.shape[-1])
        sign[0] = -1
        return Keypoints(self.points * sign, self.confidence).select(mirror)


def in_view(points: Tensor, confidence: Tensor) -> Keypoints:
    """Keypoints from points (B, I, K, D) and confidence (B, I, K); those outside the image become absent."""
    return Keypoints(points, confidence * (points.abs() <= 1).all(dim=-1))


def from_missing(points: Tensor, *, placeholder: float = 0.0) -> Keypoints:
    """Points (B, I, K, D), NaN = missing -> keypoints with finite points and confidence 0 or 1.

    >>> from_missing(torch.tensor([[[[0.5, 0.5], [torch.nan, torch.nan]]]])).confidence.tolist()
    [[[1.0, 0.0]]]
    """
    missing = torch.isnan(points).any(dim=-1)
    filled = torch.where(missing.unsqueeze(-1), points.new_tensor(placeholder), points)
    return Keypoints(filled, (~missing).to(points.dtype))


def oks(predicted: Tensor, labelled: Tensor, present: Tensor, area: Tensor, sigma: Tensor) -> Tensor:
    """Object keypoint similarity (...) in [0, 1] of points (..., K, 2); 0 where no labelled point is ``present``.

    ``present`` (..., K) says which points are labelled, ``area`` (...) is in the square of the points' unit,
    ``sigma`` (K) or ().  All leading axes broadcast: (I, 1, K, 2) against (J, K, 2) compares all pairs.

    >>> nose, area, sigma = torch.tensor([[0.0, 0.0]]), torch.tensor(1.0), torch.tensor(0.5)
    >>> oks(nose, nose, torch.tensor([True]), area, sigma).item()
    1.0
    """
    square = (predicted - labelled).square().sum(dim=-1)
    scale = 8 * area.clamp_min(torch.finfo(square.dtype).eps).unsqueeze(-1) * sigma.to(square).square()
    counted = present.to(square.dtype)
    return ((-square / scale).exp() * counted).sum(dim=-1) / counted.sum(dim=-1).clamp_min(1)


def bounding_box(points: Tensor, present: Tensor) -> Tensor:
    """Bounding box (..., 4) = left, top, width, height of the present points among (..., K, 2).

    ``present`` (..., K) bool; the box is 0 where no point is present.

    >>> bounding_box(torch.tensor([[1.0, 2.0], [4.0, 3.0], [9.0, 9.0]]), torch.tensor([True, True, False])).tolist()
    [1.0, 2.0, 3.0, 1.0]
    """
    seen = present.unsqueeze(-1)
    low = torch.where(seen, points, torch.inf).amin(dim=-2)
    high = torch.where(seen, points, -torch.inf).amax(dim=-2)
    known = present.any(dim=-1, keepdim=True)
    return torch.cat((torch.where(known, low, 0), torch.where(known, high - low, 0)), dim=-1)


def box_area(points: Tensor, present: Tensor) -> Tensor:
    """Area (...), at least 1, of the bounding box of the ``present`` (..., K) points among (..., K, 2)."""
    return bounding_box(points, present)[..., 2:].prod(dim=-1).clamp_min(1)
