"""Data of the label-efficiency study: training frames, held-out frames, and the scores on the held-out frames.

The held-out halves are fixed. Frames of one recording are divided in time, since neighbouring frames look alike;
frames drawn from many recordings are divided by a fixed permutation.
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
"""Distance, as a share of the image side, within which a prediction counts as correct."""
HALVES_SEED = 20_220


@dataclass(frozen=True)
class LabelSet:
    """A labelled data set and its division.

    Attributes:
        name: Name of the folder.
        labels: Label file, relative to the folder.
        experiment: Suffix of the experiment files.
        pool: Number of frames available for training; the rest is held out.
        in_time: Divide in time instead of by a permutation.
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
        """Rows available for training, and held-out rows."""
        number = len(_opened(self.root(data) / self.labels).frames)
        order = np.arange(number) if self.in_time else np.random.default_rng(HALVES_SEED).permutation(number)
        return np.sort(order[: self.pool]).tolist(), np.sort(order[self.pool :]).tolist()

    def read(self, data: Path, size: int, fit: Any, names: Sequence[str] | None = None) -> LabelledAnimals:
        """All labelled frames as the network sees them."""
        return read_animals(self.root(data) / self.labels, size, fit, names=names, root=self.root(data))

    def side_px(self, data: Path) -> int:
        """Longer side of the images in pixels, which is the side of the square that the network sees."""
        height, width = _opened(self.root(data) / self.labels).frames[0].read().shape[:2]
        return int(max(height, width))

    def mean_pose(self, data: Path, labels: Sequence[int], seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Scores of the baseline that predicts the mean pose of the training labels."""
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
    """Rows of the pool that a datamodule with ``train_frames=number`` and this seed trains on."""
    rows, _ = divide(len(pool), 0, number, seed)
    return [pool[row] for row in rows]


def score_run(data: LabelSet, folder: Path, run: Path, seed: int, labels: Sequence[int]) -> dict[str, Any]:
    """Score a run on the held-out half.

    A network that discovers keypoints is scored through a linear bridge, fitted to the chosen training labels.

    Args:
        data: The data set.
        folder: Folder that contains the data sets.
        run: Run folder.
        seed: Seed that chose the training frames.
        labels: Numbers of labelled frames.

    Returns:
        Scores by number of labels as text.
    """
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
    """PCK and mean error of predicted points.

    Args:
        predicted: Points (N, K, 2), normalised (x, y). NaN means no prediction, because the point was never
            labelled in training; it counts as wrong and as lying at the image centre.
        labelled: Points (N, K, 2), normalised (x, y). Points with NaN do not count.
        side_px: Side of the square image in pixels of the original image.

    Returns:
        ``pck``, the share of points within 5 % of the image side, and ``error_px``, the mean distance in pixels of
        the original image.
    """
    known = torch.nan_to_num(predicted.double())
    distance = (known - labelled).norm(dim=-1) / 2  # in image sides
    unpredicted = torch.isnan(predicted).any(dim=-1)
    counted = ~torch.isnan(labelled).any(dim=-1)
    correct = (distance <= PCK_SHARE) & ~unpredicted
    return {
        "pck": correct[counted].double().mean().item(),
        "error_px": distance[counted].mean().item() * side_px,
    }
