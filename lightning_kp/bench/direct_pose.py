"""Speed of DirectPose: a step against the bare network, targets against a step, decoding against 10 ms."""

import os
from typing import Any

import torch

from lightning_kp.batches import LabelledImages
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.bench.step import backward
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.direct_pose import pose_targets
from lightning_kp.methods import DirectPose
from lightning_kp.nn.direct_pose import Branches
from lightning_kp.readout.direct_pose import decode_animals, refine_with_maps

ANIMALS, PARTS = 25, 5
NAMES = [f"part{number}" for number in range(PARTS)]
# The network of the experiments.
SMALL: dict[str, Any] = {
    "names": NAMES, "encoder": "tiny", "pretrained": False, "stride": 4, "width": 32, "convolutions": 1, "each": 8,
}  # fmt: skip


def rows(*, quick: bool = False) -> list[Row]:
    """Rows with 25 animals of 5 keypoints in each of 3 images of 192 px (``quick``: 64 px), in CPU seconds."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    size, repeats = (64, 3) if quick else (192, 9)
    batch = crowd(size)
    model = DirectPose(**SMALL)
    grid = (size // 4, size // 4)
    labelled = Keypoints(batch.points, batch.confidence)
    target = pose_targets(Keypoints(*(each[:1] for each in labelled)), grid)
    ideal = Branches(target.keypoints, target.boxes, target.vectors).points

    def bare() -> None:
        found = model.raw(batch.image)
        backward(model, torch.stack([each.mean() for each in found]).sum())

    def whole() -> None:
        backward(model, torch.stack(list(model.terms(batch).values())).sum())

    def decoded() -> None:
        with torch.inference_mode():
            refine_with_maps(decode_animals(0.9 * target.boxes, ideal, 30), 8 * target.keypoints - 4)

    times = medians(
        {"bare": bare, "whole": whole, "targets": lambda: pose_targets(labelled, grid), "decoding": decoded},
        repeats=repeats,
    )
    where = f"{size} px, {ANIMALS} animals"
    return [
        compare(f"DirectPose step, {where} / bare network", times["whole"], times["bare"], "<= 1.2"),
        compare(f"DirectPose targets, {where} / step", times["targets"], times["whole"], "<= 0.05"),
        compare(f"DirectPose decoding, one frame of {where} / 10 ms", times["decoding"], 0.01, "<= 1"),
    ]


def crowd(size: int) -> LabelledImages:
    """Three noise images (3, 3, size, size) with 25 animals each, a tenth of the image long: points (3, 25, 5, 2)."""
    torch.manual_seed(0)
    middle = 1.7 * torch.rand(3, ANIMALS, 1, 2) - 0.85
    points = middle + 0.2 * (torch.rand(3, ANIMALS, PARTS, 2) - 0.5)
    return LabelledImages(torch.rand(3, 3, size, size), points, torch.ones(points.shape[:-1]))
