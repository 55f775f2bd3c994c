"""Crowds as training images: square patches of whole images, with augmentation, and the base of their datamodules.

000, 3.6: random flips, rotations by up to 40 degrees and scalings; a patch that is larger than its crowd region shows
the surroundings.  An item depends on seed, epoch and row only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from faster_coco_eval.core import mask as run_lengths
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import CrowdImages, Frames
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import from_edges
from lightning_kp.images.files import Image
from lightning_kp.images.patches import Cut, Patch, cut_patch
from lightning_kp.loading import EpochRows, WholeBatches
from lightning_kp.people.crowds import Crowd, Person


@dataclass(frozen=True)
class CrowdAugmentation:
    """Random changes of the patch of a crowd in training (000, 3.6; the range of scales is ours).

    Args:
        flip: Mirror half of the patches horizontally, at random.
        turn_deg: Rotate by up to this many degrees in either direction.
        least_scale: Smallest side of the patch, as a multiple of the side of the crowd region.
        most_scale: Largest side of the patch, as a multiple of the side of the crowd region.
    """

    flip: bool = True
    turn_deg: float = 40.0
    least_scale: float = 0.75
    most_scale: float = 1.5

    def __post_init__(self) -> None:
        if not 0 < self.least_scale <= self.most_scale or not 0 <= self.turn_deg <= 180:
            raise ConfigurationError(
                f"turn_deg is {self.turn_deg}, least_scale is {self.least_scale} and most_scale is {self.most_scale}.",
                remedy="Give a turn_deg from 0 to 180, and a least_scale above 0 that is at most most_scale.",
            )


def covered_by(people: Sequence[Person], size: tuple[int, int]) -> Image:
    """Mask (H, W) uint8 of the pixels that instances cover: 255, others 0; ``size`` is (height, width)."""
    height, width = size
    if not people:
        return np.zeros(size, np.uint8)
    parts = []
    for person in people:
        left, top, wide, high = person.box
        outline = person.outline or [[left, top, left + wide, top, left + wide, top + high, left, top + high]]
        shapes = run_lengths.frPyObjects(outline, height, width) if _needs_conversion(outline) else outline
        parts += shapes if isinstance(shapes, list) else [shapes]
    return np.asarray(run_lengths.decode(run_lengths.merge(parts)) * 255, dtype=np.uint8)


def _needs_conversion(outline: object) -> bool:
    """Whether an outline has to be converted to compressed run lengths, as polygons and plain counts have."""
    return isinstance(outline, list) or (isinstance(outline, dict) and isinstance(outline["counts"], list))


class CrowdDataset(WholeBatches[CrowdImages]):
    """Crowds as network images; batches are CrowdImages, padded to the largest number of instances.

    With ``augmentation``, items change from epoch to epoch, and instances without a point in view are left out.
    ``jitter_px`` shifts every edge of every region at random by up to this many pixels (000, Table 3.3).
    """

    def __init__(
        self,
        crowds: Sequence[Crowd],
        size: int,
        augmentation: CrowdAugmentation | None = None,
        jitter_px: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.crowds = crowds
        self.size = size
        self.augmentation = augmentation
        self.jitter_px = jitter_px
        self.seed = seed

    def __len__(self) -> int:
        return len(self.crowds)

    def __getitem__(self, i: int) -> CrowdImages:
        """One crowd, without the batch axis."""
        return CrowdImages(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> CrowdImages:
        """A batch of crowds; ``index // len(self)`` is the epoch."""
        items = [self._item(*divmod(index, len(self))) for index in indices]
        instances, others = (max(1, *(len(item[k]) for item in items)) for k in (1, -1))
        return CrowdImages(
            *(
                torch.stack(field)
                for field in zip(*(_padded(i, instances, others) for i in items), strict=True)
            )
        )

    def patch(self, epoch: int, row: int) -> Patch:
        """The patch that shows a crowd in an epoch: the square around its region, changed at random."""
        crowd, rng = self.crowds[row], np.random.default_rng((self.seed, epoch, row))
        left, top, width, height = crowd.box
        edges = np.array([left, top, left + width, top + height], dtype=np.float64)
        edges += rng.uniform(-1, 1, 4) * self.jitter_px
        x, y = float(edges[[0, 2]].mean()), float(edges[[1, 3]].mean())
        side = float(max(edges[2] - edges[0], edges[3] - edges[1], 8.0))
        change = self.augmentation
        if change is None:
            return Patch((x, y), side)
        scale = math.exp(rng.uniform(math.log(change.least_scale), math.log(change.most_scale)))
        angle = math.radians(change.turn_deg) * rng.uniform(-1, 1)
        return Patch((x, y), side * scale, angle, change.flip and bool(rng.random() < 0.5))

    def _item(self, epoch: int, row: int) -> CrowdImages:
        crowd, patch = self.crowds[row], self.patch(epoch, row)
        covered = covered_by(crowd.others, crowd.scene.size)
        cut = cut_patch(np.dstack((crowd.scene.read(), covered)), patch, self.size)
        points_px = torch.from_numpy(np.stack([person.points for person in crowd.people])).double()
        points = cut.place(points_px)
        labelled = points.isfinite().all(dim=-1)
        if patch.flip:
            mirror = torch.tensor(crowd.mirror)
            points, labelled = points[:, mirror], labelled[:, mirror]
        if self.augmentation is not None:
            kept = ((points.abs() <= 1).all(dim=-1) & labelled).any(dim=-1)
        else:
            kept = labelled.any(dim=-1)
        area = torch.tensor([person.area for person in crowd.people])
        return CrowdImages(
            cut.image[:3],
            torch.where(labelled.unsqueeze(-1), points, 0).float()[kept],
            labelled.float()[kept],
            area.float()[kept],
            torch.tensor(cut.side, dtype=torch.float32),
            cut.image[3] < 128,
            _boxes_in(cut, crowd.others),
        )


def _boxes_in(cut: Cut, people: Sequence[Person]) -> Tensor:
    """Normalised boxes (O, 4) = left, top, right, bottom of the people in view; upright in the patch."""
    boxes = torch.tensor([person.box for person in people], dtype=torch.float64).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    x, y = torch.stack((low[:, 0], high[:, 0])), torch.stack((low[:, 1], high[:, 1]))
    corners = torch.stack([torch.stack((x[i], y[j]), dim=-1) for i in (0, 1) for j in (0, 1)], dim=1)
    placed = cut.place(from_edges(corners))
    first, last = placed.amin(dim=1), placed.amax(dim=1)
    seen = ((first < 1) & (last > -1)).all(dim=-1)
    return torch.cat((first, last), dim=-1)[seen].float()


def _padded(item: CrowdImages, instances: int, others: int) -> CrowdImages:
    """Pad an item to numbers of instances (points 0, confidence 0) and of other boxes (NaN)."""

    def pad(values: Tensor, number: int, value: float = 0.0) -> Tensor:
        return torch.cat((values, values.new_full((number - len(values), *values.shape[1:]), value)))

    return item._replace(
        points=pad(item.points, instances), confidence=pad(item.confidence, instances), area=pad(item.area, instances),
        others=pad(item.others, others, math.nan),
    )  # fmt: skip


class CrowdModule(KeypointDataModule):
    """Base of the datamodules of crowds: CrowdImages of ``size`` pixels, augmented in training.

    A subclass sets ``part_names`` and ``mirror``, and calls :meth:`serve` in ``setup`` with its crowds by stage
    ("train", "val", "test").
    """

    cropped = True
    sampler_type = EpochRows
    batch_type = CrowdImages
    in_order = False
    mirror: tuple[int, ...] = ()

    def __init__(
        self,
        size: int,
        augmentation: CrowdAugmentation | None,
        jitter_px: float,
        seed: int,
        root: str,
        batch_size: int,
        num_workers: int,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if size < 8 or jitter_px < 0:
            raise ConfigurationError(
                f"size is {size} and jitter_px is {jitter_px}.",
                remedy="Give a --data.size of at least 8 and a --data.jitter_px of at least 0.",
            )
        self.size = size
        self.augmentation = augmentation or CrowdAugmentation()
        self.jitter_px = jitter_px
        self.seed = seed

    def serve(self, crowds: dict[str, Sequence[Crowd]]) -> None:
        """Create the data sets of the stages; ``jitter_px`` applies to ``test`` only."""
        self.animals = max((len(crowd.people) for each in crowds.values() for crowd in each), default=1)
        for stage, each in crowds.items():
            change = self.augmentation if stage == "train" else None
            jitter = self.jitter_px if stage == "test" else 0.0
            self.datasets[stage] = CrowdDataset(each, self.size, change, jitter, self.seed)
        for stage in ("test", "val", "train"):
            if stage in crowds:
                self.datasets["predict"] = CrowdFrames(CrowdDataset(crowds[stage], self.size))
                return


class CrowdFrames(Dataset[Frames]):
    """Crowds as the frames of video 0, for prediction."""

    def __init__(self, crowds: CrowdDataset) -> None:
        self.crowds = crowds

    def __len__(self) -> int:
        return len(self.crowds)

    def __getitem__(self, i: int) -> Frames:
        return Frames(self.crowds[i].image, torch.tensor(0), torch.tensor(i))
