"""Object keypoint similarity, and the average precision and recall that COCO measures with it.

OKS of a predicted and a labelled instance: the mean over labelled keypoints of
``exp(-d^2 / (2 A (2 sigma)^2))``, d the distance, A the instance's area and sigma the spread of human
labels for that keypoint as a fraction of the square root of the area (COCO keypoint evaluation, 2016).
What the area is differs between data sets: COCO gives that of the person's outline, CrowdPose 0.53 times the
box, papers on animals the box of the labelled points (:func:`box_area`).  With areas of 1 sigma is in pixels.

001 names a sigma^2 (honeybee 1, fly 0.025) and refers to SLEAP's evaluation, whose option of that name and
size stands where COCO's sigma does; ``sigma=1`` and ``sigma=0.025`` with the box as area read it so.  Where a
paper writes ``exp(-d^2 / (2 A k^2))``, without COCO's factor 2, give ``sigma=k / 2``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import to_pixels
from lightning_kp.keypoints import Keypoints, box_area, box_of

Sigma = float | Sequence[float]
# Spreads that the data sets publish, in the order of their keypoints.
COCO_SIGMA = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
CROWDPOSE_SIGMA = (
    0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079,
)  # fmt: skip
NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
FAR_PX = 1e6  # where an absent predicted point is put: similar to nothing


class OKSAveragePrecision(Metric):
    """COCO's average precision and recall of poses, with every breakdown, over any number of processes.

    ``compute()`` gives AP (mean over OKS 0.5 to 0.95), AP50, AP75, APM and APL (areas of 32^2 to 96^2 px and
    above), and AR, AR50, AR75, ARM, ARL; NaN where no labelled instance is of that kind.  With ``finer`` also
    AP_fine: where ``sigma`` is wide, AP hardly tells whether points are in their place.

    Args:
        sigma: Spread of labels, one number per keypoint (``COCO_SIGMA``) or one for all.
        keypoints: Number of keypoints K; needed with one ``sigma`` for all.
        at_most: Predictions of an image that count, those of highest score (COCO's own limit is 20).
        finer: AP_fine is the AP of ``sigma`` times this.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    found: list[Tensor]
    wanted: list[Tensor]
    images: Tensor

    def __init__(
        self,
        sigma: Sigma = COCO_SIGMA,
        keypoints: int | None = None,
        at_most: int = 100,
        finer: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sigma = _per_keypoint(sigma, keypoints)
        self.at_most = at_most
        self.finer = finer
        # torchmetrics gathers this type and one dimension from a process that has nothing.
        self.set_dtype(torch.float64)
        self.add_state("found", [], dist_reduce_fx="cat")
        self.add_state("wanted", [], dist_reduce_fx="cat")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        predicted: Keypoints,
        labelled: Keypoints,
        area: Tensor | None = None,
        *,
        size: tuple[int, int] | Tensor,
        ignored: Tensor | None = None,
        box: Tensor | None = None,
    ) -> None:
        """Keypoints (B, I, K, 2) and (B, J, K, 2) of the same images, which are ``size`` = (height, width) px.

        Images of different sizes need a tensor (B, 2) of them.

        ``area`` (B, J) px^2 of the labelled instances, by default that of the box around their points.
        ``ignored`` (B, J): predictions that match these instances count neither way; those without a
        labelled point need their ``box`` (B, J, 4) = left, top, width, height px, and then take what lies
        within twice its size, as COCO has it.
        """
        points, wanted = (_in_pixels(each.points.double(), size) for each in (predicted, labelled))
        _check(points, wanted, len(self.sigma))
        present = labelled.present
        boxes = box_of(wanted, present) if box is None else box.to(wanted)
        ignored = torch.zeros_like(present[..., 0]) if ignored is None else ignored.bool().to(present.device)
        area = box_area(wanted, present) if area is None else area.to(wanted)
        image = self._numbers(len(points))

        def rows(keypoints: Tensor, seen: Tensor, kept: Tensor, *facts: Tensor) -> Tensor:
            flat = torch.cat((keypoints, seen.to(keypoints).unsqueeze(-1)), dim=-1).flatten(2)
            number = image.to(flat).unsqueeze(1).expand(kept.shape)
            facts = tuple(fact.to(flat) for fact in (number, *facts))
            return torch.cat((torch.stack(facts, dim=-1), flat), dim=-1)[kept].flatten().to(self.device)

        score, known = predicted.score, predicted.present.any(dim=-1)
        self.found.append(rows(points, predicted.present, known, score))
        kept = present.any(dim=-1) | ignored
        self.wanted.append(rows(wanted, present, kept, area, ignored, *boxes.unbind(-1)))

    def compute(self) -> dict[str, Tensor]:
        found, wanted = self.tables()
        figures = evaluate(found, wanted, self.sigma, self.at_most)
        if self.finer is None:
            return figures
        narrow = [self.finer * each for each in self.sigma]
        return figures | {"AP_fine": evaluate(found, wanted, narrow, self.at_most)["AP"]}

    def tables(self) -> tuple[Tensor, Tensor]:
        """All predictions (image, score, K x (x, y, present)) and labels as :func:`evaluate` reads them."""
        width = 3 * len(self.sigma)
        return _table(self.found, 2 + width), _table(self.wanted, 7 + width)

    def _numbers(self, count: int) -> Tensor:
        """Numbers of ``count`` new images, unlike those of every other process."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        world, rank = (
            (torch.distributed.get_world_size(), torch.distributed.get_rank()) if distributed else (1, 0)
        )
        first = int(self.images)
        self.images += count
        return torch.arange(first, first + count) * world + rank


def evaluate(found: Tensor, wanted: Tensor, sigma: Sequence[float], at_most: int = 100) -> dict[str, Tensor]:
    """COCO's figures by NAMES for ``found`` (N, 2 + 3 K) and ``wanted`` (M, 7 + 3 K), in pixels.

    A row of ``found`` is image, score, then x, y, present of each keypoint; one of ``wanted`` is image, area,
    ignored, left, top, width, height of the box, then the keypoints.
    """
    missing = torch.tensor(torch.nan, dtype=torch.float64)
    if not (wanted[:, 2] == 0).any():
        return dict.fromkeys(NAMES, missing)
    labels = COCO(_labels(wanted, found))
    evaluator = COCOeval_faster(
        labels, labels.loadRes(_predictions(found)), "keypoints",
        kpt_oks_sigmas=list(sigma), print_function=_silent,
    )  # fmt: skip
    evaluator.params.maxDets = [at_most]
    evaluator.run()
    figures = zip(NAMES, evaluator.all_stats.tolist(), strict=True)
    return {name: missing if value < 0 else missing.new_tensor(value) for name, value in figures}


def _labels(wanted: Tensor, found: Tensor) -> dict[str, Any]:
    """Labels as a COCO data set; images without a label are part of it, for their false positives."""
    keypoints = wanted[:, 7:].clone()
    keypoints[:, 2::3] *= 2
    counts = (keypoints[:, 2::3] > 0).sum(dim=-1).tolist()
    rows = zip(wanted[:, :7].tolist(), keypoints.tolist(), counts, strict=True)
    annotations = [
        {
            "id": number, "image_id": int(image), "category_id": 1, "area": area, "bbox": box,
            "iscrowd": int(ignored), "keypoints": points, "num_keypoints": count,
        }
        for number, ((image, area, ignored, *box), points, count) in enumerate(rows, start=1)
    ]  # fmt: skip
    images = torch.cat((wanted[:, 0], found[:, 0])).unique().long().tolist()
    return {
        "images": [{"id": image} for image in images],
        "categories": [{"id": 1, "name": "animal"}],
        "annotations": annotations,
    }


def _predictions(found: Tensor) -> list[dict[str, Any]]:
    points = found[:, 2:].unflatten(1, (-1, 3))
    present = points[..., 2] > 0
    boxes = box_of(points[..., :2], present).tolist()
    placed = points.clone()
    placed[..., :2] = torch.where(present.unsqueeze(-1), points[..., :2], FAR_PX)
    rows = zip(found[:, :2].tolist(), placed.flatten(1).tolist(), boxes, strict=True)
    return [
        {"image_id": int(image), "category_id": 1, "score": score, "keypoints": flat, "bbox": box}
        for (image, score), flat, box in rows
    ]


def _in_pixels(points: Tensor, size: tuple[int, int] | Tensor) -> Tensor:
    if not isinstance(size, Tensor):
        return to_pixels(points, size)
    return ((points + 1) * size.to(points).flip(-1)[:, None, None] - 1) / 2


def _silent(*_: object, **__: object) -> None:
    """The evaluator prints; a metric does not."""


def _table(rows: list[Tensor] | Tensor, width: int) -> Tensor:
    joined = torch.zeros(0, dtype=torch.float64) if len(rows) == 0 else dim_zero_cat(rows)
    return joined.detach().cpu().view(-1, width)


def _per_keypoint(sigma: Sigma, keypoints: int | None) -> tuple[float, ...]:
    spreads = (
        (float(sigma),) * (keypoints or 0) if isinstance(sigma, (int, float)) else tuple(map(float, sigma))
    )
    if not spreads or min(spreads) <= 0 or keypoints not in (None, len(spreads)):
        raise ConfigurationError(
            f"OKS needs one sigma above 0 for each keypoint, got {sigma} for {keypoints or 'no'} keypoints.",
            remedy="Give one number per keypoint, or one for all and the number of keypoints.",
        )
    return spreads


def _check(predicted: Tensor, labelled: Tensor, keypoints: int) -> None:
    shapes = tuple(predicted.shape), tuple(labelled.shape)
    if shapes[0][0] != shapes[1][0] or {shapes[0][2:], shapes[1][2:]} != {(keypoints, 2)}:
        raise ConfigurationError(
            f"OKS compares points (B, I, {keypoints}, 2) of the same images, got {shapes[0]} and {shapes[1]}.",
            remedy="Create the metric with one sigma per keypoint.",
        )
