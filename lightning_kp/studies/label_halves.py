"""The label-efficiency experiment's data: which frames may train, which are held out, and the scores on those.

Held-out halves are fixed.  Frames of one recording are divided in time, since neighbours look alike; frames
drawn from many recordings are divided by a fixed permutation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_kp.checkpoints import data_settings, load_method
from lightning_kp.labels.animals import LabelledAnimals
from lightning_kp.labels.bases import divide
from lightning_kp.labels.opening import open_labels
from lightning_kp.labels.reading import read_animals
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.bridge import fit_bridge
from lightning_kp.scoring.discovered import discovered_points

PCK_SHARE = 0.05
"""Share of the image side within which a prediction counts as right."""
HALVES_SEED = 20_220


@dataclass(frozen=True)
class LabelSet:
    """``name`` of the folder, its ``labels``, the suffix of its ``experiment`` files, and how it is divided.

    ``pool``: frames that may train; the rest is held out.
    """

    name: str
    labels: str
    experiment: str
    pool: int
    in_time: bool

    def root(self, data: Path) -> Path:
        """Folder of the data set."""
        return data / self.name

    def halves(self, data: Path) -> tuple[list[int], list[int]]:
        """Rows that may train, and rows held out."""
        number = len(_opened(self.root(data) / self.labels).frames)
        order = np.arange(number) if self.in_time else np.random.default_rng(HALVES_SEED).permutation(number)
        return np.sort(order[: self.pool]).tolist(), np.sort(order[self.pool :]).tolist()

    def read(self, data: Path, size: int, fit: Any, names: Sequence[str] | None = None) -> LabelledAnimals:
        """All labelled frames as the network sees them."""
        return read_animals(self.root(data) / self.labels, size, fit, names=names, root=self.root(data))

    def side_px(self, data: Path) -> int:
        """Longer side of the images: that of the square which the network sees."""
        height, width = _opened(self.root(data) / self.labels).frames[0].read().shape[:2]
        return int(max(height, width))

    def mean_pose(self, data: Path, labels: Sequence[int], seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of the trivial answer: the mean of the labels that trained the others."""
        animals, (pool, test) = self.read(data, 32, "pad"), self.halves(data)
        points, side = animals.points[:, 0].double(), self.side_px(data)
        return [
            {"dataset": self.name, "method": "mean pose", "labels": number, "seed": seed}
            | scores(
                points[chosen(pool, number, seed)].nanmean(0).expand(len(test), -1, -1), points[test], side
            )
            for number in labels
            for seed in seeds
        ]


SETS = {
    "mouse_openfield": LabelSet(
        "mouse_openfield", "labeled-data/m4s1/CollectedData_Pranav.csv", "openfield", pool=58, in_time=True
    ),
    "mirror_mouse": LabelSet("mirror_mouse", "CollectedData.csv", "mirrormouse", pool=50, in_time=False),
}


@lru_cache
def _opened(path: Path) -> Any:
    return open_labels(path)


def chosen(pool: Sequence[int], number: int, seed: int) -> list[int]:
    """The rows that a datamodule with these ``rows``, ``train_frames`` and ``seed`` trains on."""
    rows, _ = divide(len(pool), 0, number, seed)
    return [pool[row] for row in rows]


def score_run(data: LabelSet, folder: Path, run: Path, seed: int, labels: Sequence[int]) -> dict[str, Any]:
    """Scores on the held-out half, by number of labels as text; a discovering network is bridged first."""
    method = load_method(run)
    assert isinstance(method, KeypointMethod)
    settings = data_settings(run)
    animals = data.read(folder, int(settings["size"]), settings["fit"], method.keypoint_names or None)
    pool, test = data.halves(folder)
    labelled, side = animals.points[:, 0].double(), data.side_px(folder)
    found = discovered_points(method, animals.image)
    if method.keypoint_names:
        return {str(labels[0]): scores(found[test], labelled[test], side)}
    bridged = {}
    for number in labels:
        rows = chosen(pool, number, seed)
        named = fit_bridge(found[rows], labelled[rows]).regressor.predict(found[test])
        bridged[str(number)] = scores(named, labelled[test], side)
    return bridged


def scores(predicted: Tensor, labelled: Tensor, side_px: int) -> dict[str, float]:
    """``pck`` at 5 % of the side and ``error_px``, mean distance in pixels of the original image.

    Points (N, L, 2) normalised; a point without prediction (never labelled in training) is a miss, and at
    the image's centre.
    """
    known = torch.nan_to_num(predicted.double())
    distance = (known - labelled).norm(dim=-1) / 2  # in image sides
    missed = torch.isnan(predicted).any(dim=-1)
    counted = ~torch.isnan(labelled).any(dim=-1)
    right = (distance <= PCK_SHARE) & ~missed
    return {
        "pck": right[counted].double().mean().item(),
        "error_px": distance[counted].mean().item() * side_px,
    }
