"""The result of every keypoint metric: one value per keypoint, their mean, and tables of both."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

    Row = dict[str, str | float | int]


class Scores(NamedTuple):
    """``per_keypoint`` (K,), NaN where nothing was counted; ``counted`` (K,) points that entered.

    torchmetrics squeezes single values: both are () when a metric with K = 1 returns them.
    ``mean`` () is over all counted points, so a keypoint that is rarely labelled weighs little.
    """

    mean: Tensor
    per_keypoint: Tensor
    counted: Tensor

    def rows(self, names: Sequence[str] | None = None) -> "list[Row]":
        """One dict (keypoint, value, count) per keypoint and a last one named "mean"."""
        values, counts = self.per_keypoint.reshape(-1).tolist(), self.counted.reshape(-1).tolist()
        labels = [str(k) for k in range(len(counts))] if names is None else list(names)
        if len(labels) != len(counts):
            raise ConfigurationError(
                f"The table needs {len(counts)} names, got {len(labels)}: {', '.join(labels)}.",
                remedy="Give one name per keypoint, in their order.",
            )
        rows: list[Row] = [
            {"keypoint": name, "value": value, "count": int(count)}
            for name, value, count in zip(labels, values, counts, strict=True)
        ]
        return [*rows, {"keypoint": "mean", "value": self.mean.item(), "count": int(sum(counts))}]

    def table(self, names: Sequence[str] | None = None) -> "pd.DataFrame":
        """:meth:`rows` as a pandas table with the columns keypoint, value, count."""
        import pandas as pd

        return pd.DataFrame(self.rows(names))


def average(total: Tensor, count: Tensor) -> Scores:
    """Sums ``total`` (K,) over ``count`` (K,) counted points -> Scores; NaN where the count is 0."""
    weights = count.to(total.dtype)
    return Scores(total.sum() / weights.sum(), total / weights, count)


def average_present(values: Tensor, present: Tensor) -> Scores:
    """Values (N, K), of which those with ``present`` (N, K) count, -> Scores over N."""
    return average(torch.where(present, values, 0).sum(dim=0), present.sum(dim=0))
