"""Labelled frames as data sets: alone, for prediction, and beside pairs of unlabelled frames.

A batch's labelled frames are a function of the seed and of the batch's pairs, so that a resumed run meets
the same ones.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import Frames, LabelledImages, PairsAndLabels
from lightning_kp.frames.pairs import PairDataset
from lightning_kp.keypoints import from_missing
from lightning_kp.labels import LabelledAnimals
from lightning_kp.loading import WholeBatches


class LabelledDataset(WholeBatches[LabelledImages]):
    """Some of a set of labelled frames, ``repeats`` times; items and whole batches are LabelledImages (uint8)."""

    def __init__(self, animals: LabelledAnimals, rows: NDArray[np.int64], repeats: int = 1) -> None:
        self.image = animals.image
        self.keypoints = from_missing(animals.points)
        self.rows = rows
        self.repeats = repeats

    def __len__(self) -> int:
        return len(self.rows) * self.repeats

    def __getitem__(self, i: int) -> LabelledImages:
        """One labelled frame, without the batch axis."""
        return LabelledImages(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> LabelledImages:
        """A batch of labelled frames."""
        chosen = torch.from_numpy(self.rows[np.asarray(indices, np.int64) % max(1, len(self.rows))])
        points, confidence = self.keypoints
        return LabelledImages(self.image[chosen], points[chosen], confidence[chosen])


class LabelledFrameList(Dataset[Frames]):
    """All labelled frames as frames of video 0, for prediction."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, i: int) -> Frames:
        return Frames(self.image[i], torch.tensor(0), torch.tensor(i))


class PairsAndLabelsDataset(WholeBatches[PairsAndLabels]):
    """Pairs with ``count`` labelled frames for each batch of them, drawn anew for each."""

    def __init__(self, pairs: PairDataset, labelled: LabelledDataset, count: int, seed: int) -> None:
        self.pairs = pairs
        self.labelled = labelled
        self.count = count if len(labelled) else 0
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> PairsAndLabels:
        """One pair, without the batch axis, with all labelled frames of a batch."""
        batch = self.__getitems__([i])
        frame, future, video, index = (field[0] for field in batch[:4])
        return PairsAndLabels(frame, future, video, index, batch.image, batch.points, batch.confidence)

    def __getitems__(self, indices: Sequence[int]) -> PairsAndLabels:
        """A batch of pairs with its labelled frames: different ones as long as there are enough."""
        rng = np.random.default_rng((self.seed, *indices))
        rounds = -(-self.count // max(1, len(self.labelled)))
        drawn = [rng.permutation(len(self.labelled)) for _ in range(rounds)]
        chosen = np.concatenate(drawn)[: self.count] if drawn else np.zeros(0, np.int64)
        labelled = self.labelled.__getitems__(chosen.tolist())
        return PairsAndLabels(*self.pairs.__getitems__(indices), *labelled)
