"""How well discovered keypoints tell where labelled points are, against two baselines.

Protocol: the label file's frames in time order; regressors are fitted on the first half and scored
on the second.  Baselines: the same network before training, and the mean pose of the first half.
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


@dataclass(frozen=True)
class RegressionFigures:
    """Mean distances in % of the image side; ``matches`` names the discovered keypoint of each labelled point.

    ``order_kept``: see :func:`lightning_kp.metrics.body_order.order_kept`.
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
        """Figures by name, for ``metrics.json``."""
        known = {name: value for name, value in asdict(self).items() if value == value}  # NaN is no JSON
        return {f"{prefix}{name}": value for name, value in known.items()}

    def lines(self) -> list[str]:
        """A small table for the terminal."""
        rows = [
            f"{'% of the image side':<22}{'linear':>9}{'matched':>9}",
            f"{'this run':<22}{self.linear:>9.2f}{self.matched:>9.2f}",
            f"{'same, untrained':<22}{self.untrained_linear:>9.2f}{self.untrained_matched:>9.2f}",
            f"{'mean pose':<22}{self.mean_pose:>9.2f}{self.mean_pose:>9.2f}",
        ]
        matches = [
            f"{name} <- kp{self.matches[name] + 1:02d} ({error:.1f})"
            for name, error in self.matched_per_point.items()
        ]
        order = f"order along the body kept in {self.order_kept:.0%} of frames in the worst of 8 headings"
        return [*rows, "matched: " + ", ".join(matches), *([] if math.isnan(self.order_kept) else [order])]


def score_regression(method: KeypointMethod, labels: LabelledSet, *, seed: int = 0) -> RegressionFigures:
    """Fit on the first half of the labelled frames, score on the second; in % of the whole frame's side.

    Raises DataError under 8 frames.
    """
    number = len(labels.points)
    if number < 8:
        raise DataError(
            f"Scoring needs at least 8 labelled frames, got {number}.", remedy="Label more frames."
        )
    half = number // 2
    # On the untrained network batch normalisation has no statistics yet; those of the labelled images serve.
    trained, untrained = (
        discovered_points(method, labels.image),
        _untrained_points(method, labels.image, seed),
    )
    trained, untrained = labels.in_frame(trained), labels.in_frame(untrained)
    labelled = labels.in_frame(labels.points.double())
    figures, matched = {}, None
    for name, points in (("untrained_", untrained), ("", trained)):
        linear = fit_linear(points[:half], labelled[:half])
        matched = fit_matched(points[:half], labelled[:half])
        figures[f"{name}linear"] = linear.score(points[half:], labelled[half:]).mean.item()
        scores = matched.score(points[half:], labelled[half:])
        figures[f"{name}matched"] = scores.mean.item()
    assert matched is not None  # the loop above has run
    return RegressionFigures(
        **figures,
        mean_pose=mean_pose_error(labelled[:half], labelled[half:]).mean.item(),
        matched_per_point=dict(zip(labels.names, scores.per_keypoint.tolist(), strict=True)),
        matches=dict(zip(labels.names, matched.match.tolist(), strict=True)),
        order_kept=order_kept(trained, labelled, labels.names),
    )


@torch.inference_mode()
def discovered_points(method: KeypointMethod, images: Tensor, batch_size: int = 32) -> Tensor:
    """Images (N, 3, H, W) uint8 -> points (N, I K, 2) float64 in evaluation mode."""
    method.eval()
    found = [
        method(floats_in_unit_range(part.to(method.device))).points.flatten(1, 2)
        for part in images.split(batch_size)
    ]
    return torch.cat(found).double().cpu()


def _untrained_points(method: KeypointMethod, images: Tensor, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(method)(**dict(method.hparams)).to(method.device)
    with torch.inference_mode():  # let batch normalisation see images once, as any training would
        fresh.train()
        for part in images.split(32):
            fresh.heatmaps(floats_in_unit_range(part.to(method.device)))
    return discovered_points(fresh, images)
