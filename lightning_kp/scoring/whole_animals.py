"""Score a method that finds whole animals against labelled ones, whatever their order.

In each frame labelled and found animals are matched one to one at the smallest total distance of their centroids;
two animals farther apart than half a body length are never matched (:mod:`lightning_kp.metrics.animals`).  Parts are
compared within matches.  Average precision is COCO's (:mod:`lightning_kp.metrics.oks`), with the method's sigma.
All distances are measured in pixels of the original images, because the square that the network sees may be squashed;
`kp test` does the same if all images have one shape.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.errors import DataError
from lightning_kp.keypoints import Keypoints, from_missing, in_view
from lightning_kp.labels.animals import LabelledAnimals
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.animals import (
    REACH_BODY_LENGTHS,
    UNMATCHED,
    Floats,
    body_length,
    centroids,
    match_centroids,
)
from lightning_kp.metrics.oks import OKSAveragePrecision
from lightning_kp.runs.metric_names import WHOLE_ANIMALS

REACH_WITHOUT_BODY = 5.0  # % of the longer side, for animals of one point, which have no length (ours)
OKS_METRICS = ("AP", "AP50", "AR")


@dataclass(frozen=True)
class WholeAnimalMetrics:
    """Metrics over all labelled frames; distances in % of the longer side of what the network sees.

    The names are keys of ``metrics.json``; :mod:`lightning_kp.runs.metric_names` lists former ones.

    Attributes:
        frames: Number of labelled frames.
        animals: Number of labelled animals.
        found: Recall: share of the labelled animals that were found, in [0, 1].
        false_positives_per_frame: Found animals without a match, per frame.
        best_threshold: Lower limit on the score of an animal at which F1 is highest; chosen on the scored frames.
        recall_at_best: ``found`` at this threshold.
        false_positives_at_best: ``false_positives_per_frame`` at this threshold.
        placed_share: Of the labelled parts of found animals the share that the method places at all, in [0, 1];
            1 is best.
        part_median: Median distance of the placed parts from their labels.
        part_mean: Mean distance of the placed parts from their labels.
        per_part: Median distance by name of the part.
        oks: AP, AP50 and AR, in [0, 1].
        sigma: Spread of the labels for OKS, one for all parts or one per part.
    """

    frames: int
    animals: int
    found: float
    false_positives_per_frame: float
    best_threshold: float
    recall_at_best: float
    false_positives_at_best: float
    placed_share: float
    part_median: float
    part_mean: float
    per_part: dict[str, float]
    oks: dict[str, float]
    sigma: float | list[float]

    def as_metrics(self, prefix: str = "") -> dict[str, object]:
        """Metrics by name, for ``metrics.json``."""
        known = asdict(self)
        return {f"{prefix}{WHOLE_ANIMALS}{name}": value for name, value in (known | known.pop("oks")).items()}

    def lines(self) -> list[str]:
        """A small table for the terminal."""
        parts = ", ".join(f"{name} {value:.1f}" for name, value in self.per_part.items())
        precision = ", ".join(f"{name} {value:.3f}" for name, value in self.oks.items())
        sigma = self.sigma if isinstance(self.sigma, float) else f"{min(self.sigma)} to {max(self.sigma)}"
        return [
            f"animals found   {self.found:>7.1%}  of {self.animals} labelled; "
            f"{self.false_positives_per_frame:.2f} false positives per frame",
            f"parts placed    {self.placed_share:>7.1%}  of the labelled parts of found animals",
            f"median error    {self.part_median:>7.2f}  % of the longer side (mean {self.part_mean:.2f}): {parts}",
            f"best threshold  {self.best_threshold:>7.2f}  on the score: {self.recall_at_best:.1%} found, "
            f"{self.false_positives_at_best:.2f} false positives per frame "
            f"(`kp track --threshold {self.best_threshold:.2f}`)",
            f"precision       {precision} (sigma {sigma})",
        ]


def score_whole_animals(method: KeypointMethod, labels: LabelledAnimals) -> WholeAnimalMetrics:
    """Find animals in the labelled images and compare them with the labelled ones.

    Args:
        method: A trained method that finds whole animals.
        labels: Images (N, 3, S, S) and points (N, I, K, 2), normalised.

    Raises:
        DataError: No labelled point lies in the part of the images that the network sees.
    """
    labelled_points, shown = in_view(*from_missing(labels.points))
    if not (shown > 0).any():
        raise DataError(
            "No labelled point lies in the part of the images that the network sees.",
            remedy="Give other --labels.",
        )
    found = find_animals(method, labels.image)
    sigma = method.hparams.get("sigma", 1.0)
    spreads = [float(each) for each in sigma] if isinstance(sigma, list | tuple) else float(sigma)
    precision = OKSAveragePrecision(spreads, labels.points.shape[2], at_most=found.points.shape[1])
    size = _sizes(labels)
    precision.update(found, Keypoints(labelled_points, shown), size=size)
    oks = {name: value.item() for name, value in precision.compute().items() if name in OKS_METRICS}

    true, predicted = (
        _per_cent(torch.where(present.unsqueeze(-1), points, torch.nan), size)
        for points, present in ((labelled_points, shown > 0), (found.points, found.present))
    )
    length = body_length(true)
    centres = centroids(true)
    reach = REACH_BODY_LENGTHS * length if length > 0 else REACH_WITHOUT_BODY
    matches = match_centroids(centroids(predicted), centres, reach)
    frame, animal = np.nonzero(matches != UNMATCHED)
    distance = np.linalg.norm(predicted[frame, matches[frame, animal]] - true[frame, animal], axis=-1)
    labelled = np.isfinite(true[frame, animal]).all(axis=-1)
    is_placed = np.isfinite(distance)
    number = int(np.isfinite(centres).all(axis=-1).sum())
    scores = found.score.double().numpy()
    threshold, hits, extra = _best_threshold(centroids(predicted), scores, centres, reach)
    medians = [_median(distance[:, k]) for k in range(len(labels.names))]
    return WholeAnimalMetrics(
        frames=len(labels.image),
        animals=number,
        found=len(frame) / number,
        false_positives_per_frame=(int((scores > 0).sum()) - len(frame)) / len(labels.image),
        best_threshold=threshold,
        recall_at_best=hits / number,
        false_positives_at_best=extra / len(labels.image),
        placed_share=float((is_placed & labelled).sum() / max(1, labelled.sum())),
        part_median=_median(distance),
        part_mean=float(distance[is_placed].mean()) if is_placed.any() else float("nan"),
        per_part=dict(zip(labels.names, medians, strict=True)),
        oks=oks,
        sigma=spreads,
    )


def _sizes(labels: LabelledAnimals) -> Tensor:
    """Height and width (N, 2) in pixels of the part of the original image that each square shows."""
    if labels.shown_px is not None:
        return labels.shown_px
    return torch.tensor(labels.image.shape[-2:]).expand(len(labels.image), 2)


def _per_cent(points: Tensor, size: Tensor) -> Floats:
    """Convert normalised points (N, I, K, 2) to % of the longer side of their images, of ``size`` (N, 2) px."""
    share = size / size.amax(dim=1, keepdim=True)
    scaled: Floats = (50 * (points.double() + 1) * share.flip(-1)[:, None, None]).numpy()
    return scaled


def _best_threshold(found: Floats, scores: Floats, true: Floats, reach: float) -> tuple[float, int, int]:
    """The lowest threshold on the score (in steps of 0.02) of the highest F1, with its true and false positives.

    Centroids of found animals (N, I, 2) with scores (N, I), and of labelled ones (N, J, 2).
    """
    number = int(np.isfinite(true).all(axis=-1).sum())
    tried = []
    for threshold in np.arange(50) / 50:
        kept = (scores > 0) & (scores >= threshold)
        matches = match_centroids(np.where(kept[..., None], found, np.nan), true, reach)
        hits = int((matches != UNMATCHED).sum())
        f1 = 2 * hits / max(1, number + int(kept.sum()))
        tried.append((f1, -threshold, hits, int(kept.sum()) - hits))
        if not kept.any():
            break
    _, negative, hits, extra = max(tried)
    return float(-negative), hits, extra


@torch.inference_mode()
def find_animals(method: KeypointMethod, images: Tensor, batch_size: int = 16) -> Keypoints:
    """Find keypoints (N, I, K, 2), normalised, on the CPU, in images (N, 3, H, W) uint8.

    The method is left in evaluation mode.
    """
    method.eval()
    found = [method(floats_in_unit_range(part.to(method.device))) for part in images.split(batch_size)]
    return Keypoints(*(torch.cat([each[field].cpu() for each in found]) for field in (0, 1)))


def _median(values: Floats) -> float:
    """Median of the finite values; NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
