"""People cropped from images by position and size, as labelled images, with augmentation in training.

000, section 2.5: position and scale of the person are given.  An item depends on seed, epoch and row only.
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
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import to_edges
from lightning_kp.images.files import Image, read_image
from lightning_kp.images.patches import Patch, cut_patch
from lightning_kp.keypoints import from_missing
from lightning_kp.loading import EpochRows, Rows, WholeBatches, train_and_held_out
from lightning_kp.metrics.protocols import PoseProtocol


class PlacedPerson(NamedTuple):
    """A person in an image file, with the square crop around them.

    ``points_px`` (K, 2): pixels (x, y), NaN = not labelled; ``centre`` (x, y) and ``side`` of the crop, in pixels
    counted from the outer edge of the image.
    """

    image: Path
    points_px: NDArray[np.float64]
    centre: tuple[float, float]
    side: float


@dataclass(frozen=True)
class PersonAugmentation:
    """Random changes of a person's crop in training (rotation and scale of Newell et al. 2016, section 3.3).

    Args:
        flip: Mirror half of the crops horizontally, at random (ours; also in the code of Newell et al.).
        turn_deg: Rotate by up to this many degrees in either direction.
        scale: Enlarge or shrink by up to this share.
        shift: Shift by up to this share of the side (ours: 0).
        colour: Multiply each colour channel by 1 plus or minus up to this number (ours).
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
                f"turn_deg is {self.turn_deg}, scale {self.scale}, shift {self.shift} and colour {self.colour}.",
                remedy="Give a turn_deg from 0 to 180, and the others from 0 to below 1.",
            )


class ImageMemory:
    """Reads image files and keeps them decoded in memory, up to ``hold_gb`` GB."""

    def __init__(self, hold_gb: float) -> None:
        self.free = hold_gb * 1e9
        self.held: dict[Path, Image] = {}

    def read(self, path: Path) -> Image:
        """Return an image as RGB (H, W, 3) uint8.  Raises DataError, with its path, if it cannot be read."""
        if path in self.held:
            return self.held[path]
        image = read_image(path)
        if image.nbytes <= self.free:
            self.free -= image.nbytes
            self.held[path] = image
        return image


class PersonDataset(WholeBatches[LabelledImages]):
    """People as LabelledImages: image (B, 3, size, size) uint8, points (B, 1, K, 2), confidence (B, 1, K).

    ``mirror`` (K,): the counterpart of each point in a mirrored image, as in Skeleton.  With ``augmentation``, items
    change from epoch to epoch.
    """

    def __init__(
        self,
        people: Sequence[PlacedPerson],
        mirror: Sequence[int],
        size: int,
        images: ImageMemory,
        augmentation: PersonAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.people = people
        self.mirror = list(mirror)
        self.size = size
        self.images = images
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
        patch, augmentation = Patch(person.centre, person.side), self.augmentation
        if augmentation is not None:
            patch = augmented_patch(patch, augmentation, rng)
        cut = cut_patch(self.images.read(person.image), patch, self.size)
        points = cut.place(torch.from_numpy(person.points_px)).float()
        if patch.flip:
            points = points[self.mirror]
        known, confidence = from_missing(points[None, None])
        image = cut.image
        if augmentation is not None and augmentation.colour:
            image = scale_colours(image, rng.uniform(1 - augmentation.colour, 1 + augmentation.colour, 3))
        return LabelledImages(image, known[0], confidence[0])


class PersonFrames(Dataset[Frames]):
    """People as the frames of video 0, for prediction."""

    def __init__(self, people: PersonDataset) -> None:
        self.people = people

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, i: int) -> Frames:
        return Frames(self.people[i].image, torch.tensor(0), torch.tensor(i))


def augmented_patch(patch: Patch, augmentation: PersonAugmentation, rng: np.random.Generator) -> Patch:
    """Rotate, scale, shift and mirror a patch at random."""
    angle = math.radians(augmentation.turn_deg) * rng.uniform(-1, 1)
    side = patch.side * rng.uniform(1 - augmentation.scale, 1 + augmentation.scale)
    x, y = patch.centre + augmentation.shift * side * rng.uniform(-1, 1, 2)
    return Patch((float(x), float(y)), side, angle, augmentation.flip and bool(rng.random() < 0.5))


def scale_colours(image: Tensor, gains: NDArray[np.float64]) -> Tensor:
    """Multiply the colour channels of an image (3, H, W) uint8 by ``gains`` (3,), rounded and clipped to 0..255."""
    factors = torch.from_numpy(gains).float().view(3, 1, 1)
    return (image * factors).clamp(0, 255).round().byte()


def square_around(
    points_px: NDArray[np.float64], image_size: tuple[int, int], margin: float
) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and side of the square around labelled points (K, 2), with ``margin`` times their extent.

    Both are in pixels counted from the outer edge of the image.  If fewer than two points are labelled, the square
    covers the whole image of ``image_size`` (height, width).
    """
    known = points_px[~np.isnan(points_px).any(axis=1)]
    if len(known) < 2:
        return (image_size[1] / 2, image_size[0] / 2), float(max(image_size))
    low, high = known.min(axis=0), known.max(axis=0)
    x, y = to_edges((low + high) / 2)
    return (float(x), float(y)), max(8.0, margin * float((high - low).max()))


class PersonModule(KeypointDataModule):
    """Base of the datamodules of single people: LabelledImages of ``size`` pixels, augmented in training.

    A subclass sets ``protocol`` and ``part_names`` (the protocol's joints first) and calls :meth:`serve` in ``setup``.
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
            raise ConfigurationError(
                f"size is {size} pixels.", remedy="Give a --data.size of at least 8, such as 256."
            )
        self.size = size
        self.augmentation = augmentation or PersonAugmentation()
        self.seed = seed
        self.hold_gb = hold_gb

    def serve(self, people: Mapping[str, Sequence[PlacedPerson]]) -> None:
        """Create the data sets of the stages."""
        images = ImageMemory(self.hold_gb)
        joints = self.protocol.skeleton.mirror
        mirror = (*joints, *range(len(joints), len(self.part_names)))
        for stage, each in people.items():
            augmentation = self.augmentation if stage == "train" else None
            self.datasets[stage] = PersonDataset(each, mirror, self.size, images, augmentation, self.seed)
        last = next(stage for stage in ("test", "val", "train") if stage in people)
        self.datasets["predict"] = PersonFrames(PersonDataset(people[last], mirror, self.size, images))


def hold_out(rows: Rows, fraction: float, seed: int, option: str) -> tuple[Rows, Rows]:
    """Divide rows (N,) into those kept and the ``fraction`` that is held out, drawn by ``seed``, both sorted.

    ``option`` names the option of the datamodule that holds the fraction, for messages.
    """
    if not 0 <= fraction < 1:
        raise ConfigurationError(
            f"{option} is {fraction}.", remedy=f"Give a --data.{option} from 0 to below 1."
        )
    kept, held_out = train_and_held_out(
        len(rows), fraction, seed, items="people", remedy=f"Hold out fewer: --data.{option}=0."
    )
    return np.sort(rows[kept]), np.sort(rows[held_out])
