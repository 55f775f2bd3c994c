"""The value type that every keypoint method speaks."""

from typing import NamedTuple

import torch
from torch import Tensor


class Keypoints(NamedTuple):
    """Keypoints of a batch of images.

    ``points`` (B, I, K, D), normalised; ``confidence`` (B, I, K) in [0, 1], 0 = absent.  I is 1 for
    one animal and for keypoints that name their own animal, and the largest number of animals in any
    image of the batch in a crowd; what fills up has confidence 0.  An absent point has finite
    coordinates, so that a NaN never enters a loss.
    """

    points: Tensor
    confidence: Tensor

    @property
    def present(self) -> Tensor:
        """(B, I, K) bool: which keypoints exist."""
        return self.confidence > 0

    @property
    def score(self) -> Tensor:
        """(B, I): how sure an instance is, the mean confidence of its present keypoints; 0 = no instance."""
        return self.confidence.sum(dim=-1) / self.present.sum(dim=-1).clamp_min(1)

    def select(self, index: Tensor) -> "Keypoints":
        """The keypoints with the given positions along K (a long tensor)."""
        return Keypoints(self.points.index_select(2, index), self.confidence.index_select(2, index))

    def flip(self, mirror: Tensor) -> "Keypoints":
        """Mirror left and right: x changes sign and keypoint k becomes keypoint ``mirror[k]``."""
        sign = self.points.new_ones(self.points.shape[-1])
        sign[0] = -1
        return Keypoints(self.points * sign, self.confidence).select(mirror)


def in_view(points: Tensor, confidence: Tensor) -> Keypoints:
    """Keypoints of which those outside of the image are absent."""
    return Keypoints(points, confidence * (points.abs() <= 1).all(dim=-1))


def from_missing(points: Tensor, *, placeholder: float = 0.0) -> Keypoints:
    """Points (B, I, K, D) with NaN for missing ones -> finite points with confidence 0 or 1."""
    missing = torch.isnan(points).any(dim=-1)
    filled = torch.where(missing.unsqueeze(-1), points.new_tensor(placeholder), points)
    return Keypoints(filled, (~missing).to(points.dtype))


def oks(predicted: Tensor, labelled: Tensor, present: Tensor, area: Tensor, sigma: Tensor) -> Tensor:
    """Similarity (...) in [0, 1] of points (..., K, 2); 0 where no point of the label is ``present``.

    ``present`` (..., K) says which points are labelled, ``area`` (...) is in the square of the points' unit,
    ``sigma`` (K) or ().  All leading axes broadcast: (I, 1, K, 2) against (J, K, 2) compares all pairs.
    """
    square = (predicted - labelled).square().sum(dim=-1)
    scale = 8 * area.clamp_min(torch.finfo(square.dtype).eps).unsqueeze(-1) * sigma.to(square).square()
    counted = present.to(square.dtype)
    return ((-square / scale).exp() * counted).sum(dim=-1) / counted.sum(dim=-1).clamp_min(1)


def box_of(points: Tensor, present: Tensor) -> Tensor:
    """Box (..., 4) = left, top, width, height of the present points among (..., K, 2); 0 where there are none."""
    seen = present.unsqueeze(-1)
    low = torch.where(seen, points, torch.inf).amin(dim=-2)
    high = torch.where(seen, points, -torch.inf).amax(dim=-2)
    known = present.any(dim=-1, keepdim=True)
    return torch.cat((torch.where(known, low, 0), torch.where(known, high - low, 0)), dim=-1)


def box_area(points: Tensor, present: Tensor) -> Tensor:
    """Area (...) of the box around the present points among (..., K, 2), at least 1."""
    return box_of(points, present)[..., 2:].prod(dim=-1).clamp_min(1)
