"""Labelled frames as data sets: alone, for prediction, and together with unlabelled frames.

Which frames are drawn for a batch depends only on the seed and on the batch's own rows, so that a resumed run draws
the same ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import Frames, LabelledAndUnlabelled, LabelledImages, PairsAndLabels
from lightning_kp.frames.pairs import PairDataset
from lightning_kp.geometry import Fit, place
from lightning_kp.images.resize import prepare
from lightning_kp.keypoints import from_missing, in_view
from lightning_kp.labels.animals import LabelledAnimals, thinned
from lightning_kp.loading import Rows, WholeBatches, drawn_parts
from lightning_kp.video.opening import open_video
from lightning_kp.video.paths import find_videos


class LabelledDataset(WholeBatches[LabelledImages]):
    """The ``rows`` of a set of labelled frames, repeated until there are ``length`` items (default: once).

    Batches are LabelledImages: image (B, 3, S, S) uint8, points (B, I, K, 2), confidence (B, I, K).  With
    ``only_in_view``, points outside the square have confidence 0: they are neither trained on nor counted as missed.
    """

    def __init__(
        self, animals: LabelledAnimals, rows: Rows, length: int | None = None, *, only_in_view: bool = False
    ) -> None:
        self.image = animals.image
        keypoints = from_missing(animals.points)
        self.keypoints = in_view(*keypoints) if only_in_view else keypoints
        self.rows = rows
        self.length = len(rows) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> LabelledImages:
        """One labelled frame, without the batch axis."""
        return LabelledImages(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> LabelledImages:
        """A batch of labelled frames."""
        chosen = torch.from_numpy(self.rows[np.asarray(indices, np.int64) % max(1, len(self.rows))])
        points, confidence = self.keypoints
        return LabelledImages(self.image[chosen], points[chosen], confidence[chosen])


class LabelledFrameList(Dataset[Frames]):
    """All labelled frames (N, 3, S, S) as the frames of video 0, for prediction."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, i: int) -> Frames:
        return Frames(self.image[i], torch.tensor(0), torch.tensor(i))


class PairsAndLabelsDataset(WholeBatches[PairsAndLabels]):
    """Pairs of frames, with ``count`` labelled frames drawn for each batch of pairs."""

    def __init__(self, pairs: PairDataset, labelled: LabelledDataset, count: int, seed: int) -> None:
        self.pairs = pairs
        self.labelled = labelled
        self.count = count if len(labelled) else 0
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> PairsAndLabels:
        """One pair, without the batch axis, with ``count`` labelled frames."""
        batch = self.__getitems__([i])
        frame, future, video, index = (field[0] for field in batch[:4])
        return PairsAndLabels(frame, future, video, index, batch.image, batch.points, batch.confidence)

    def __getitems__(self, indices: Sequence[int]) -> PairsAndLabels:
        """A batch of pairs with its labelled frames, all different if there are enough."""
        rng = np.random.default_rng((self.seed, *indices))
        rounds = -(-self.count // max(1, len(self.labelled)))
        drawn = [rng.permutation(len(self.labelled)) for _ in range(rounds)]
        chosen = np.concatenate(drawn)[: self.count] if drawn else np.zeros(0, np.int64)
        labelled = self.labelled.__getitems__(chosen.tolist())
        return PairsAndLabels(*self.pairs.__getitems__(indices), *labelled)


class GroupsAndUnlabelledDataset(WholeBatches[LabelledAndUnlabelled]):
    """Labelled frames, with ``count`` of the unlabelled images (M, 3, S, S) drawn for each batch of them."""

    def __init__(self, labelled: LabelledDataset, unlabelled: Tensor, count: int, seed: int) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.count = min(count, len(unlabelled))
        self.seed = seed

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, i: int) -> LabelledAndUnlabelled:
        """One labelled frame, without the batch axis, with ``count`` unlabelled ones."""
        image, points, confidence, unlabelled = self.__getitems__([i])
        return LabelledAndUnlabelled(image[0], points[0], confidence[0], unlabelled)

    def __getitems__(self, indices: Sequence[int]) -> LabelledAndUnlabelled:
        """A batch of labelled frames with its unlabelled ones, which are all different."""
        rng = np.random.default_rng((self.seed, *indices))
        drawn = rng.permutation(len(self.unlabelled))[: self.count]
        labelled = self.labelled.__getitems__(indices)
        return LabelledAndUnlabelled(*labelled, self.unlabelled[torch.from_numpy(drawn)])


def read_unlabelled(
    sources: Sequence[str], root: Path, size: int, fit: Fit, box: Sequence[int] | None, at_most: int
) -> Tensor:
    """Read at most ``at_most`` frames, evenly thinned, of each video or folder of images: (M, 3, S, S) uint8."""
    squares: list[Any] = []
    for path in find_videos(list(sources), root) if sources else []:
        with open_video(path) as reader:
            number = reader.info.n_frames
            if number is None:
                number = sum(1 for _ in reader.decode())
            wanted = set(thinned(number, at_most))
            for frame in reader.decode():
                if frame.index in wanted:
                    image = frame.rgb()
                    edges = None if box is None else (box[0], box[1], box[2], box[3])
                    squares.append(prepare(image, place((image.shape[0], image.shape[1]), size, fit, edges)))
    if not squares:
        return torch.zeros(0, 3, size, size, dtype=torch.uint8)
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()


def divide_groups(
    number: int, test: int, val: int, train: int | None, seed: int
) -> tuple[Rows, Rows, Rows, Rows]:
    """Rows (N,) that train, validate, test, and are left over, drawn by ``seed``, each part sorted.

    The frames that test do not depend on the other numbers, nor those that validate on how many train: a
    smaller training set is part of a larger one.
    """
    testing, validating, training, left = drawn_parts(
        number, (test, val, number if train is None else train), seed
    )
    return training, validating, testing, left
