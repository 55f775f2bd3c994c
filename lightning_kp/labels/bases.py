"""Bases of the datamodules that serve labelled frames: which ones train and which validate is drawn from a seed."""

from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from lightning_kp.batches import LabelledImages, PairsAndLabels
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.pairs import FramePairsModule, Split
from lightning_kp.frames.preprocessing import NOTHING, Preprocessing
from lightning_kp.geometry import Fit
from lightning_kp.labels.animals import LabelledAnimals, joined
from lightning_kp.labels.checks import AT_MOST
from lightning_kp.labels.datasets import LabelledDataset, LabelledFrameList, PairsAndLabelsDataset
from lightning_kp.labels.frames import repeated_frames
from lightning_kp.labels.reading import read_animals

Labels = list[str] | str


def divide(number: int, val_fraction: float, train_frames: int | None, seed: int) -> tuple[Any, Any]:
    """Rows that train and rows that validate, both in order; at least one of each that is asked for."""
    drawn = np.random.default_rng(seed).permutation(number)
    held_out = max(1, round(number * val_fraction)) if val_fraction > 0 else 0
    train = drawn[held_out:]
    if len(train) < max(1, train_frames or 0):
        raise DataError(
            f"{number} labelled frame(s), {held_out} of them held out, leave {len(train)} to train on"
            + (f", not {train_frames}." if train_frames else "."),
            remedy="Label more frames, or hold out fewer (0 for no validation).",
        )
    return np.sort(train[:train_frames]), np.sort(drawn[:held_out])


def read_all(
    module: KeypointDataModule,
    labels: Labels,
    size: int,
    fit: Fit,
    box: list[int] | None,
    names: list[str] | None,
    rows: list[int] | None = None,
    *,
    at_most: int | None = None,
    preprocessing: Preprocessing = NOTHING,
) -> LabelledAnimals:
    """All label files of a datamodule as one set, every problem of every file told at once; of it the ``rows``."""
    paths = [labels] if isinstance(labels, str) else labels
    if not paths:
        raise ConfigurationError("No label file was given.", remedy="--data.labels=FILE")
    parts: list[LabelledAnimals] = []
    wrong: list[DataError] = []
    for path in paths:
        wanted = names or (list(parts[0].names) if parts else None)
        options: dict[str, Any] = {
            "names": wanted, "root": module.root, "at_most": at_most, "preprocessing": preprocessing,
        }  # fmt: skip
        try:
            parts.append(read_animals(module.path(path), size, fit, box, **options))
        except DataError as error:  # the other files' mistakes are wanted too
            wrong.append(error)
    if repeated := repeated_frames([part.sources for part in parts]):
        shown = "; ".join(repeated[:AT_MOST])
        wrong.append(DataError(f"{shown}.", remedy="Keep each frame in one of the label files."))
    if wrong:
        raise DataError(" ".join(error.problem for error in wrong), remedy=wrong[0].remedy)
    found = joined(parts)
    if rows is None:
        return found
    if not rows or min(rows) < 0 or max(rows) >= len(found.image):
        raise ConfigurationError(
            f"rows names frames {min(rows, default=0)} to {max(rows, default=0)} of {len(found.image)} labelled ones.",
            remedy=f"Number them from 0 to {len(found.image) - 1}.",
        )
    sizes = None if found.shown_px is None else found.shown_px[rows]
    return LabelledAnimals(found.image[rows], found.points[rows], found.names, shown_px=sizes)


class LabelledFramesModule(KeypointDataModule):
    """Label files -> LabelledImages; see :class:`lightning_kp.datamodules.LabelledFrames`."""

    batch_type = LabelledImages

    def __init__(
        self,
        labels: Labels,
        size: int = 128,
        fit: Fit = "pad",
        boxes: list[int] | None = None,
        names: list[str] | None = None,
        rows: list[int] | None = None,
        val_fraction: float = 0.1,
        train_frames: int | None = None,
        repeats: int = 1,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if not 0 <= val_fraction < 1 or repeats < 1:
            raise ConfigurationError(
                f"val_fraction is {val_fraction}, repeats {repeats}.",
                remedy="They must be in [0, 1) and at least 1.",
            )
        self.save_hyperparameters(logger=False)
        self.labels = labels
        self.size = size
        self.fit: Fit = fit
        self.boxes = boxes
        self.names = names
        self.rows = rows
        self.val_fraction = val_fraction
        self.train_frames = train_frames
        self.repeats = repeats
        self.seed = seed
        self.shown_px: tuple[float, float] = (size, size)
        self._animals: LabelledAnimals | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the label files, once, and divide their frames."""
        if self._animals is None:
            self._animals = read_all(
                self, self.labels, self.size, self.fit, self.boxes, self.names, self.rows
            )
        animals = self._animals
        self.part_names, self.animals = animals.names, animals.points.shape[1]
        self.shown_px = animals.size_px or self.shown_px
        train, val = divide(len(animals.image), self.val_fraction, self.train_frames, self.seed)
        self.datasets = {
            "train": LabelledDataset(animals, train, self.repeats),
            "predict": LabelledFrameList(animals.image),
        }
        if len(val):
            self.datasets["val"] = self.datasets["test"] = LabelledDataset(animals, val)

    @property
    def order_seed(self) -> int:
        return self.seed

    def train_dataloader(self) -> DataLoader[Any]:
        """A last, smaller batch is kept, as labels are few."""
        return self.loader("train", shuffle=True)


class PairsAndLabelsModule(FramePairsModule):
    """Videos and label files -> PairsAndLabels; see :class:`lightning_kp.datamodules.LabelledFramePairs`."""

    batch_type = PairsAndLabels  # type: ignore[assignment]  # its base need not promise its own

    def __init__(
        self,
        videos: list[str] | str,
        labels: Labels,
        names: list[str] | None = None,
        rows: list[int] | None = None,
        labelled_per_batch: int = 8,
        label_val_fraction: float = 0.1,
        train_frames: int | None = None,
        size: int = 128,
        fit: Fit = "pad",
        gap: int | str = "0.2s",
        pair_stride: int = 1,
        val_fraction: float = 0.1,
        split: Split = "auto",
        boxes: list[int] | None = None,
        preprocessing: Preprocessing | None = None,
        cache_dir: str | None = None,
        cache_gb: float = 8.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            videos, size=size, fit=fit, gap=gap, pair_stride=pair_stride, val_fraction=val_fraction, split=split,
            boxes=boxes, preprocessing=preprocessing, cache_dir=cache_dir, cache_gb=cache_gb, seed=seed, root=root,
            batch_size=batch_size,
            num_workers=num_workers,
        )  # fmt: skip
        if labelled_per_batch < 1 or not 0 <= label_val_fraction < 1:
            raise ConfigurationError(
                f"labelled_per_batch is {labelled_per_batch}, label_val_fraction {label_val_fraction}.",
                remedy="They must be at least 1 and in [0, 1).",
            )
        self.save_hyperparameters(ignore=["preprocessing"], logger=False)
        self.labels = labels
        self.names = names
        self.rows = rows
        self.labelled_per_batch = labelled_per_batch
        self.label_val_fraction = label_val_fraction
        self.train_frames = train_frames
        self._animals: LabelledAnimals | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the labels first: what is wrong with them is told before a long video is decoded."""
        self._read_labels()
        super().setup(stage)
        animals = self._read_labels()
        train, val = divide(len(animals.image), self.label_val_fraction, self.train_frames, self.seed)
        for name, rows in (("train", train), ("val", val), ("test", val)):
            if name in self.datasets:
                pairs: Any = self.datasets[name]
                self.datasets[name] = PairsAndLabelsDataset(
                    pairs, LabelledDataset(animals, rows), self.labelled_per_batch, self.seed
                )

    def prepare_data(self) -> None:
        """Check the labels, then build the cache."""
        self._read_labels()
        super().prepare_data()

    def _read_labels(self) -> LabelledAnimals:
        if self._animals is None:
            box: Any = self.boxes  # the signature admits no file
            self._animals = read_all(
                self, self.labels, self.size, self.fit, box, self.names, self.rows,
                preprocessing=self.preprocessing,
            )  # fmt: skip
            self.part_names, self.animals = self._animals.names, self._animals.points.shape[1]
        return self._animals
