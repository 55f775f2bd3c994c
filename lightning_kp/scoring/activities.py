"""Error of linear regression to 2-D joints per activity (000, Table 5.3).

Protocol of the reference code: one linear regressor without bias from all discovered to all labelled
coordinates, in [-1, 1], is fitted on every image of the training subjects and scored on those of the
test subjects; an image's error is the mean distance of its joints in % of the image side, an
activity's the mean over its images, "all" the mean over the activities.  Left and right of people
who turn their back cannot be told by keypoints that were never named, so that the regressor is fitted
on joints as seen.  The reference code prints two figures, the distance with left and right as on the
body, and the smaller of that and of the distance to the pose with left and right exchanged; the
paper does not say which one its table holds, so both are given here.

Statistics add up over batches, so that memory does not grow with the number of images.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages, floats_in_unit_range
from lightning_kp.errors import DataError
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.regression import (
    PERCENT_OF_SIDE,
    LinearRegressor,
    LinearStatistics,
    labelled_mask,
    linear_statistics,
    solve_linear,
)

WARM_UP = 8  # batches from which an untrained network takes the statistics of its batch normalisation


class PoseSource(Protocol):
    """Where labelled images come from, such as the datamodule Human36M."""

    activities: tuple[str, ...]

    def poses(
        self, side: Literal["train", "test"], activity: str, *, stride: int = 1, as_seen: bool = False
    ) -> Iterable[LabelledImages]:
        """Batches of one activity, one person per image."""
        ...


@dataclass(frozen=True)
class ActivityFigures:
    """% of the image side by activity, "all" last.

    ``linear``: the smaller of both namings of left and right; ``linear_on_the_body``: left is left;
    ``untrained``: as ``linear`` with the network before training; ``mean_pose``: as ``linear`` for the
    mean pose of the training images; ``images``: number of test images.
    """

    linear: dict[str, float]
    linear_on_the_body: dict[str, float]
    untrained: dict[str, float]
    mean_pose: dict[str, float]
    images: dict[str, int]

    def as_metrics(self, prefix: str = "") -> dict[str, dict[str, float] | dict[str, int]]:
        """Figures by name, for ``metrics.json``."""
        return {f"{prefix}activities_{name}": value for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """Table 5.3's rows for the terminal."""
        names = [*(name for name in self.linear if name != "all")]
        names = ["all", *names]
        width = max(11, *(len(name) + 2 for name in names))
        head = f"{'% of the image side':<28}" + "".join(f"{name:>{width}}" for name in names)
        rows = {
            "this run": self.linear,
            "left and right on the body": self.linear_on_the_body,
            "same, untrained": self.untrained,
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
    method: KeypointMethod, source: PoseSource, mirror: Sequence[int], *, stride: int = 1, seed: int = 0
) -> ActivityFigures:
    """Fit on the training subjects, score on the test subjects; ``mirror`` (L) exchanges left and right."""
    fresh = _untrained(method, source, stride, seed)
    readers = (_reader(method), _reader(fresh))
    regressor, fresh_regressor, pose = _fit(source, stride, readers)
    by_activity: dict[str, Tensor] = {}
    images: dict[str, int] = {}
    for activity in source.activities:
        errors = []
        for batch in source.poses("test", activity, stride=stride):
            found, fresh_found = (read(batch.image) for read in readers)
            predictions = (
                regressor.predict(found),
                fresh_regressor.predict(fresh_found),
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
    return ActivityFigures(columns[0], columns[1], columns[2], columns[3], images)


def pose_distances(predicted: Tensor, labelled: Tensor, confidence: Tensor, mirror: Sequence[int]) -> Tensor:
    """Mean distance over the labelled joints in % of the image side: (2, N), as named and mirrored.

    Poses (N, L, 2); a joint that is missing is left out on both sides.
    """
    distances = []
    for order in (list(range(len(mirror))), list(mirror)):
        apart = (predicted - labelled[:, order].to(predicted)).norm(dim=-1) * PERCENT_OF_SIDE
        present = labelled_mask(labelled, confidence)[:, order] & ~torch.isnan(apart)
        distances.append(torch.where(present, apart, 0).sum(dim=1) / present.sum(dim=1).clamp(min=1))
    return torch.stack(distances)


Reader = Callable[[Tensor], Tensor]


def _fit(
    source: PoseSource, stride: int, readers: tuple[Reader, Reader]
) -> tuple[LinearRegressor, LinearRegressor, Tensor]:
    """Regressors of both networks and the mean pose (1, L, 2), from all training images."""
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
    first, second = statistics
    if first is None or second is None:
        raise DataError("There is no training image.", remedy="Use a smaller stride.")
    return solve_linear(first), solve_linear(second), (total / number).unsqueeze(0)


def _reader(method: KeypointMethod) -> Reader:
    def read(images: Tensor) -> Tensor:
        with torch.inference_mode():
            points = method.eval()(floats_in_unit_range(images.to(method.device))).points
        found: Tensor = points.flatten(1, 2).double().cpu().clone()
        return found

    return read


def _untrained(method: KeypointMethod, source: PoseSource, stride: int, seed: int) -> KeypointMethod:
    """The same network before training; its batch normalisation has seen some of the images, as any training would."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(method)(**dict(method.hparams)).to(method.device)
    with torch.inference_mode():
        fresh.train()
        for number, batch in enumerate(source.poses("train", source.activities[0], stride=stride)):
            if number == WARM_UP:
                break
            fresh.heatmaps(floats_in_unit_range(batch.image.to(method.device)))
    return fresh.eval()
