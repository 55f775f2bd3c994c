"""How well discovered keypoints tell where labelled points are: three regressors and their error.

* linear: least squares from all discovered coordinates to all labelled ones, without a bias term
  (000, section 5.5).  Its origin is the image centre (ours: the paper does not say).  An untrained
  network can look good here, because soft-argmax of nearly flat heatmaps is a tiny linear read-out.
* matched: for each labelled point the one discovered keypoint that, with a constant offset,
  predicts it best (ours).  An untrained network cannot look good here.
* mean pose: the mean of the labelled points, whatever the image; the baseline of both.

Arguments are ``discovered`` (N, K, 2) and ``labelled`` (N, L, 2), normalised, and ``confidence``
(N, L): labelled points that are NaN or have confidence 0 are ignored, each by itself.  Fit on one
part of the data and score on another.  All arithmetic is float64; errors are in % of the image side.

Statistics of two parts of the data add up to those of the whole, so that a fit over several
processes is exact (see :mod:`lightning_kp.metrics.points`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.metrics.scores import Scores, average_present

PERCENT_OF_SIDE = 100 / 2  # the image side is two normalised units


class LinearStatistics(NamedTuple):
    """``gram`` (L, F, F) = X'X, ``moment`` (L, F, 2) = X'Y over ``number`` (L,) images."""

    number: Tensor
    gram: Tensor
    moment: Tensor


class MatchedStatistics(NamedTuple):
    """Of the offsets d = labelled - discovered: ``number`` (L,), ``total`` (L, K, 2), ``square`` (L, K)."""

    number: Tensor
    total: Tensor
    square: Tensor


@dataclass(frozen=True)
class LinearRegressor:
    """``weights`` (L, F, 2), F = 2 K (+ 1 with a bias); NaN for a point that was never labelled."""

    weights: Tensor

    def predict(self, discovered: Tensor) -> Tensor:
        """Discovered points (N, K, 2) -> labelled points (N, L, 2)."""
        features = _features(discovered, bias=self.weights.shape[1] % 2 == 1)
        return torch.einsum("nf,lfd->nld", features, self.weights)

    def score(self, discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> Scores:
        """Mean distance in % of the image side, per labelled point (L,) and over all."""
        return landmark_error(self.predict(discovered), labelled, confidence)


@dataclass(frozen=True)
class MatchedRegressor:
    """``match`` (L,): the keypoint that stands for each labelled point; ``offset`` (L, 2) to add to it."""

    match: Tensor
    offset: Tensor

    def predict(self, discovered: Tensor) -> Tensor:
        """Discovered points (N, K, 2) -> labelled points (N, L, 2)."""
        return discovered.double()[:, self.match] + self.offset

    def score(self, discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> Scores:
        """Mean distance in % of the image side, per labelled point (L,) and over all."""
        return landmark_error(self.predict(discovered), labelled, confidence)


def fit_linear(
    discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None, *, bias: bool = False
) -> LinearRegressor:
    """Least squares of smallest norm; the paper's has no ``bias``."""
    return solve_linear(linear_statistics(discovered, labelled, confidence, bias=bias))


def fit_matched(discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> MatchedRegressor:
    """The keypoint with the least mean squared distance after its best constant offset, for each point."""
    return solve_matched(matched_statistics(discovered, labelled, confidence))


def mean_pose_error(
    fit_labelled: Tensor,
    labelled: Tensor,
    fit_confidence: Tensor | None = None,
    confidence: Tensor | None = None,
) -> Scores:
    """Error on ``labelled`` (N, L, 2) of always answering the mean of ``fit_labelled`` (M, L, 2)."""
    present = labelled_mask(fit_labelled, fit_confidence)
    total = torch.where(present.unsqueeze(-1), fit_labelled.double(), 0).sum(dim=0)
    mean_pose = total / present.sum(dim=0).unsqueeze(-1)
    return landmark_error(mean_pose.expand(len(labelled), -1, -1), labelled, confidence)


def landmark_error(predicted: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> Scores:
    """Mean distance of points (N, L, 2) in % of the image side.

    A point that was never labelled in the fitting part has no prediction (NaN) and is left out.
    """
    distance = (predicted - labelled.to(predicted)).norm(dim=-1) * PERCENT_OF_SIDE
    present = labelled_mask(labelled, confidence) & ~torch.isnan(predicted).any(dim=-1)
    return average_present(distance, present)


def linear_statistics(
    discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None, *, bias: bool = False
) -> LinearStatistics:
    """What :func:`solve_linear` needs of these images; sums over parts of the data."""
    check_points(discovered, labelled)
    present = labelled_mask(labelled, confidence)
    features = _features(discovered, bias=bias)
    chosen = features * present.double().T.unsqueeze(-1)
    target = torch.where(present.unsqueeze(-1), labelled.double(), 0)
    gram = torch.einsum("lnf,ng->lfg", chosen, features)
    moment = torch.einsum("nf,nld->lfd", features, target)
    return LinearStatistics(present.sum(dim=0), gram, moment)


def solve_linear(statistics: LinearStatistics) -> LinearRegressor:
    """Weights of smallest norm from the normal equations."""
    number, gram, moment = statistics
    weights = torch.linalg.pinv(gram, hermitian=True) @ moment
    return LinearRegressor(weights.masked_fill((number == 0)[:, None, None], torch.nan))


def matched_statistics(
    discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None
) -> MatchedStatistics:
    """What :func:`solve_matched` needs of these images; sums over parts of the data."""
    check_points(discovered, labelled)
    present = labelled_mask(labelled, confidence)
    offsets = labelled.double().unsqueeze(2) - discovered.double().unsqueeze(1)
    offsets = torch.where(present[:, :, None, None], offsets, 0)
    return MatchedStatistics(present.sum(dim=0), offsets.sum(dim=0), offsets.square().sum(dim=(0, 3)))


def solve_matched(statistics: MatchedStatistics) -> MatchedRegressor:
    """Choose for each labelled point the keypoint whose offset varies least."""
    number, total, square = statistics
    mean = total / number[:, None, None]
    variance = square / number[:, None] - mean.square().sum(dim=-1)
    match = variance.nan_to_num().argmin(dim=1)
    return MatchedRegressor(match, mean[torch.arange(len(match), device=match.device), match])


def labelled_mask(labelled: Tensor, confidence: Tensor | None = None) -> Tensor:
    """(N, L) bool: which points (N, L, 2) count, that is are not NaN and have a confidence above 0."""
    finite = ~torch.isnan(labelled).any(dim=-1)
    return finite if confidence is None else finite & (confidence > 0)


def check_points(discovered: Tensor, labelled: Tensor) -> None:
    """Refuse tensors that are not (N, K, 2) and (N, L, 2), and discovered points that are not finite."""
    shapes = (discovered.shape, labelled.shape)
    if any(len(shape) != 3 or shape[-1] != 2 for shape in shapes) or len(discovered) != len(labelled):
        raise ConfigurationError(
            f"Regression needs discovered (N, K, 2) and labelled (N, L, 2) points of the same images, "
            f"got {tuple(shapes[0])} and {tuple(shapes[1])}.",
            remedy="Give normalised x, y of the same N images on both sides.",
        )
    if not torch.isfinite(discovered).all():
        raise DataError(
            "Discovered points hold NaN or infinite coordinates.",
            remedy="Check that training converged; absent points need finite coordinates and confidence 0.",
        )


def _features(discovered: Tensor, *, bias: bool) -> Tensor:
    """(N, K, 2) -> (N, 2 K), and a last column of ones with ``bias``."""
    flat = discovered.double().flatten(1)
    return torch.cat((flat, torch.ones_like(flat[:, :1])), dim=1) if bias else flat
