"""People cut out of pictures by place and size, as labelled images; changed at random while training.

000, section 2.5: position and scale of the person are given.  What an item looks like depends on seed, epoch
and row alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import Frames, LabelledImages
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.images.files import Image, read_image
from lightning_kp.images.patches import View, cut_out
from lightning_kp.keypoints import from_missing
from lightning_kp.loading import EpochRows, WholeBatches
from lightning_kp.metrics.protocols import PoseProtocol

Rows = NDArray[np.int64]


class Person(NamedTuple):
    """Somebody in a picture: ``points_px`` (K, 2), NaN = not labelled; ``centre`` and ``side`` (edges, px)."""

    picture: Path
    points_px: NDArray[np.float64]
    centre: tuple[float, float]
    side: float


@dataclass(frozen=True)
class PersonAugmentation:
    """Random changes of a person's picture while training (turns and scales of Newell et al. 2016, section 3.3).

    Args:
        flip: Mirror left and right every other time (ours; Newell et al. do so in their code).
        turn_deg: Turn by up to so many degrees.
        scale: Enlarge or shrink by up to this share.
        shift: Move by up to this share of the side (ours: 0).
        colour: Multiply each colour by up to so much more or less than 1 (ours).
    """

    flip: bool = True
    turn_deg: float = 30.0
    scale: float = 0.25
    shift: float = 0.0
    colour: float = 0.2

    def __post_init__(self) -> None:
        if not (
            0 <= self.turn_deg <= 180 and 0 <= self.scale < 1 and 0 <= self.shift < 1 and 0 <= self.colour < 1
        ):
            raise ConfigurationError(
                f"turn_deg is {self.turn_deg}, scale {self.scale}, shift {self.shift}, colour {self.colour}.",
                remedy="Give 0 to 180 degrees, the others from 0 to below 1.",
            )


class Pictures:
    """Picture files, decoded once as long as ``hold_gb`` are not full."""

    def __init__(self, hold_gb: float) -> None:
        self.free = hold_gb * 1e9
        self.held: dict[Path, Image] = {}

    def read(self, path: Path) -> Image:
        """The picture as RGB (H, W, 3); raises DataError with its name."""
        if path in self.held:
            return self.held[path]
        picture = read_image(path)
        if picture.nbytes <= self.free:
            self.free -= picture.nbytes
            self.held[path] = picture
        return picture


class PersonDataset(WholeBatches[LabelledImages]):
    """People as images of ``size`` px (uint8), I = 1; ``mirror`` of all points as in Skeleton.

    With ``augmentation`` items change from epoch to epoch.
    """

    def __init__(
        self,
        people: Sequence[Person],
        mirror: Sequence[int],
        size: int,
        pictures: Pictures,
        augmentation: PersonAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.people = people
        self.mirror = list(mirror)
        self.size = size
        self.pictures = pictures
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, i: int) -> LabelledImages:
        """One person, without the batch axis; ``i // len(self)`` is the epoch."""
        return self._item(*divmod(i, len(self)))

    def __getitems__(self, indices: Sequence[int]) -> LabelledImages:
        """A batch of people."""
        items = [self[i] for i in indices]
        return LabelledImages(*(torch.stack(field) for field in zip(*items, strict=True)))

    def _item(self, epoch: int, row: int) -> LabelledImages:
        person, rng = self.people[row], np.random.default_rng((self.seed, epoch, row))
        view, change = View(person.centre, person.side), self.augmentation
        if change is not None:
            view = changed(view, change, rng)
        cut = cut_out(self.pictures.read(person.picture), view, self.size)
        points = cut.place(torch.from_numpy(person.points_px)).float()
        if view.flip:
            points = points[self.mirror]
        found, confidence = from_missing(points[None, None])
        image = cut.image
        if change is not None and change.colour:
            image = tinted(image, rng.uniform(1 - change.colour, 1 + change.colour, 3))
        return LabelledImages(image, found[0], confidence[0])


class PersonFrames(Dataset[Frames]):
    """People as frames of video 0, for prediction."""

    def __init__(self, people: PersonDataset) -> None:
        self.people = people

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, i: int) -> Frames:
        return Frames(self.people[i].image, torch.tensor(0), torch.tensor(i))


def changed(view: View, change: PersonAugmentation, rng: np.random.Generator) -> View:
    """A view turned, scaled, moved and mirrored at random."""
    angle = math.radians(change.turn_deg) * rng.uniform(-1, 1)
    side = view.side * rng.uniform(1 - change.scale, 1 + change.scale)
    x, y = view.centre + change.shift * side * rng.uniform(-1, 1, 2)
    return View((float(x), float(y)), side, angle, change.flip and bool(rng.random() < 0.5))


def tinted(image: Tensor, gains: NDArray[np.float64]) -> Tensor:
    """A picture (3, H, W) of bytes, each colour multiplied by its gain."""
    factors = torch.from_numpy(gains).float().view(3, 1, 1)
    return (image * factors).clamp(0, 255).round().byte()


def around(
    points_px: NDArray[np.float64], picture: tuple[int, int], margin: float
) -> tuple[tuple[float, float], float]:
    """Centre and side (edges, px) of the square around labelled points (K, 2), ``margin`` times their extent.

    The whole ``picture`` (height, width) where fewer than two points are labelled.
    """
    known = points_px[~np.isnan(points_px).any(axis=1)]
    if len(known) < 2:
        return (picture[1] / 2, picture[0] / 2), float(max(picture))
    low, high = known.min(axis=0), known.max(axis=0)
    x, y = (low + high) / 2 + 0.5
    return (float(x), float(y)), max(8.0, margin * float((high - low).max()))


class PersonModule(KeypointDataModule):
    """People -> LabelledImages of ``size`` px, augmented while training.

    A subclass sets ``protocol`` and ``part_names`` (the protocol's joints first) and calls :meth:`serve`.
    """

    cropped = True
    sampler_type = EpochRows
    batch_type = LabelledImages
    protocol: PoseProtocol

    def __init__(
        self,
        size: int,
        augmentation: PersonAugmentation | None,
        seed: int,
        hold_gb: float,
        root: str,
        batch_size: int,
        num_workers: int,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if size < 8:
            raise ConfigurationError(f"size is {size} px.", remedy="Give at least 8, such as 256.")
        self.size = size
        self.augmentation = augmentation or PersonAugmentation()
        self.seed = seed
        self.hold_gb = hold_gb

    def serve(self, people: Mapping[str, Sequence[Person]]) -> None:
        """Make the data sets of the stages."""
        pictures = Pictures(self.hold_gb)
        joints = self.protocol.skeleton.mirror
        mirror = (*joints, *range(len(joints), len(self.part_names)))
        for stage, each in people.items():
            change = self.augmentation if stage == "train" else None
            self.datasets[stage] = PersonDataset(each, mirror, self.size, pictures, change, self.seed)
        last = next(stage for stage in ("test", "val", "train") if stage in people)
        self.datasets["predict"] = PersonFrames(PersonDataset(people[last], mirror, self.size, pictures))


def drawn(rows: Rows, fraction: float, seed: int, option: str) -> tuple[Rows, Rows]:
    """Rows kept and rows held out, drawn by ``seed``, both in order; none of the latter for a fraction of 0."""
    if not 0 <= fraction < 1:
        raise ConfigurationError(f"{option} is {fraction}.", remedy="Give a share from 0 to below 1.")
    order = np.random.default_rng(seed).permutation(rows)
    held_out = max(1, round(len(rows) * fraction)) if fraction else 0
    if held_out >= len(rows):
        raise DataError(
            f"{len(rows)} people, {held_out} of them held out, leave none.",
            remedy=f"Hold out fewer: --data.{option}=0.",
        )
    return np.sort(order[held_out:]), np.sort(order[:held_out])
