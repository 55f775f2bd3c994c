"""Score discovered keypoints of still images by regression to labelled points (000, 4.5 and 5.5).

Regressors are fitted on the images that train by the official division, and scored on those that test; where a set has
no such division, on two halves that are drawn by a seed.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from torch import Tensor

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.errors import DataError
from lightning_kp.loading import Rows, drawn_parts
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.regression import fit_linear, fit_matched, landmark_error, mean_pose_error
from lightning_kp.scoring.untrained import untrained_like
from lightning_kp.stills.bases import StillsModule
from lightning_kp.stills.datasets import StillSet

BATCH_SIZE = 32
MIN_IMAGES = 8
"""Images in each part, below which a regression says nothing (ours)."""
PCK_SHARE = 0.1
"""Reach of PCK in longer sides of the box (000, 4.5)."""


@dataclass(frozen=True)
class StillErrors:
    """Errors of the same images by four regressors, in % of the side of the square that the network sees.

    Attributes:
        linear: Least squares without a constant, from the centre of the image.
        linear_corner: The same from its top left corner, as Jakab et al. (2018) do: without a constant the origin
            matters.
        linear_bias: Least squares with a constant.
        matched: For each labelled point the one keypoint that predicts it best, plus a constant.
        pck_bias: Share of labelled points that the regressor with a constant finds within a tenth of the box's longer
            side, in %.
    """

    linear: float
    linear_corner: float
    linear_bias: float
    matched: float
    pck_bias: float


@dataclass(frozen=True)
class StillMetrics:
    """Errors of a network, and what they would be without it.

    Attributes:
        trained: Errors of the network.
        untrained: Errors of the same network with initial weights.
        mean_pose: Error of the mean pose of the images that are fitted, in % of the side.
        centre: Error of the centre of the square, which is that of the box, for every point.
        fitted: Number of images that the regressors are fitted to.
        tested: Number of images that are scored.
        official: Whether the set's own division says which.
        matched_per_point: ``matched`` by name of the labelled point.
    """

    trained: StillErrors
    untrained: StillErrors
    mean_pose: float
    centre: float
    fitted: int
    tested: int
    official: bool
    matched_per_point: dict[str, float]

    def as_metrics(self, prefix: str = "") -> dict[str, object]:
        """Metrics by name, for ``metrics.json``."""
        found: dict[str, object] = {f"{prefix}{name}": value for name, value in asdict(self.trained).items()}
        found |= {f"{prefix}untrained_{name}": value for name, value in asdict(self.untrained).items()}
        names = ("mean_pose", "centre", "fitted", "tested", "official", "matched_per_point")
        return found | {f"{prefix}{name}": getattr(self, name) for name in names}

    def lines(self) -> list[str]:
        """A small table for the terminal."""
        division = "the official division" if self.official else "two halves"
        heads = [each.name.removeprefix("linear_") for each in fields(StillErrors)]
        rows = [(name, asdict(errors).values()) for name, errors in (
            ("this run", self.trained), ("untrained network", self.untrained))]  # fmt: skip
        return [
            f"fitted to {self.fitted} images and scored on {self.tested}, by {division}",
            f"{'% of the side':<20}" + "".join(f"{head:>10}" for head in heads),
            *(f"{name:<20}" + "".join(f"{value:>10.2f}" for value in values) for name, values in rows),
            f"{'mean pose':<20}" + f"{self.mean_pose:>10.2f}" * 4,
            f"{'centre of the box':<20}" + f"{self.centre:>10.2f}" * 4,
            "linear: without a constant, from the centre; corner: from the top left corner; bias: with a constant",
            f"pck_bias: % of the labelled points within {PCK_SHARE:g} of the box's longer side",
        ]


def score_stills(method: KeypointMethod, data: StillsModule, *, seed: int = 0) -> StillMetrics:
    """Fit labelled points from discovered ones, and score them on other images.

    Args:
        method: The trained method.
        data: Images with labelled points.
        seed: Of the untrained network, and of the halves of a set without an official division.

    Raises:
        DataError: The images have no labelled points, or too few of them have.
    """
    data.setup("test")
    stills = data.set
    if stills is None or stills.points is None:
        raise DataError(
            f"{type(data).__name__} has no labelled points.",
            remedy="Score a run whose images have points, such as CUB, or ImageSet with --data.points.",
        )
    labelled = stills.points[:, 0].double()
    known = np.flatnonzero(torch.isfinite(labelled).all(dim=-1).any(dim=1).numpy())
    fitted, tested, official = _parts(data, known, seed)
    twin = untrained_like(method, _batches(stills, fitted), seed)
    reach = PCK_SHARE * _box_sides(data, stills)[tested]
    trained, untrained = (
        _errors(
            _found(each, stills, fitted),
            _found(each, stills, tested),
            labelled[fitted],
            labelled[tested],
            reach,
        )
        for each in (method, twin)
    )
    per_point = trained[1].tolist()
    return StillMetrics(
        trained[0], untrained[0],
        mean_pose=mean_pose_error(labelled[fitted], labelled[tested]).mean.item(),
        centre=landmark_error(torch.zeros_like(labelled[tested]), labelled[tested]).mean.item(),
        fitted=len(fitted), tested=len(tested), official=official,
        matched_per_point=dict(zip(data.part_names, per_point, strict=True)),
    )  # fmt: skip


def _parts(data: StillsModule, known: Rows, seed: int) -> tuple[Rows, Rows, bool]:
    """Rows to fit and rows to score among those with ``known`` points, and whether the division is official."""
    splits = np.array([still.split for still in data.stills])[known]
    official = bool((splits == "test").any() and (splits != "test").any())
    if official:
        fitted, tested = known[splits != "test"], known[splits == "test"]
    else:
        first, second = drawn_parts(len(known), (len(known) // 2,), seed)
        fitted, tested = known[first], known[second]
    if min(len(fitted), len(tested)) < MIN_IMAGES:
        raise DataError(
            f"A regression needs at least {MIN_IMAGES} labelled images to fit and as many to score, got {len(fitted)} "
            f"and {len(tested)}.",
            remedy="Label more images.",
        )
    return fitted, tested, official


def _batches(stills: StillSet, rows: Rows) -> Iterator[Tensor]:
    for start in range(0, len(rows), BATCH_SIZE):
        yield stills.squares[rows[start : start + BATCH_SIZE]]


@torch.inference_mode()
def _found(method: KeypointMethod, stills: StillSet, rows: Rows) -> Tensor:
    """Keypoints (N, I * K, 2) of some rows (N,), float64, on the CPU."""
    method.eval()
    images = (floats_in_unit_range(each.to(method.device)) for each in _batches(stills, rows))
    return torch.cat([method(image).points.flatten(1, 2).double().cpu() for image in images])


def _box_sides(data: StillsModule, stills: StillSet) -> Tensor:
    """Longer side of each box, or of the image without one, (N,), in normalised units of its square."""
    left, top, right, bottom = torch.from_numpy(stills.squares.regions).unbind(dim=1)
    shown = torch.maximum(right - left, bottom - top)
    boxes = [still.box for still in data.stills]
    sizes = stills.squares.sizes_px.tolist()
    sides = [
        max(size) if box is None else max(box[2] - box[0], box[3] - box[1])
        for box, size in zip(boxes, sizes, strict=True)
    ]
    return 2 * torch.tensor(sides, dtype=torch.float64) / shown


def _errors(
    fit_found: Tensor, found: Tensor, fit_labelled: Tensor, labelled: Tensor, reach: Tensor
) -> tuple[StillErrors, Tensor]:
    """Errors on ``found`` (N, K, 2) and ``labelled`` (N, L, 2), and those of the matched regressor per point (L,).

    Regressors are fitted to ``fit_found`` and ``fit_labelled``; ``reach`` (N,) is that of PCK.
    """
    linear = fit_linear(fit_found, fit_labelled).score(found, labelled).mean.item()
    # From the corner, points and labels are 1 further in both directions; the errors are the same distances.
    corner = fit_linear(fit_found + 1, fit_labelled + 1).score(found + 1, labelled + 1).mean.item()
    with_bias = fit_linear(fit_found, fit_labelled, bias=True)
    matched = fit_matched(fit_found, fit_labelled).score(found, labelled)
    distance = (with_bias.predict(found) - labelled).norm(dim=-1)
    present = torch.isfinite(distance)
    pck = (distance <= reach.unsqueeze(1))[present].double().mean().item()
    bias = with_bias.score(found, labelled).mean.item()
    return StillErrors(linear, corner, bias, matched.mean.item(), 100 * pck), matched.per_keypoint
