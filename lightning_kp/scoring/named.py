"""Score named points as what they are: their distance from the labelled points of the same names, without any fit.

Distances are in pixels of the original images.  PCK (percentage of correct keypoints) is the share of labelled points
that are found within a reach: a length that is given, else a tenth of the body, or, where labels of one point show no
body, 5 % of the longer side of the frame.  The body is the median, over labelled animals, of the largest distance
between two points of one animal.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_kp.labels.animals import LabelledSet
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.animals import Floats, body_length
from lightning_kp.scoring.discovered import discovered_points

BODY_SHARE, SIDE_SHARE = 0.1, 0.05  # reach of PCK (ours)
ALL = "all points"


@dataclass(frozen=True)
class PointError:
    """Errors of one point, or of all.

    Attributes:
        labels: Number of labels compared.
        mean_px: Mean distance in pixels of the original image.
        median_px: Median of the same distances.
        pck: Share of the labels within the reach, in [0, 1].
    """

    labels: int
    mean_px: float
    median_px: float
    pck: float


@dataclass(frozen=True)
class NamedMetrics:
    """Errors of named points.

    Attributes:
        overall: Over all labels of all points.
        per_point: By name of the point; points without a label are left out.
        reach: What PCK counts as correct, for instance ``10 % of the body, 12.3 px``.
        unknown: Labelled points that the network does not name; they are not compared.
    """

    overall: PointError
    per_point: dict[str, PointError]
    reach: str
    unknown: tuple[str, ...] = ()

    def as_metrics(self, prefix: str = "") -> dict[str, object]:
        """Metrics by name, for ``metrics.json``."""
        known = {f"{prefix}named_{name}": value for name, value in asdict(self.overall).items()}
        return known | {
            f"{prefix}named_reach": self.reach,
            f"{prefix}named_per_point": {name: asdict(each) for name, each in self.per_point.items()},
        }

    def lines(self) -> list[str]:
        """A small table for the terminal."""
        rows = {ALL: self.overall, **self.per_point}
        width = max(22, *(len(name) + 2 for name in rows))
        return [
            f"{'named points':<{width}}{'labels':>7}{'mean px':>9}{'median px':>11}{'PCK':>8}",
            *(
                f"{name:<{width}}{each.labels:>7}{each.mean_px:>9.2f}{each.median_px:>11.2f}{each.pck:>8.1%}"
                for name, each in rows.items()
            ),
            f"PCK: share of labelled points found within {self.reach}",
            *(
                [f"not compared, since the run has no such point: {', '.join(self.unknown)}"]
                if self.unknown
                else []
            ),
        ]


def score_named(
    method: KeypointMethod, labels: LabelledSet, within_px: float | None = None
) -> NamedMetrics | None:
    """Compare the points that a method names with the labelled points of the same names.

    Args:
        method: A trained method that names its points and finds one row of them in an image.
        labels: Images (N, 3, S, S) and points (N, L, 2), normalised.
        within_px: Reach of PCK in pixels of the original images.

    Returns:
        The errors; None where no name is common to both, or no such point is labelled.
    """
    names = _plain_names(labels, method.keypoint_names)
    columns = {name: i for i, name in enumerate(names) if name in method.keypoint_names}
    if not columns:
        return None
    found = discovered_points(method, labels.image)[
        :, [method.keypoint_names.index(name) for name in columns]
    ]
    apart = (found - labels.points.double()[:, list(columns.values())]) / 2 * _sizes_px(labels).unsqueeze(1)
    distance = np.asarray(apart.norm(dim=-1))
    known = np.isfinite(distance)
    if not known.any():
        return None
    reach, reach_text = _reach(labels, within_px)
    correct = distance <= reach[:, None]
    per_point = {
        name: _point_error(distance[known[:, i], i], correct[known[:, i], i])
        for i, name in enumerate(columns)
        if known[:, i].any()
    }
    unknown = tuple(name for name in names if name not in columns)
    return NamedMetrics(_point_error(distance[known], correct[known]), per_point, reach_text, unknown)


def _plain_names(labels: LabelledSet, known: Sequence[str]) -> tuple[str, ...]:
    """Names of the labelled points; those of a single animal without its number, if the method has no numbers."""
    if labels.animals > 1 or any(name in known for name in labels.names):
        return labels.names
    return tuple(name.removesuffix("_1") for name in labels.names)


def _sizes_px(labels: LabelledSet) -> Tensor:
    """Width and height (N, 2) in pixels of the original that each square shows."""
    if labels.shown_px is None:
        return torch.tensor(labels.image.shape[-2:]).flip(0).expand(len(labels.image), 2).double()
    return labels.shown_px.flip(-1).double()


def _reach(labels: LabelledSet, within_px: float | None) -> tuple[Floats, str]:
    """Reach (N,) of each image in pixels, and a text that states it."""
    size = _sizes_px(labels)
    if within_px is not None:
        return np.full(len(size), within_px), f"{within_px:.1f} px"
    points_px = (labels.points.double() / 2 * size.unsqueeze(1)).unflatten(1, (labels.animals, -1))
    if (length := body_length(points_px.numpy())) > 0:
        reach = BODY_SHARE * length
        text = f"{100 * BODY_SHARE:.0f} % of the body: {reach:.1f} px (median body length {length:.0f} px)"
        return np.full(len(size), reach), text
    side = size.amax(dim=1)
    if labels.shown is not None:  # a square that follows the animal is no measure
        side = (labels.shown[:, 1, 2:] - labels.shown[:, 1, :2]).double().amax(dim=1)
    reaches: Floats = (SIDE_SHARE * side).numpy()
    return reaches, f"{100 * SIDE_SHARE:.0f} % of the frame's longer side: {np.median(reaches):.1f} px"


def _point_error(distance: Floats, correct: np.ndarray) -> PointError:
    return PointError(
        len(distance), float(distance.mean()), float(np.median(distance)), float(correct.mean())
    )
