"""Average precision and recall of poses by object keypoint similarity (OKS), as in COCO's keypoint evaluation.

The OKS of a predicted and a labelled instance is the mean over the labelled keypoints of
``exp(-d^2 / (2 A (2 sigma)^2))``, where d is the distance, A the area of the instance and sigma the spread of human
labels of that keypoint as a fraction of the square root of the area (COCO keypoint evaluation, 2016).
The area depends on the data set: COCO uses the area of the person's outline, CrowdPose 0.53 times that of the
bounding box, papers on animals the bounding box of the labelled points (:func:`lightning_kp.keypoints.box_area`).  With
an area of 1, sigma is in pixels.

001 gives a sigma^2 (honeybee 1, fly 0.025) and refers to SLEAP's evaluation, where the option of that name and
size takes the place of COCO's sigma; use ``sigma=1`` and ``sigma=0.025`` with the bounding box as area.  For a
paper that writes ``exp(-d^2 / (2 A k^2))``, without COCO's factor 2, use ``sigma=k / 2``.
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
from lightning_kp.keypoints import Keypoints, bounding_box, box_area

Sigma = float | Sequence[float]
# Spreads as published by the data sets, in the order of their keypoints.
COCO_SIGMA = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
CROWDPOSE_SIGMA = (
    0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079,
)  # fmt: skip
METRIC_NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
FAR_PX = 1e6  # coordinate of an absent predicted point, too far away to resemble any label


class OKSAveragePrecision(Metric):
    """COCO's average precision and recall of poses over any number of processes.

    ``compute()`` returns values () in [0, 1] by name: AP (mean over OKS thresholds 0.5 to 0.95), AP50, AP75, APM and
    APL (areas from 32^2 to 96^2 px^2, and above), and AR, AR50, AR75, ARM, ARL; NaN if no labelled instance is of that
    kind.  ``finer`` adds AP_fine: with a wide ``sigma``, AP hardly depends on how exactly points are placed.

    Args:
        sigma: Spread of the labels, one number per keypoint (such as ``COCO_SIGMA``) or one for all.
        keypoints: Number of keypoints K; required with one ``sigma`` for all.
        at_most: Number of predictions per image that count, those of the highest score (COCO's own limit is 20).
        finer: Factor on ``sigma`` for AP_fine.

    Raises:
        ConfigurationError: ``sigma`` is not one positive number for each keypoint.

    Example:
        >>> points = torch.tensor([[[[-0.5, 0.0], [0.5, 0.0]]]])
        >>> labelled = Keypoints(points, torch.ones(1, 1, 2))
        >>> metric = OKSAveragePrecision(0.1, keypoints=2)
        >>> metric.update(labelled, labelled, size=(64, 64))
        >>> metric.compute()["AP"].item()
        1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    predicted: list[Tensor]
    labelled: list[Tensor]
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
        self.add_state("predicted", [], dist_reduce_fx="cat")
        self.add_state("labelled", [], dist_reduce_fx="cat")
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
        """Add predicted and labelled instances of the same images.

        Args:
            predicted: Keypoints (B, I, K, 2), normalised; an instance is ranked by its score.
            labelled: Keypoints (B, J, K, 2), normalised.
            area: Areas (B, J) of the labelled instances in px^2; by default those of the boxes around their points.
            size: Height and width of the images in pixels, or a tensor (B, 2) of them for images of different sizes.
            ignored: Labelled instances (B, J) bool whose matches count neither as true nor as false positives.
            box: Boxes (B, J, 4) = left, top, width, height in pixels.  An ignored instance without a labelled point
                needs one, and then takes the predictions within twice its size, as in COCO's evaluation.

        Raises:
            ConfigurationError: The points are not of the same images, or not of K keypoints.
        """
        points, target = (to_pixels(each.points.double(), size) for each in (predicted, labelled))
        _check(points, target, len(self.sigma))
        present = labelled.present
        boxes = bounding_box(target, present) if box is None else box.to(target)
        ignored = torch.zeros_like(present[..., 0]) if ignored is None else ignored.bool().to(present.device)
        area = box_area(target, present) if area is None else area.to(target)
        image = self._numbers(len(points))

        def rows(keypoints: Tensor, seen: Tensor, kept: Tensor, *columns: Tensor) -> Tensor:
            flat = torch.cat((keypoints, seen.to(keypoints).unsqueeze(-1)), dim=-1).flatten(2)
            number = image.to(flat).unsqueeze(1).expand(kept.shape)
            columns = tuple(column.to(flat) for column in (number, *columns))
            return torch.cat((torch.stack(columns, dim=-1), flat), dim=-1)[kept].flatten().to(self.device)

        score, known = predicted.score, predicted.present.any(dim=-1)
        self.predicted.append(rows(points, predicted.present, known, score))
        kept = present.any(dim=-1) | ignored
        self.labelled.append(rows(target, present, kept, area, ignored, *boxes.unbind(-1)))

    def compute(self) -> dict[str, Tensor]:
        predicted, labelled = self.tables()
        metrics = evaluate(predicted, labelled, self.sigma, self.at_most)
        if self.finer is None:
            return metrics
        narrow = [self.finer * each for each in self.sigma]
        return metrics | {"AP_fine": evaluate(predicted, labelled, narrow, self.at_most)["AP"]}

    def tables(self) -> tuple[Tensor, Tensor]:
        """Predicted instances (N, 2 + 3 K) and labelled ones (M, 7 + 3 K), as :func:`evaluate` takes them."""
        width = 3 * len(self.sigma)
        return _table(self.predicted, 2 + width), _table(self.labelled, 7 + width)

    def _numbers(self, count: int) -> Tensor:
        """Numbers (count,) of new images, unique among all processes."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        world, rank = (
            (torch.distributed.get_world_size(), torch.distributed.get_rank()) if distributed else (1, 0)
        )
        first = int(self.images)
        self.images += count
        return torch.arange(first, first + count) * world + rank


def evaluate(
    predicted: Tensor, labelled: Tensor, sigma: Sequence[float], at_most: int = 100
) -> dict[str, Tensor]:
    """Compute COCO's metrics from tables of instances.

    Args:
        predicted: Predicted instances (N, 2 + 3 K): image, score, then x, y, present of each keypoint, in pixels.
        labelled: Labelled instances (M, 7 + 3 K): image, area, ignored, left, top, width, height of the box, then x, y,
            present of each keypoint, in pixels.
        sigma: Spreads of the K keypoints.
        at_most: Number of predictions per image that count, those of the highest score.

    Returns:
        Values () in [0, 1] by METRIC_NAMES; NaN if no labelled instance is of that kind.
    """
    missing = torch.tensor(torch.nan, dtype=torch.float64)
    if not (labelled[:, 2] == 0).any():
        return dict.fromkeys(METRIC_NAMES, missing)
    labels = COCO(_labels(labelled, predicted))
    evaluator = COCOeval_faster(
        labels, labels.loadRes(_predictions(predicted)), "keypoints",
        kpt_oks_sigmas=list(sigma), print_function=_silent,
    )  # fmt: skip
    evaluator.params.maxDets = [at_most]
    evaluator.run()
    metrics = zip(METRIC_NAMES, evaluator.all_stats.tolist(), strict=True)
    return {name: missing if value < 0 else missing.new_tensor(value) for name, value in metrics}


def _labels(labelled: Tensor, predicted: Tensor) -> dict[str, Any]:
    """Labels as a COCO data set, including the images without a label, because of their false positives."""
    keypoints = labelled[:, 7:].clone()
    keypoints[:, 2::3] *= 2
    counts = (keypoints[:, 2::3] > 0).sum(dim=-1).tolist()
    rows = zip(labelled[:, :7].tolist(), keypoints.tolist(), counts, strict=True)
    annotations = [
        {
            "id": number, "image_id": int(image), "category_id": 1, "area": area, "bbox": box,
            "iscrowd": int(ignored), "keypoints": points, "num_keypoints": count,
        }
        for number, ((image, area, ignored, *box), points, count) in enumerate(rows, start=1)
    ]  # fmt: skip
    images = torch.cat((labelled[:, 0], predicted[:, 0])).unique().long().tolist()
    return {
        "images": [{"id": image} for image in images],
        "categories": [{"id": 1, "name": "animal"}],
        "annotations": annotations,
    }


def _predictions(predicted: Tensor) -> list[dict[str, Any]]:
    """Predictions in COCO's results format."""
    points = predicted[:, 2:].unflatten(1, (-1, 3))
    present = points[..., 2] > 0
    boxes = bounding_box(points[..., :2], present).tolist()
    placed = points.clone()
    placed[..., :2] = torch.where(present.unsqueeze(-1), points[..., :2], FAR_PX)
    rows = zip(predicted[:, :2].tolist(), placed.flatten(1).tolist(), boxes, strict=True)
    return [
        {"image_id": int(image), "category_id": 1, "score": score, "keypoints": flat, "bbox": box}
        for (image, score), flat, box in rows
    ]


def _silent(*_: object, **__: object) -> None:
    """Discard what the evaluator prints."""


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
            remedy="Give one number per keypoint, or one number and the number of keypoints.",
        )
    return spreads


def _check(predicted: Tensor, labelled: Tensor, keypoints: int) -> None:
    shapes = tuple(predicted.shape), tuple(labelled.shape)
    if shapes[0][0] != shapes[1][0] or {shapes[0][2:], shapes[1][2:]} != {(keypoints, 2)}:
        raise ConfigurationError(
            f"OKS compares points (B, I, {keypoints}, 2) of the same images, got {shapes[0]} and {shapes[1]}.",
            remedy="Create the metric with one sigma per keypoint.",
        )
