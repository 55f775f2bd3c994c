"""How well a method that finds whole animals finds labelled ones, whatever their order.

In every frame labelled and found animals are paired by the assignment of least distance between their centroids; a
pair farther apart than half a body length is none (:mod:`lightning_kp.metrics.animals`).  Parts are compared within
pairs.  Average precision is COCO's (:mod:`lightning_kp.metrics.oks`), with the method's
sigma.  All distances are measured in pixels of the original images: a square that the network sees may be squashed.
So does `kp test`, where all images have one shape.
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
from lightning_kp.metrics.animals import ABSENT, REACH, Floats, body_length, centroids, paired
from lightning_kp.metrics.oks import OKSAveragePrecision

BODILESS = 5.0  # % of the longer side: reach where animals of one labelled point have no length (ours)
OF_OKS = ("AP", "AP50", "AR")


@dataclass(frozen=True)
class GroupFigures:
    """Figures over all labelled frames; distances in % of the longer side of what the network sees.

    ``found`` in [0, 1], the share of labelled animals that were found; ``surplus``, others that it finds, per
    frame; ``said`` in [0, 1], of the labelled parts of found animals those the method places; ``part_median`` and
    ``part_mean``, how far they are from their labels; ``per_part``, their medians by name; ``oks``: AP, AP50, AR.
    ``least``: without the animals of a lower score the F1 measure is highest, with ``least_found`` and
    ``least_surplus``; chosen on the frames that are scored.
    """

    frames: int
    animals: int
    found: float
    surplus: float
    least: float
    least_found: float
    least_surplus: float
    said: float
    part_median: float
    part_mean: float
    per_part: dict[str, float]
    oks: dict[str, float]
    sigma: float | list[float]

    def as_metrics(self, prefix: str = "") -> dict[str, object]:
        """Figures by name, for ``metrics.json``."""
        known = asdict(self)
        return {f"{prefix}animals_{name}": value for name, value in (known | known.pop("oks")).items()}

    def lines(self) -> list[str]:
        """A small table for the terminal."""
        parts = ", ".join(f"{name} {value:.1f}" for name, value in self.per_part.items())
        precision = ", ".join(f"{name} {value:.3f}" for name, value in self.oks.items())
        sigma = self.sigma if isinstance(self.sigma, float) else f"{min(self.sigma)} to {max(self.sigma)}"
        return [
            f"animals found   {self.found:>7.1%}  of {self.animals} labelled; {self.surplus:.2f} others a frame",
            f"parts placed    {self.said:>7.1%}  of those labelled on them",
            f"off by          {self.part_median:>7.2f}  % of the longer side (mean {self.part_mean:.2f}): {parts}",
            f"best from a score of {self.least:.2f} on: {self.least_found:.1%} found, {self.least_surplus:.2f} others "
            "a frame (`kp track --least`)",
            f"precision       {precision} (sigma {sigma})",
        ]


def score_groups(method: KeypointMethod, labels: LabelledAnimals) -> GroupFigures:
    """Find animals in the labelled images and compare.  Raises DataError where nothing is labelled in view."""
    wanted, shown = in_view(*from_missing(labels.points))
    if not (shown > 0).any():
        raise DataError("No labelled point lies in what the network sees.", remedy="Give other --labels.")
    found = found_animals(method, labels.image)
    sigma = method.hparams.get("sigma", 1.0)
    spreads = [float(each) for each in sigma] if isinstance(sigma, list | tuple) else float(sigma)
    precision = OKSAveragePrecision(spreads, labels.points.shape[2], at_most=found.points.shape[1])
    size = _sizes(labels)
    precision.update(found, Keypoints(wanted, shown), size=size)
    oks = {name: value.item() for name, value in precision.compute().items() if name in OF_OKS}

    theirs, mine = (
        _per_cent(torch.where(present.unsqueeze(-1), points, torch.nan), size)
        for points, present in ((wanted, shown > 0), (found.points, found.present))
    )
    body = body_length(theirs)
    middles, reach = centroids(theirs), REACH * body if body > 0 else BODILESS
    pairs = paired(centroids(mine), middles, reach)
    frame, animal = np.nonzero(pairs != ABSENT)
    distance = np.linalg.norm(mine[frame, pairs[frame, animal]] - theirs[frame, animal], axis=-1)
    labelled = np.isfinite(theirs[frame, animal]).all(axis=-1)
    said = np.isfinite(distance)
    number = int(np.isfinite(middles).all(axis=-1).sum())
    scores = found.score.double().numpy()
    least, hits, extra = _best_cut(centroids(mine), scores, middles, reach)
    medians = [_median(distance[:, k]) for k in range(len(labels.names))]
    return GroupFigures(
        frames=len(labels.image),
        animals=number,
        found=len(frame) / number,
        surplus=(int((scores > 0).sum()) - len(frame)) / len(labels.image),
        least=least,
        least_found=hits / number,
        least_surplus=extra / len(labels.image),
        said=float((said & labelled).sum() / max(1, labelled.sum())),
        part_median=_median(distance),
        part_mean=float(distance[said].mean()) if said.any() else float("nan"),
        per_part=dict(zip(labels.names, medians, strict=True)),
        oks=oks,
        sigma=spreads,
    )


def _sizes(labels: LabelledAnimals) -> Tensor:
    """Height and width (N, 2) of what the squares show, in pixels."""
    if labels.shown_px is not None:
        return labels.shown_px
    return torch.tensor(labels.image.shape[-2:]).expand(len(labels.image), 2)


def _per_cent(points: Tensor, size: Tensor) -> Floats:
    """Normalised points (N, I, K, 2) of images of ``size`` (N, 2) -> % of their longer sides."""
    share = size / size.amax(dim=1, keepdim=True)
    scaled: Floats = (50 * (points.double() + 1) * share.flip(-1)[:, None, None]).numpy()
    return scaled


def _best_cut(found: Floats, scores: Floats, true: Floats, reach: float) -> tuple[float, int, int]:
    """The lowest score (in steps of 0.02) from which on F1 is highest; with the found and the surplus ones."""
    wanted = int(np.isfinite(true).all(axis=-1).sum())
    tried = []
    for cut in np.arange(50) / 50:
        kept = (scores > 0) & (scores >= cut)
        pairs = paired(np.where(kept[..., None], found, np.nan), true, reach)
        hits = int((pairs != ABSENT).sum())
        tried.append((2 * hits / max(1, wanted + int(kept.sum())), -cut, hits, int(kept.sum()) - hits))
        if not kept.any():
            break
    _, cut, hits, surplus = max(tried)
    return float(-cut), hits, surplus


@torch.inference_mode()
def found_animals(method: KeypointMethod, images: Tensor, batch_size: int = 16) -> Keypoints:
    """Images (N, 3, H, W) uint8 -> Keypoints (N, I, K, 2) in evaluation mode, on the CPU."""
    method.eval()
    found = [method(floats_in_unit_range(part.to(method.device))) for part in images.split(batch_size)]
    return Keypoints(*(torch.cat([each[field].cpu() for each in found]) for field in (0, 1)))


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
