"""Speed of COCO's metrics for poses, and of the similarities (OKS) alone against a loop over labels."""

import torch
from torch import Tensor

from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.keypoints import Keypoints, oks
from lightning_kp.metrics.oks import COCO_SIGMA, OKSAveragePrecision

IMAGES, ANIMALS, BATCH, SIDE = 1000, 5, 20, 256
BOUND = 2.0  # seconds for 1,000 images


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for all metrics of 1,000 images (``quick``: 100) of 5 people with 17 keypoints, in CPU seconds."""
    images = 100 if quick else IMAGES
    predicted, labelled = crowds(images)
    sigma, area = torch.tensor(COCO_SIGMA), torch.full(labelled.points.shape[:2], 2000.0)
    pairs = predicted.points.unsqueeze(2), labelled.points.unsqueeze(1), labelled.present.unsqueeze(1)

    def measure() -> None:
        metric = OKSAveragePrecision(at_most=20)
        for first in range(0, images, BATCH):
            part = slice(first, first + BATCH)
            found, wanted = (Keypoints(*(value[part] for value in each)) for each in (predicted, labelled))
            metric.update(found, wanted, area[part], size=(SIDE, SIDE))
        metric.compute()

    sides = {
        "metric": measure,
        "ours": lambda: oks(*pairs, area.unsqueeze(1), sigma),
        "loop": lambda: _label_by_label(predicted, labelled, area, sigma),
    }
    times = medians(sides, repeats=3)
    name = f"OKS, {images} images x {ANIMALS} people x {len(COCO_SIGMA)} keypoints"
    bound = BOUND * images / IMAGES
    return [
        compare(f"{name}: AP and AR with all breakdowns / {bound:g} s", times["metric"], bound, "<= 1"),
        compare(f"{name}: all pairs at once / label by label", times["ours"], times["loop"], "<= 0.2"),
    ]


def crowds(images: int, seed: int = 0) -> tuple[Keypoints, Keypoints]:
    """Predicted and labelled people, points (images, 5, 17, 2), normalised; the predictions are off by about 0.03."""
    generator = torch.Generator().manual_seed(seed)
    centres = 1.4 * torch.rand(images, ANIMALS, 1, 2, generator=generator) - 0.7
    points = centres + 0.1 * torch.randn(images, ANIMALS, len(COCO_SIGMA), 2, generator=generator)
    seen = (torch.rand(points.shape[:-1], generator=generator) > 0.2).float()
    found = points + 0.03 * torch.randn(points.shape, generator=generator)
    return Keypoints(found, torch.rand(seen.shape, generator=generator)), Keypoints(points, seen)


def _label_by_label(predicted: Keypoints, labelled: Keypoints, area: Tensor, sigma: Tensor) -> None:
    for image in range(len(area)):
        for other in range(area.shape[1]):
            oks(
                predicted.points[image],
                labelled.points[image, other],
                labelled.present[image, other],
                area[image, other],
                sigma,
            )
