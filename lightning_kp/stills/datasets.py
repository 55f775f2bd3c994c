"""Squares of still images as data sets of any batch type: alone, with their classes, or with labelled points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_kp.batches import ClassifiedImages, Frames, Images, LabelledImages
from lightning_kp.errors import DataError
from lightning_kp.geometry import Region
from lightning_kp.keypoints import Keypoints, from_missing
from lightning_kp.loading import Rows, WholeBatches
from lightning_kp.stills.listing import Still
from lightning_kp.stills.store import Squares

UNKNOWN = -1
"""Label of an image without a class."""
NEEDED = {
    LabelledImages: ("labelled points", "Give a set with points, such as --data.points=FILE, or use another method."),
}  # fmt: skip


@dataclass(frozen=True)
class StillSet:
    """N squares and what is known of them.

    Attributes:
        squares: The images.
        label: Class of each, (N,), int64; -1 = unknown.
        class_names: Names of the classes.
        points: Labelled points (N, 1, K, 2), normalised, NaN = not visible; None without labels.
        mirror: Counterpart (K,) of each point in a mirrored image.
    """

    squares: Squares
    label: Tensor
    class_names: tuple[str, ...]
    points: Tensor | None = None
    mirror: tuple[int, ...] = ()


def still_set(
    stills: Sequence[Still],
    squares: Squares,
    *,
    mirror: tuple[int, ...] = (),
    class_names: Sequence[str] = (),
) -> StillSet:
    """Join squares with the classes and points of their images; ``stills`` is the list that they were read from.

    Classes are in the order of ``class_names``, by default of their names.
    """
    kept = [stills[row] for row in squares.kept.tolist()]
    names = class_names or sorted({still.label for still in kept if still.label})
    number = {name: position for position, name in enumerate(names)}
    label = torch.tensor([number.get(still.label, UNKNOWN) for still in kept], dtype=torch.int64)
    points = None
    if any(still.points_px is not None for still in kept):
        shape = next(still.points_px.shape for still in kept if still.points_px is not None)
        rows = [np.full(shape, np.nan) if still.points_px is None else still.points_px for still in kept]
        placed = zip(rows, squares.regions.tolist(), kept, strict=True)
        points = torch.stack([_placed(px, Region(*edges), still.mirrored) for px, edges, still in placed])
    return StillSet(squares, label, tuple(names), points, mirror)


def _placed(points_px: Any, region: Region, mirrored: bool) -> Tensor:
    """Pixels (K, 2) of an image -> normalised points (1, K, 2) of its square."""
    points = region.from_original_px(torch.from_numpy(np.asarray(points_px, np.float64)))
    if mirrored:
        points = points * points.new_tensor((-1, 1))
    return points.float().unsqueeze(0)


class StillDataset(WholeBatches[Any]):
    """The ``rows`` of a set as batches of ``kind``: Images, ClassifiedImages or LabelledImages.

    ``flip`` mirrors half of the images at random, and their points with names exchanged; an index above the length
    belongs to a later epoch, and the draw depends on seed, epoch and row only.
    """

    def __init__(
        self, stills: StillSet, rows: Rows, kind: type, *, flip: bool = False, seed: int = 0
    ) -> None:
        if kind is LabelledImages and stills.points is None:
            what, remedy = NEEDED[LabelledImages]
            raise DataError(f"These images have no {what}.", remedy=remedy)
        self.stills, self.rows, self.kind = stills, rows, kind
        self.flip, self.seed = flip, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        """One image, without the batch axis."""
        return self.kind(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """A batch of ``kind``."""
        drawn = np.asarray(indices, np.int64)
        rows = self.rows[drawn % len(self.rows)]
        image = self.stills.squares[rows]
        flipped = self._flipped(drawn)
        if flipped.any():
            image = torch.where(flipped.view(-1, 1, 1, 1), image.flip(-1), image)
        if self.kind is Images:
            return Images(image)
        chosen = torch.from_numpy(rows)
        if self.kind is ClassifiedImages:
            return ClassifiedImages(image, self.stills.label[chosen])
        assert self.stills.points is not None  # checked when this was built
        keypoints = from_missing(self.stills.points[chosen])
        if flipped.any():
            keypoints = self._mirrored(keypoints, flipped)
        return LabelledImages(image, *keypoints)

    def _flipped(self, drawn: Rows) -> Tensor:
        if not self.flip:
            return torch.zeros(len(drawn), dtype=torch.bool)
        draws = [np.random.default_rng((self.seed, int(each))).random() < 0.5 for each in drawn]
        return torch.tensor(draws)

    def _mirrored(self, keypoints: Keypoints, flipped: Tensor) -> Keypoints:
        other = keypoints.flip(torch.tensor(self.stills.mirror))
        points = torch.where(flipped.view(-1, 1, 1, 1), other.points, keypoints.points)
        return Keypoints(points, torch.where(flipped.view(-1, 1, 1), other.confidence, keypoints.confidence))


class StillFrames(WholeBatches[Frames]):
    """All squares as frames of video 0, for prediction; the index is the row of the set."""

    def __init__(self, squares: Squares) -> None:
        self.squares = squares

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, i: int) -> Frames:
        """One frame, without the batch axis."""
        return Frames(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> Frames:
        """A batch of frames."""
        rows = np.asarray(indices, np.int64)
        return Frames(self.squares[rows], torch.zeros(len(rows), dtype=torch.int64), torch.from_numpy(rows))
