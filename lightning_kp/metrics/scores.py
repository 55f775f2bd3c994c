"""The result of a keypoint metric: one value per keypoint, their mean, and both as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_kp.errors import ConfigurationError
from lightning_kp.keypoints import Keypoints

if TYPE_CHECKING:
    import pandas as pd

    Row = dict[str, str | float | int]


class Scores(NamedTuple):
    """Values of K keypoints.

    ``mean`` () is over all counted points, so that a keypoint that is rarely labelled weighs little.
    ``per_keypoint`` (K,) is NaN for a keypoint without a counted point; ``counted`` (K,) are the numbers of points.
    torchmetrics squeezes single values: both are () when a metric with K = 1 returns them.

    Example:
        >>> average(torch.tensor([1.0, 1.0]), torch.tensor([1, 3])).rows(["nose", "tail"])[0]
        {'keypoint': 'nose', 'value': 1.0, 'count': 1}
    """

    mean: Tensor
    per_keypoint: Tensor
    counted: Tensor

    def rows(self, names: Sequence[str] | None = None) -> "list[Row]":
        """One dict (keypoint, value, count) per keypoint, and a last one named "mean".

        Raises ConfigurationError if there is not one name per keypoint.
        """
        values, counts = self.per_keypoint.reshape(-1).tolist(), self.counted.reshape(-1).tolist()
        labels = [str(k) for k in range(len(counts))] if names is None else list(names)
        if len(labels) != len(counts):
            raise ConfigurationError(
                f"The table needs {len(counts)} names, got {len(labels)}: {', '.join(labels)}.",
                remedy="Give one name per keypoint, in the order of the keypoints.",
            )
        rows: list[Row] = [
            {"keypoint": name, "value": value, "count": int(count)}
            for name, value, count in zip(labels, values, counts, strict=True)
        ]
        return [*rows, {"keypoint": "mean", "value": self.mean.item(), "count": int(sum(counts))}]

    def table(self, names: Sequence[str] | None = None) -> "pd.DataFrame":
        """:meth:`rows` as a pandas DataFrame with the columns keypoint, value, count."""
        import pandas as pd

        return pd.DataFrame(self.rows(names))


def average(total: Tensor, count: Tensor) -> Scores:
    """Divide sums ``total`` (K,) by the numbers ``count`` (K,) of counted points; NaN where the number is 0.

    Example:
        >>> average(torch.tensor([1.0, 1.0]), torch.tensor([1, 3]))
        Scores(mean=tensor(0.5000), per_keypoint=tensor([1.0000, 0.3333]), counted=tensor([1, 3]))
    """
    weights = count.to(total.dtype)
    return Scores(total.sum() / weights.sum(), total / weights, count)


def average_present(values: Tensor, present: Tensor) -> Scores:
    """Average values (N, K) over N, counting only those that are ``present`` (N, K) bool."""
    return average(torch.where(present, values, 0).sum(dim=0), present.sum(dim=0))


class KeypointAverage(Metric):
    """Mean of a value over all instances, for each of K keypoints."""

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
        """Add the values (B, I, K) of the points that are ``present`` (B, I, K) bool."""
        self.total += torch.where(present, values, 0).to(self.total).sum(dim=(0, 1))
        self.count += present.sum(dim=(0, 1))


def check_same_shape(predicted: Keypoints, labelled: Keypoints, num_keypoints: int) -> None:
    """Raise ConfigurationError unless both hold points (B, I, K, D) of one shape with K = ``num_keypoints``."""
    shapes = predicted.points.shape, labelled.points.shape
    if shapes[0] != shapes[1] or shapes[0][2] != num_keypoints:
        raise ConfigurationError(
            f"The metric needs predicted and labelled points of the same shape (B, I, {num_keypoints}, D), "
            f"got {tuple(shapes[0])} and {tuple(shapes[1])}.",
            remedy="Match the instances first, and create the metric with this number of keypoints.",
        )
