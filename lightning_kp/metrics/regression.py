"""How well do discovered keypoints predict labelled points?  Two regressors, a baseline, and their errors.

* linear: least squares from all discovered coordinates to all labelled ones, without a bias term
  (000, section 5.5).  Its origin is the image centre (ours: the paper does not say).  An untrained
  network can score well here, because the soft-argmax of nearly flat heatmaps is a tiny linear read-out of the image.
* matched: for each labelled point the one discovered keypoint that predicts it best after adding a constant
  offset (ours).  An untrained network cannot score well here.
* mean pose: the mean of the labelled points, whatever the image; the baseline of both.

Arguments are ``discovered`` (N, K, 2) and ``labelled`` (N, L, 2), both normalised, and ``confidence``
(N, L).  Labelled points that are NaN or have confidence 0 are ignored, each on its own.  Fit on one
part of the data and score on another.  All arithmetic is in float64; errors are in % of the image side: of the side
of the square in which the points are given, which is 2 long.  `kp score` gives them in the square of the whole frame,
not in the one that follows an animal.

The statistics of two parts of the data add up to those of the whole, so that a fit in parts is exact.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.metrics.scores import Scores, average_present

PERCENT_OF_SIDE = 100 / 2  # the image side is 2 in normalised coordinates


class LinearStatistics(NamedTuple):
    """Sums over the images in which each of L points is labelled, F = 2 K (+ 1 with a bias) features.

    ``number`` (L,) images, ``gram`` (L, F, F) = X'X, ``moment`` (L, F, 2) = X'Y.
    """

    number: Tensor
    gram: Tensor
    moment: Tensor


class MatchedStatistics(NamedTuple):
    """Sums over the images in which each of L points is labelled, of its offsets from K discovered keypoints.

    ``number`` (L,) images, ``total`` (L, K, 2) of the offsets, ``square`` (L, K) of their squared lengths.
    """

    number: Tensor
    total: Tensor
    square: Tensor


@dataclass(frozen=True)
class LinearRegressor:
    """A linear map with ``weights`` (L, F, 2), F = 2 K (+ 1 with a bias); NaN for a point that was never labelled."""

    weights: Tensor

    def predict(self, discovered: Tensor) -> Tensor:
        """Predict labelled points (N, L, 2) float64 from discovered points (N, K, 2), both normalised."""
        features = _features(discovered, bias=self.weights.shape[1] % 2 == 1)
        return torch.einsum("nf,lfd->nld", features, self.weights)

    def score(self, discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> Scores:
        """Mean distance in % of the image side, for each of the L points and over all; see :func:`landmark_error`."""
        return landmark_error(self.predict(discovered), labelled, confidence)


@dataclass(frozen=True)
class MatchedRegressor:
    """For each labelled point the index of its keypoint, ``match`` (L,), and the ``offset`` (L, 2) to add to it."""

    match: Tensor
    offset: Tensor

    def predict(self, discovered: Tensor) -> Tensor:
        """Predict labelled points (N, L, 2) float64 from discovered points (N, K, 2), both normalised."""
        return discovered.double()[:, self.match] + self.offset

    def score(self, discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> Scores:
        """Mean distance in % of the image side, for each of the L points and over all; see :func:`landmark_error`."""
        return landmark_error(self.predict(discovered), labelled, confidence)


def fit_linear(
    discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None, *, bias: bool = False
) -> LinearRegressor:
    """Fit the least-squares map of smallest norm.

    Args:
        discovered: Points (N, K, 2), normalised and finite.
        labelled: Points (N, L, 2), normalised; NaN = unlabelled.
        confidence: Confidence (N, L) of the labels; 0 = unlabelled.
        bias: Whether to add a constant; the paper does not.

    Raises:
        ConfigurationError: The shapes do not belong together.
        DataError: A discovered point is not finite.

    Example:
        >>> points = torch.tensor([[[0.0, 0.5]], [[0.5, 0.0]]])
        >>> regressor = fit_linear(points, 2 * points)
        >>> regressor.score(points, 2 * points).mean.item() < 1e-6
        True
    """
    return solve_linear(linear_statistics(discovered, labelled, confidence, bias=bias))


def fit_matched(discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> MatchedRegressor:
    """Choose for each labelled point the keypoint of least mean squared distance after its best constant offset.

    Args:
        discovered: Points (N, K, 2), normalised and finite.
        labelled: Points (N, L, 2), normalised; NaN = unlabelled.
        confidence: Confidence (N, L) of the labels; 0 = unlabelled.

    Raises:
        ConfigurationError: The shapes do not belong together.
        DataError: A discovered point is not finite.

    Example:
        >>> points = torch.tensor([[[0.0, 0.0], [0.5, 0.5]], [[0.5, 0.0], [0.25, 0.5]]])
        >>> regressor = fit_matched(points, points[:, 1:] + 0.25)
        >>> regressor.match.tolist(), regressor.offset.tolist()
        ([1], [[0.25, 0.25]])
    """
    return solve_matched(matched_statistics(discovered, labelled, confidence))


def mean_pose_error(
    fit_labelled: Tensor,
    labelled: Tensor,
    fit_confidence: Tensor | None = None,
    confidence: Tensor | None = None,
) -> Scores:
    """Error of always predicting the mean pose.

    Args:
        fit_labelled: Points (M, L, 2) whose mean is predicted, normalised; NaN = unlabelled.
        labelled: Points (N, L, 2) to score, normalised; NaN = unlabelled.
        fit_confidence: Confidence (M, L) of the former; 0 = unlabelled.
        confidence: Confidence (N, L) of the latter; 0 = unlabelled.

    Example:
        >>> mean_pose_error(torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]]), torch.tensor([[[0.5, 0.3]]])).mean.item()
        15.000000596046448
    """
    present = labelled_mask(fit_labelled, fit_confidence)
    total = torch.where(present.unsqueeze(-1), fit_labelled.double(), 0).sum(dim=0)
    mean_pose = total / present.sum(dim=0).unsqueeze(-1)
    return landmark_error(mean_pose.expand(len(labelled), -1, -1), labelled, confidence)


def landmark_error(predicted: Tensor, labelled: Tensor, confidence: Tensor | None = None) -> Scores:
    """Mean distance of predicted and labelled points (N, L, 2), normalised, in % of the image side.

    Points without a label are ignored, and so are points without a prediction (NaN), which were never labelled in the
    part that the regressor was fitted to.

    Example:
        >>> landmark_error(torch.tensor([[[0.5, 0.0]]]), torch.tensor([[[0.0, 0.0]]])).mean.item()
        25.0
    """
    distance = (predicted - labelled.to(predicted)).norm(dim=-1) * PERCENT_OF_SIDE
    present = labelled_mask(labelled, confidence) & ~torch.isnan(predicted).any(dim=-1)
    return average_present(distance, present)


def linear_statistics(
    discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None, *, bias: bool = False
) -> LinearStatistics:
    """Sums over these images that :func:`solve_linear` needs; arguments as in :func:`fit_linear`."""
    check_points(discovered, labelled)
    present = labelled_mask(labelled, confidence)
    features = _features(discovered, bias=bias)
    chosen = features * present.double().T.unsqueeze(-1)
    target = torch.where(present.unsqueeze(-1), labelled.double(), 0)
    gram = torch.einsum("lnf,ng->lfg", chosen, features)
    moment = torch.einsum("nf,nld->lfd", features, target)
    return LinearStatistics(present.sum(dim=0), gram, moment)


def solve_linear(statistics: LinearStatistics) -> LinearRegressor:
    """Solve the normal equations for the weights (L, F, 2) of smallest norm."""
    number, gram, moment = statistics
    weights = torch.linalg.pinv(gram, hermitian=True) @ moment
    return LinearRegressor(weights.masked_fill((number == 0)[:, None, None], torch.nan))


def matched_statistics(
    discovered: Tensor, labelled: Tensor, confidence: Tensor | None = None
) -> MatchedStatistics:
    """Sums over these images that :func:`solve_matched` needs; arguments as in :func:`fit_matched`."""
    check_points(discovered, labelled)
    present = labelled_mask(labelled, confidence)
    offsets = labelled.double().unsqueeze(2) - discovered.double().unsqueeze(1)
    offsets = torch.where(present[:, :, None, None], offsets, 0)
    return MatchedStatistics(present.sum(dim=0), offsets.sum(dim=0), offsets.square().sum(dim=(0, 3)))


def solve_matched(statistics: MatchedStatistics) -> MatchedRegressor:
    """Choose for each of the L labelled points the keypoint whose offset varies least."""
    number, total, square = statistics
    mean = total / number[:, None, None]
    variance = square / number[:, None] - mean.square().sum(dim=-1)
    match = variance.nan_to_num().argmin(dim=1)
    return MatchedRegressor(match, mean[torch.arange(len(match), device=match.device), match])


def labelled_mask(labelled: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Which points (N, L, 2) are labelled, (N, L) bool: they are not NaN and have a confidence (N, L) above 0."""
    finite = ~torch.isnan(labelled).any(dim=-1)
    return finite if confidence is None else finite & (confidence > 0)


def check_points(discovered: Tensor, labelled: Tensor) -> None:
    """Check that discovered points are (N, K, 2) and finite, and labelled points (N, L, 2).

    Raises:
        ConfigurationError: The shapes differ from these.
        DataError: A discovered point is not finite.
    """
    shapes = (discovered.shape, labelled.shape)
    if any(len(shape) != 3 or shape[-1] != 2 for shape in shapes) or len(discovered) != len(labelled):
        raise ConfigurationError(
            f"Regression needs discovered (N, K, 2) and labelled (N, L, 2) points of the same images, "
            f"got {tuple(shapes[0])} and {tuple(shapes[1])}.",
            remedy="Give normalised (x, y) coordinates of the same N images.",
        )
    if not torch.isfinite(discovered).all():
        raise DataError(
            "Some discovered points have NaN or infinite coordinates.",
            remedy="Check that the training converged; absent points need finite coordinates and confidence 0.",
        )


def _features(discovered: Tensor, *, bias: bool) -> Tensor:
    """Flatten points (N, K, 2) to features (N, 2 K) float64, with a last column of ones for a ``bias``."""
    flat = discovered.double().flatten(1)
    return torch.cat((flat, torch.ones_like(flat[:, :1])), dim=1) if bias else flat
