"""Base of the datamodules of still images."""

from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.batches import ClassifiedImages, Images, LabelledImages
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.loading import EpochRows
from lightning_kp.skeleton import mirror_from_names
from lightning_kp.stills.datasets import UNKNOWN, StillDataset, StillFrames, StillSet, still_set
from lightning_kp.stills.dividing import divide_stills, warn_of_classes
from lightning_kp.stills.listing import Still
from lightning_kp.stills.squares import SquareSettings
from lightning_kp.stills.store import read_squares


class StillsModule(KeypointDataModule):
    """Still images as Images, ClassifiedImages or LabelledImages, whichever the method reads.

    A subclass lists its images in :meth:`read`, and sets ``part_names`` there if they have labelled points.  Images
    without a class are left out of ClassifiedImages, unless no image has one: then all labels are -1.
    """

    batch_type = ClassifiedImages
    batch_types = (Images, ClassifiedImages, LabelledImages)
    sampler_type = EpochRows

    def __init__(
        self,
        settings: SquareSettings,
        val_fraction: float,
        flip: bool,
        hold_gb: float,
        cache_dir: str | None,
        seed: int,
        root: str,
        batch_size: int,
        num_workers: int,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        self.settings = settings
        self.size, self.fit, self.margin = settings.size, settings.fit, settings.margin
        self.val_fraction, self.flip, self.seed = val_fraction, flip, seed
        self.hold_gb, self.cache_dir = hold_gb, cache_dir
        self.class_names: tuple[str, ...] = ()
        self.stills: list[Still] = []
        """The images in use, in the order of the batches of prediction; known after ``setup``."""
        self.set: StillSet | None = None
        """Their squares, classes and points; known after ``setup``."""

    def read(self) -> list[Still]:
        """List the images with their classes, parts, boxes and points."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Read the images once, so that other processes find them in the cache."""
        self._read()

    def setup(self, stage: str | None = None) -> None:
        """Read the images, once, and divide them into training, validation and test."""
        found = self._read()
        self.class_names = found.class_names
        labels = [still.label for still in self.stills]
        parts = divide_stills(labels, [still.split for still in self.stills], self.val_fraction, self.seed)
        kind = self.served_type
        for name, rows in parts.items():
            used = _classified(rows, found) if kind is ClassifiedImages else rows
            flip = self.flip and name == "train"
            self.datasets[name] = StillDataset(found, used, kind, flip=flip, seed=self.seed)
        self.datasets["predict"] = StillFrames(found.squares)

    def _read(self) -> StillSet:
        if self.set is None:
            stills = self.read()
            folder = None if self.cache_dir is None else Path(self.cache_dir).expanduser()
            squares = read_squares(stills, self.settings, hold_gb=self.hold_gb, cache_dir=folder)
            self.use(stills, still_set(stills, squares, mirror=mirror_from_names(self.part_names)))
        assert self.set is not None
        return self.set

    def use(self, stills: list[Still], found: StillSet) -> None:
        """Keep what was read, and warn of classes that cannot teach."""
        self.stills = [stills[row] for row in found.squares.kept.tolist()]
        self.set = found
        warn_of_classes([still.label for still in self.stills])


def _classified(rows: Any, found: StillSet) -> Any:
    """The rows of images with a class; all rows if there are no classes."""
    known = found.label.numpy() != UNKNOWN
    return rows[known[rows]] if known.any() else np.asarray(rows)
