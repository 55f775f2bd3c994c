"""A linear map from discovered to named keypoints that works with few labelled frames.

Least squares (000, 5.5) has 2 K weights for each named coordinate, more than a handful of labels can determine.
Here a ridge penalty pulls each named point towards a safe guess.  Leave-one-out cross-validation chooses the strength
of the penalty and one of two families (ours):

* free: every coordinate of every keypoint has its own weight; the guess is the mean of the labels.
* rigid: each keypoint has one weight for both x and y, so that the map turns with the animal; the guess is
  one keypoint, or the mean of all, with a constant offset.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_kp.metrics.regression import LinearRegressor, check_points, labelled_mask

PENALTIES = tuple(10.0 ** (step / 2) for step in range(-6, 7))
"""Penalties that are tried, in units of the mean square of the features (ours)."""
MIN_FRAMES = 3
"""Labelled frames that leave-one-out cross-validation needs; with fewer, the guess itself is used."""


class Bridge(NamedTuple):
    """A fitted map and its expected error.

    ``regressor`` maps discovered points (N, K, 2) to named points (N, L, 2); NaN for a point without any label.
    ``error`` (L,) is the root mean square distance on the left-out frames, in normalised units (the image side is 2);
    NaN for a point with fewer than :data:`MIN_FRAMES` labels.
    """

    regressor: LinearRegressor
    error: Tensor


def fit_bridge(discovered: Tensor, labelled: Tensor) -> Bridge:
    """Fit the map on labelled frames, in float64.

    Args:
        discovered: Points (N, K, 2), normalised and finite.
        labelled: Points (N, L, 2) of the same frames, normalised; NaN = unlabelled.

    Raises:
        ConfigurationError: The shapes do not belong together.
        DataError: A discovered point is not finite.

    Example:
        >>> points = torch.tensor([[[0.0, 0.0]], [[0.5, 0.25]]])
        >>> bridge = fit_bridge(points, points + 0.1)
        >>> torch.allclose(bridge.regressor.predict(points), points.double() + 0.1)
        True
    """
    check_points(discovered, labelled)
    present = labelled_mask(labelled, None)
    fitted = [
        _fit_point(discovered.double()[mask], points[mask].double())
        for mask, points in zip(present.T, labelled.transpose(0, 1), strict=True)
    ]
    weights, errors = zip(*fitted, strict=True)
    return Bridge(LinearRegressor(torch.stack(weights)), torch.stack(errors))


def _fit_point(discovered: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (2 K + 1, 2) and error () of one named point.

    From discovered (n, K, 2) and labelled (n, 2) points of the n frames in which it is labelled.
    """
    number, keypoints = discovered.shape[:2]
    if not number:
        return discovered.new_full((2 * keypoints + 1, 2), torch.nan), discovered.new_tensor(torch.nan)
    guesses = torch.cat((torch.eye(keypoints), torch.full((1, keypoints), 1 / keypoints))).to(discovered)
    offsets = labelled.unsqueeze(1) - torch.einsum("gk,nkd->ngd", guesses, discovered)
    if number < MIN_FRAMES:
        best = int(offsets.square().sum(dim=(0, 2)).argmin())
        return _rigid(guesses[best], offsets[:, best].mean(dim=0)), discovered.new_tensor(torch.nan)
    free = _Ridge.fit(discovered.flatten(1).unsqueeze(1), labelled.unsqueeze(1))
    rigid = _Ridge.fit(discovered.transpose(1, 2), offsets.transpose(1, 2))
    free_errors, rigid_errors = free.left_out().sum(dim=-1), rigid.left_out()
    if free_errors.min() < rigid_errors.min():
        slope = free.slope(PENALTIES[int(free_errors.argmin())])
        weights = torch.cat((slope, (labelled.mean(dim=0) - discovered.flatten(1).mean(dim=0) @ slope)[None]))
        return weights, free_errors.min().sqrt()
    penalty, guess = divmod(int(rigid_errors.argmin()), len(guesses))
    shares = guesses[guess] + rigid.slope(PENALTIES[penalty])[:, guess]
    shift = labelled.mean(dim=0) - torch.einsum("k,kd->d", shares, discovered.mean(dim=0))
    return _rigid(shares, shift), rigid_errors.min().sqrt()


def _rigid(shares: Tensor, shift: Tensor) -> Tensor:
    """Weights (2 K + 1, 2) of the sum of all keypoints, weighted with ``shares`` (K,), plus ``shift`` (2,)."""
    return torch.cat((torch.kron(shares.unsqueeze(1), torch.eye(2).to(shares)), shift.unsqueeze(0)))


class _Ridge(NamedTuple):
    """Ridge regression of ``target`` (n, G, T) on features (n, G, F) with one constant for each of the G rows.

    The centred features are kept as their singular value decomposition, so that every penalty is cheap.
    """

    target: Tensor
    left: Tensor
    scale: Tensor
    right: Tensor
    unit: Tensor

    @classmethod
    def fit(cls, features: Tensor, target: Tensor) -> "_Ridge":
        centred = features - features.mean(dim=0)
        left, scale, right = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)
        unit = scale.square().mean().clamp_min(1e-12)
        return cls(target - target.mean(dim=0), left.view(*features.shape[:2], -1), scale, right, unit)

    def slope(self, penalty: float) -> Tensor:
        """Weights (F, T) for one penalty."""
        shrunk = self.scale / (self.scale.square() + penalty * self.unit)
        return self.right.T @ (shrunk.unsqueeze(1) * torch.einsum("ngr,ngt->rt", self.left, self.target))

    def left_out(self) -> Tensor:
        """Leave-one-out error (penalties, T): mean over frames of the squared error, summed over G."""
        number, rows = self.left.shape[:2]
        projected = torch.einsum("ngr,ngt->rt", self.left, self.target)
        errors = []
        for penalty in PENALTIES:
            kept = self.scale.square() / (self.scale.square() + penalty * self.unit)
            residual = self.target - torch.einsum("ngr,r,rt->ngt", self.left, kept, projected)
            # The hat matrix of each frame: how much it contributes to its own prediction, constant included.
            own = (
                torch.einsum("ngr,r,nhr->ngh", self.left, kept, self.left) + torch.eye(rows).to(kept) / number
            )
            alone = torch.linalg.solve(torch.eye(rows).to(kept) - own, residual)
            errors.append(alone.square().sum(dim=1).mean(dim=0))
        return torch.stack(errors)
