"""Speed of a semi-supervised step against the sum of its parts: discovery alone and supervision alone."""

import os
from typing import Any

import torch

from lightning_kp.batches import LabelledImages, PairsAndLabels
from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.bench.step import LAPTOP, backward, random_pairs, step
from lightning_kp.methods import BKinD, SemiSupervisedBKinD, SupervisedKeypoints

NAMES = ["nose", "left", "right", "tail"]
SHARED = ("encoder", "pretrained", "pose_width", "sharpness")


def rows(*, quick: bool = False) -> list[Row]:
    """Row for the laptop preset at 96 px with 8 pairs and 8 labelled frames, in CPU seconds."""
    return [semi_supervised_row(LAPTOP, size=96, batch_size=8, repeats=5 if quick else 9)]


def semi_supervised_row(options: dict[str, Any], *, size: int, batch_size: int, repeats: int) -> Row:
    """Row for forward and backward passes of the three methods on images of the same size."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    pairs = random_pairs(batch_size, size)
    points = 1.8 * torch.rand(batch_size, 1, len(NAMES), 2) - 0.9
    labelled = LabelledImages(torch.rand(batch_size, 3, size, size), points, torch.ones(points.shape[:-1]))
    both = PairsAndLabels(*pairs, *labelled)
    semi = SemiSupervisedBKinD(NAMES, **options)
    discovery = BKinD(**options)
    supervised = SupervisedKeypoints(NAMES, **{name: options[name] for name in SHARED if name in options})
    times = medians(
        {
            "semi": lambda: backward(semi, step(semi, both)),
            "discovery": lambda: backward(discovery, step(discovery, pairs)),
            "supervised": lambda: backward(supervised, step(supervised, labelled)),
        },
        repeats=repeats,
    )
    parts = times["discovery"] + times["supervised"]
    return compare(
        f"step, {size} px: semi-supervised / discovery + supervision", times["semi"], parts, "<= 1.1"
    )
