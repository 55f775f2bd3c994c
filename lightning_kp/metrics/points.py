"""Keypoint metrics as torchmetrics: states carry their reduction, so several processes agree with one.

``compute()`` returns :class:`lightning_kp.metrics.scores.Scores` (mean, per keypoint, counted).  In a method::

    self.pck.update(self(batch.image), labels, length)                 # validation_step
    self.log("val/pck", self.pck.compute().mean)                       # on_validation_epoch_end
    self.pck.reset()

Regression errors have two parts of data, in any order and any number of calls::

    error = LandmarkRegressionError(discovered=8, labelled=4)
    error.update(keypoints, labels, part="fit")
    error.update(other_keypoints, other_labels, part="score")
    error.compute().table(["nose", "ear", "body", "tail"])

Labelled points with confidence 0 are ignored.  The regression errors hold float64 states: keep them
on the CPU where a device has no float64 (Apple's MPS).
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.regression import (
    LinearRegressor,
    LinearStatistics,
    MatchedRegressor,
    MatchedStatistics,
    check_points,
    labelled_mask,
    linear_statistics,
    matched_statistics,
    solve_linear,
    solve_matched,
)
from lightning_kp.metrics.scores import Scores, average

Part = Literal["fit", "score"]


class _KeypointAverage(Metric):
    """A mean over images per keypoint: two sum states."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, num_keypoints: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(num_keypoints), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(num_keypoints, dtype=torch.long), dist_reduce_fx="sum")

    def compute(self) -> Scores:
        return average(self.total, self.count)

    def _add(self, values: Tensor, present: Tensor) -> None:
        """Count the values (B, I, K) at the present points."""
        self.total += torch.where(present, values, 0).to(self.total).sum(dim=(0, 1))
        self.count += present.sum(dim=(0, 1))


class PCK(_KeypointAverage):
    """Share of labelled points whose prediction lies within ``threshold`` times a length (the border counts).

    The length is whatever the data set's protocol names: side of the image or box, head, torso.
    Instances must correspond.  A prediction with confidence 0 is a miss.
    """

    higher_is_better = True

    def __init__(self, num_keypoints: int, threshold: float = 0.1, **kwargs: Any) -> None:
        super().__init__(num_keypoints, **kwargs)
        self.threshold = threshold

    def update(self, predicted: Keypoints, labelled: Keypoints, length: Tensor | float = 2.0) -> None:
        """Keypoints (B, I, K, D); ``length`` (B,) or (B, I) in the unit of the points (2 = image side)."""
        _check_same_shape(predicted, labelled, len(self.count))
        lengths = torch.as_tensor(length).to(labelled.points)
        lengths = lengths.reshape(lengths.shape + (1,) * (3 - lengths.ndim))
        distance = (predicted.points - labelled.points).norm(dim=-1)
        hit = (distance <= self.threshold * lengths) & predicted.present
        self._add(hit, labelled.present)


class MPJPE(_KeypointAverage):
    """Mean distance of predicted and labelled joints, in the unit of the points (3-D: millimetres).

    With ``root`` both poses are first moved so that this joint is the origin; poses whose root is
    not labelled are ignored.  Every labelled joint counts, whatever the prediction's confidence.
    """

    higher_is_better = False

    def __init__(self, num_keypoints: int, root: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_keypoints, **kwargs)
        self.root = root

    def update(self, predicted: Keypoints, labelled: Keypoints) -> None:
        """Keypoints (B, I, K, D), D 2 or 3."""
        _check_same_shape(predicted, labelled, len(self.count))
        source, target, present = predicted.points, labelled.points, labelled.present
        if self.root is not None:
            source = source - source[:, :, self.root, None]
            target = target - target[:, :, self.root, None]
            present = present & present[:, :, self.root, None]
        self._add((source - target).norm(dim=-1), present)


class PAMPJPE(_KeypointAverage):
    """MPJPE after the best similarity (rotation, scale, translation; no reflection) of each pose.

    A similarity fits any two points exactly, so poses with fewer than three labelled joints are ignored.
    """

    higher_is_better = False

    def update(self, predicted: Keypoints, labelled: Keypoints) -> None:
        """Keypoints (B, I, K, D), D 2 or 3."""
        _check_same_shape(predicted, labelled, len(self.count))
        present = labelled.present
        present = present & (present.sum(dim=-1, keepdim=True) >= 3)
        aligned = align_similarity(predicted.points, labelled.points, present)
        self._add((aligned - labelled.points.to(aligned)).norm(dim=-1), present)


def align_similarity(source: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
    """Move ``source`` (..., K, D) onto ``target`` by the least-squares similarity over ``present`` (..., K).

    Rotation is proper (never a reflection); computed and returned in float64.  Source: Umeyama,
    "Least-squares estimation of transformation parameters", 1991, eq. 40 to 43.
    """
    source, target = source.double(), target.double()
    weight = (torch.ones_like(source[..., 0]) if present is None else present.double()).unsqueeze(-1)
    number = weight.sum(dim=-2, keepdim=True).clamp_min(1)
    source_mean = (weight * source).sum(dim=-2, keepdim=True) / number
    target_mean = (weight * target).sum(dim=-2, keepdim=True) / number
    source, target = source - source_mean, target - target_mean
    u, singular, vh = torch.linalg.svd((weight * target).mT @ source)
    # The last direction is turned round where the best orthogonal map would be a reflection.
    sign = torch.ones_like(singular)
    sign[..., -1] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0)
    rotation = (u * sign.unsqueeze(-2)) @ vh
    spread = (weight * source.square()).sum(dim=(-2, -1))
    scale = (singular * sign).sum(dim=-1) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    aligned: Tensor = scale[..., None, None] * (source @ rotation.mT) + target_mean
    return aligned


class _RegressionError(Metric):
    """A regressor fitted on one part of the data and scored on another.

    The fit needs only sums; the points to score are kept until ``compute``, because the regressor
    is not known before all processes have contributed to it.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    fit_count: Tensor
    held_out: list[Tensor]

    def __init__(self, discovered: int, labelled: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.discovered, self.labelled = discovered, labelled
        # torchmetrics gathers this type and one dimension from a process that held nothing out.
        self.set_dtype(torch.float64)
        self.add_state("held_out", [], dist_reduce_fx="cat")
        self.add_state("fit_count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        empty = self._statistics(torch.zeros(0, discovered, 2), torch.zeros(0, labelled, 2))
        for name, zero in empty._asdict().items():
            self.add_state(name, zero, dist_reduce_fx="sum")

    def update(self, discovered: Keypoints, labelled: Keypoints, *, part: Part) -> None:
        """Keypoints (B, I, K, 2) and (B, I', L, 2) of the same images; instances count as further points.

        ``part`` "fit": the regressor is fitted on these images; "score": its error is measured on them.
        """
        points = self._flatten(discovered.points, "discovered", self.discovered)
        target = self._flatten(labelled.points, "labelled", self.labelled)
        check_points(points, target)
        present = labelled_mask(target, labelled.confidence.flatten(1).to(self.device))
        target = target.masked_fill(~present.unsqueeze(-1), torch.nan)
        if part == "score":
            self.held_out.append(torch.cat((points, target), dim=1).flatten())
        elif part == "fit":
            self.fit_count += len(points)
            for name, value in self._statistics(points, target)._asdict().items():
                setattr(self, name, getattr(self, name) + value)
        else:
            raise ConfigurationError(
                f'The part of an update is unknown: "{part}".', remedy='Give part="fit" or part="score".'
            )

    def compute(self) -> Scores:
        held_out = torch.zeros(0) if len(self.held_out) == 0 else dim_zero_cat(self.held_out)
        held_out = held_out.view(-1, self.discovered + self.labelled, 2)
        if len(held_out) == 0 or self.fit_count == 0:
            raise DataError(
                f"{type(self).__name__} needs images to fit on and others to score, "
                f"got {int(self.fit_count)} and {len(held_out)}.",
                remedy='Call update(..., part="fit") and update(..., part="score") before compute().',
            )
        points, target = held_out.split((self.discovered, self.labelled), dim=1)
        return self.regressor().score(points, target)

    def regressor(self) -> LinearRegressor | MatchedRegressor:
        """The regressor fitted on what this process has seen (inside ``compute``: all processes)."""
        raise NotImplementedError

    def _statistics(self, discovered: Tensor, labelled: Tensor) -> LinearStatistics | MatchedStatistics:
        raise NotImplementedError

    def _flatten(self, points: Tensor, side: str, number: int) -> Tensor:
        flat = points.to(self.device, torch.float64).flatten(1, 2)
        if flat.shape[1] != number:
            raise ConfigurationError(
                f"{type(self).__name__}({side}={number}) got {flat.shape[1]} {side} points.",
                remedy=f"Create it with {side}={flat.shape[1]} (instances times keypoints).",
            )
        return flat


class LandmarkRegressionError(_RegressionError):
    """Mean distance in % of the image side after a linear map of all discovered points (000, section 5.5).

    No ``bias`` by default, as in the paper.
    """

    number: Tensor
    gram: Tensor
    moment: Tensor

    def __init__(self, discovered: int, labelled: int, bias: bool = False, **kwargs: Any) -> None:
        self.bias = bias
        super().__init__(discovered, labelled, **kwargs)

    def regressor(self) -> LinearRegressor:
        return solve_linear(LinearStatistics(self.number, self.gram, self.moment))

    def _statistics(self, discovered: Tensor, labelled: Tensor) -> LinearStatistics:
        return linear_statistics(discovered, labelled, bias=self.bias)


class MatchedRegressionError(_RegressionError):
    """Mean distance in % of the image side when one keypoint with an offset stands for each point."""

    number: Tensor
    total: Tensor
    square: Tensor

    def regressor(self) -> MatchedRegressor:
        return solve_matched(MatchedStatistics(self.number, self.total, self.square))

    def _statistics(self, discovered: Tensor, labelled: Tensor) -> MatchedStatistics:
        return matched_statistics(discovered, labelled)


def _check_same_shape(predicted: Keypoints, labelled: Keypoints, num_keypoints: int) -> None:
    shapes = predicted.points.shape, labelled.points.shape
    if shapes[0] != shapes[1] or shapes[0][2] != num_keypoints:
        raise ConfigurationError(
            f"The metric needs predicted and labelled points (B, I, {num_keypoints}, D) alike, "
            f"got {tuple(shapes[0])} and {tuple(shapes[1])}.",
            remedy="Match the instances first, and create the metric with the number of keypoints.",
        )
