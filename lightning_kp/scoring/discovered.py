"""Score discovered keypoints by regression to labelled points, against two baselines.

Protocol: the frames of the label file in time order; regressors are fitted to the first half and scored
on the second.  Baselines: the untrained network, and the mean pose of the first half.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.errors import DataError
from lightning_kp.labels.animals import LabelledSet
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.body_order import order_kept
from lightning_kp.metrics.regression import fit_linear, fit_matched, mean_pose_error
from lightning_kp.scoring.untrained import untrained_like

MIN_FRAMES = 8  # labelled frames
PERCENT_OF_FRAME = "% of the frame's side"
"""Unit of the errors: of the side of the square that the whole frame becomes, also where squares follow the animal."""


@dataclass(frozen=True)
class RegressionMetrics:
    """Mean distances, see :mod:`lightning_kp.metrics.regression`, in % of the side of the whole frame.

    That is the square that the network would see without following an animal: with ``fit: pad`` its side is the longer
    side of the frame, with ``crop`` the shorter one, with ``squash`` width and height each count as the side; of a
    fixed box (``boxes: [LEFT, TOP, RIGHT, BOTTOM]``) it is the square of the box.

    Attributes:
        linear: Error of the linear regressor.
        matched: Error of the matched regressor.
        untrained_linear: ``linear`` of the untrained network.
        untrained_matched: ``matched`` of the untrained network.
        mean_pose: Error of the mean pose.
        matched_per_point: ``matched`` by name of the labelled point.
        matches: Index of the discovered keypoint that is matched with each labelled point, by name.
        order_kept: Share of frames in [0, 1], see :func:`lightning_kp.metrics.body_order.order_kept`.
    """

    linear: float
    matched: float
    untrained_linear: float
    untrained_matched: float
    mean_pose: float
    matched_per_point: dict[str, float]
    matches: dict[str, int]
    order_kept: float

    def as_metrics(self, prefix: str = "") -> dict[str, float | dict[str, float] | dict[str, int]]:
        """Metrics by name, for ``metrics.json``."""
        known = {name: value for name, value in asdict(self).items() if value == value}  # JSON has no NaN
        return {f"{prefix}{name}": value for name, value in known.items()}

    def lines(self) -> list[str]:
        """A small table for the terminal."""
        rows = [
            f"{PERCENT_OF_FRAME:<22}{'linear':>9}{'matched':>9}",
            f"{'this run':<22}{self.linear:>9.2f}{self.matched:>9.2f}",
            f"{'untrained network':<22}{self.untrained_linear:>9.2f}{self.untrained_matched:>9.2f}",
            f"{'mean pose':<22}{self.mean_pose:>9.2f}{self.mean_pose:>9.2f}",
        ]
        matches = [
            f"{name} <- kp{self.matches[name] + 1:02d} ({error:.1f})"
            for name, error in self.matched_per_point.items()
        ]
        order = f"order along the body kept in {self.order_kept:.0%} of frames, in the worst of 8 headings"
        return [*rows, "matched: " + ", ".join(matches), *([] if math.isnan(self.order_kept) else [order])]


def score_regression(method: KeypointMethod, labels: LabelledSet, *, seed: int = 0) -> RegressionMetrics:
    """Fit to the first half of the labelled frames and score on the second, in % of the side of the whole frame.

    Args:
        method: The trained method.
        labels: Images (N, 3, S, S) and points (N, L, 2), in time order.
        seed: Seed of the untrained network.

    Raises:
        DataError: There are fewer than :data:`MIN_FRAMES` labelled frames.
    """
    number = len(labels.points)
    if number < MIN_FRAMES:
        raise DataError(
            f"Scoring needs at least {MIN_FRAMES} labelled frames, got {number}.", remedy="Label more frames."
        )
    half = number // 2
    twin = untrained_like(method, labels.image, seed)
    trained, untrained = (labels.in_frame(discovered_points(each, labels.image)) for each in (method, twin))
    labelled = labels.in_frame(labels.points.double())
    errors, matched = {}, None
    for name, points in (("untrained_", untrained), ("", trained)):
        linear = fit_linear(points[:half], labelled[:half])
        matched = fit_matched(points[:half], labelled[:half])
        errors[f"{name}linear"] = linear.score(points[half:], labelled[half:]).mean.item()
        scores = matched.score(points[half:], labelled[half:])
        errors[f"{name}matched"] = scores.mean.item()
    assert matched is not None  # the loop above has run
    return RegressionMetrics(
        **errors,
        mean_pose=mean_pose_error(labelled[:half], labelled[half:]).mean.item(),
        matched_per_point=dict(zip(labels.names, scores.per_keypoint.tolist(), strict=True)),
        matches=dict(zip(labels.names, matched.match.tolist(), strict=True)),
        order_kept=order_kept(trained, labelled, labels.names),
    )


@torch.inference_mode()
def discovered_points(method: KeypointMethod, images: Tensor, batch_size: int = 32) -> Tensor:
    """Predict points (N, I * K, 2), normalised, float64, on the CPU, for images (N, 3, H, W) uint8.

    The method is left in evaluation mode.
    """
    method.eval()
    found = [
        method(floats_in_unit_range(part.to(method.device))).points.flatten(1, 2)
        for part in images.split(batch_size)
    ]
    return torch.cat(found).double().cpu()
