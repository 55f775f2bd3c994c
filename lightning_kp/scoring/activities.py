"""Error of linear regression to 2-D joints, by activity (000, Table 5.3).

Protocol of the reference code: one linear regressor without bias, from all discovered to all labelled
coordinates in [-1, 1], is fitted to all images of the training subjects and scored on those of the
test subjects.  The error of an image is the mean distance of its joints in % of the image side, that of an
activity the mean over its images, and "all" is the mean over the activities.

Unnamed keypoints cannot distinguish left from right on people who turn their back, so that the regressor is fitted
to joints as seen in the image.  The reference code prints two numbers: the distance with left and right as on the
body, and the smaller of that and the distance to the pose with left and right exchanged.  The
paper does not say which one its table holds, so both are given here.

A method of named joints (the supervised row of Table 5.3) is scored as it is, without a regressor.

Statistics are summed over batches, so that memory does not grow with the number of images.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Literal, Protocol

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages, floats_in_unit_range
from lightning_kp.errors import DataError
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.regression import (
    PERCENT_OF_SIDE,
    LinearStatistics,
    labelled_mask,
    linear_statistics,
    solve_linear,
)
from lightning_kp.scoring.untrained import untrained_like

WARM_UP_BATCHES = 8  # from which the untrained network takes the statistics of its batch normalisation


class PoseSource(Protocol):
    """A source of labelled images, such as the datamodule Human36M."""

    activities: tuple[str, ...]

    def poses(
        self, side: Literal["train", "test"], activity: str, *, stride: int = 1, as_seen: bool = False
    ) -> Iterable[LabelledImages]:
        """Batches of one activity with one person per image.

        Args:
            side: Training or test subjects.
            activity: One of ``activities``.
            stride: Use every ``stride``-th image only.
            as_seen: Name left and right as they appear in the image, not as on the body.
        """
        ...


@dataclass(frozen=True)
class ActivityMetrics:
    """Errors in % of the image side by activity, "all" last.

    Attributes:
        linear: The smaller error of the two namings of left and right, for each image.
        linear_on_the_body: Error with left and right as on the body.
        untrained: ``linear`` of the untrained network.
        mean_pose: ``linear`` of the mean pose of the training images.
        images: Number of test images.
    """

    linear: dict[str, float]
    linear_on_the_body: dict[str, float]
    untrained: dict[str, float]
    mean_pose: dict[str, float]
    images: dict[str, int]

    def as_metrics(self, prefix: str = "") -> dict[str, float | dict[str, float] | dict[str, int]]:
        """Metrics by name, for ``metrics.json``; ``activities`` is the one number that a sweep compares."""
        parts = {f"{prefix}activities_{name}": value for name, value in asdict(self).items()}
        return {f"{prefix}activities": self.linear["all"], **parts}

    def lines(self) -> list[str]:
        """The rows of Table 5.3 for the terminal."""
        names = ["all", *(name for name in self.linear if name != "all")]
        width = max(11, *(len(name) + 2 for name in names))
        head = f"{'% of the image side':<28}" + "".join(f"{name:>{width}}" for name in names)
        rows = {
            "this run": self.linear,
            "left and right on the body": self.linear_on_the_body,
            "untrained network": self.untrained,
            "mean pose": self.mean_pose,
        }
        return [
            head,
            *(
                f"{row:<28}" + "".join(f"{values[name]:>{width}.2f}" for name in names)
                for row, values in rows.items()
            ),
        ]


def score_activities(
    method: KeypointMethod,
    source: PoseSource,
    mirror: Sequence[int],
    *,
    names: Sequence[str] = (),
    stride: int = 1,
    seed: int = 0,
) -> ActivityMetrics:
    """Fit to the training subjects and score on the test subjects.

    Args:
        method: The trained method.
        source: Labelled images by activity.
        mirror: For each of the L joints the index of its mirror image.
        names: Names of the L joints; a method whose keypoints have these names needs no regressor.
        stride: Use every ``stride``-th image only.
        seed: Seed of the untrained network.

    Raises:
        DataError: There is no training image, or no test image of some activity.
    """
    warm_up = islice(source.poses("train", source.activities[0], stride=stride), WARM_UP_BATCHES)
    twin = untrained_like(method, (batch.image for batch in warm_up), seed)
    readers = (_reader(method), _reader(twin))
    is_named = bool(names) and tuple(method.keypoint_names) == tuple(names)
    (predict, predict_twin), pose = _fit(source, stride, () if is_named else readers)
    by_activity: dict[str, Tensor] = {}
    images: dict[str, int] = {}
    for activity in source.activities:
        errors = []
        for batch in source.poses("test", activity, stride=stride):
            found, twin_found = (read(batch.image) for read in readers)
            predictions = (
                predict(found),
                predict_twin(twin_found),
                pose.expand(len(found), -1, -1),
            )
            ours, untrained, constant = (
                pose_distances(each, batch.points[:, 0], batch.confidence[:, 0], mirror)
                for each in predictions
            )
            errors.append(torch.stack((ours.amin(0), ours[0], untrained.amin(0), constant.amin(0))))
        if not errors:
            raise DataError(f"There is no test image of {activity}.", remedy="Use a smaller stride.")
        together = torch.cat(errors, dim=1)
        by_activity[activity], images[activity] = together.mean(dim=1), together.shape[1]
    by_activity["all"] = torch.stack(list(by_activity.values())).mean(dim=0)
    images["all"] = sum(images.values())
    columns = [{name: float(row[i]) for name, row in by_activity.items()} for i in range(4)]
    return ActivityMetrics(columns[0], columns[1], columns[2], columns[3], images)


def pose_distances(predicted: Tensor, labelled: Tensor, confidence: Tensor, mirror: Sequence[int]) -> Tensor:
    """Mean distance over the labelled joints of each pose, in % of the image side.

    Args:
        predicted: Poses (N, L, 2), normalised; NaN = no prediction.
        labelled: Poses (N, L, 2), normalised; NaN = unlabelled.
        confidence: Confidence (N, L) of the labels; 0 = unlabelled.
        mirror: For each of the L joints the index of its mirror image.

    Returns:
        Distances (2, N): to the label as named, and to the label with left and right exchanged.  Joints without a
        label or a prediction are ignored.
    """
    distances = []
    for order in (list(range(len(mirror))), list(mirror)):
        apart = (predicted - labelled[:, order].to(predicted)).norm(dim=-1) * PERCENT_OF_SIDE
        present = labelled_mask(labelled, confidence)[:, order] & ~torch.isnan(apart)
        distances.append(torch.where(present, apart, 0).sum(dim=1) / present.sum(dim=1).clamp(min=1))
    return torch.stack(distances)


Reader = Callable[[Tensor], Tensor]  # from images to points, or from points to joints


def _fit(
    source: PoseSource, stride: int, readers: tuple[()] | tuple[Reader, Reader]
) -> tuple[tuple[Reader, Reader], Tensor]:
    """Fit the regressors of both networks and the mean pose (1, L, 2) to all training images.

    Without readers, points are their own predictions.
    """
    statistics: list[LinearStatistics | None] = [None, None]
    total, number = torch.zeros(()), torch.zeros(())
    for activity in source.activities:
        for batch in source.poses("train", activity, stride=stride, as_seen=True):
            labelled, confidence = batch.points[:, 0].double(), batch.confidence[:, 0]
            for i, read in enumerate(readers):
                new = linear_statistics(read(batch.image), labelled, confidence)
                old = statistics[i]
                statistics[i] = (
                    new if old is None else LinearStatistics(*(a + b for a, b in zip(old, new, strict=True)))
                )
            present = labelled_mask(labelled, confidence).double().unsqueeze(-1)
            total = total + (labelled * present).sum(dim=0)
            number = number + present.sum(dim=0)
    if not number.any():
        raise DataError("There is no training image.", remedy="Use a smaller stride.")
    pose = (total / number).unsqueeze(0)
    if not readers:
        return (_as_found, _as_found), pose
    first, second = (solve_linear(each).predict for each in statistics if each is not None)
    return (first, second), pose


def _as_found(points: Tensor) -> Tensor:
    return points


def _reader(method: KeypointMethod) -> Reader:
    """A function from images (B, 3, H, W) to points (B, I * K, 2), normalised, float64."""

    def read(images: Tensor) -> Tensor:
        with torch.inference_mode():
            points = method.eval()(floats_in_unit_range(images.to(method.device))).points
        found: Tensor = points.flatten(1, 2).double().cpu().clone()
        return found

    return read
