"""Bases of the datamodules that serve labelled frames; a seed decides which frames train and which validate."""

from typing import Any

from torch.utils.data import DataLoader

from lightning_kp.batches import LabelledImages, PairsAndLabels
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.pairs import FramePairsModule
from lightning_kp.frames.preprocessing import NO_PREPROCESSING, Preprocessing
from lightning_kp.geometry import Fit
from lightning_kp.labels.animals import LabelledAnimals, joined
from lightning_kp.labels.checks import MAX_PROBLEMS_SHOWN
from lightning_kp.labels.datasets import LabelledDataset, LabelledFrameList, PairsAndLabelsDataset
from lightning_kp.labels.frames import repeated_frames
from lightning_kp.labels.reading import read_animals
from lightning_kp.loading import Rows, train_and_held_out

Labels = list[str] | str


def divide(number: int, val_fraction: float, train_frames: int | None, seed: int) -> tuple[Rows, Rows]:
    """Rows (N,) of the labelled frames that train and those that are held out for validation, both sorted."""
    return train_and_held_out(
        number,
        val_fraction,
        seed,
        items="labelled frame(s)",
        remedy="Label more frames, or hold out fewer (0 for no validation).",
        train=train_frames,
    )


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
    preprocessing: Preprocessing = NO_PREPROCESSING,
) -> LabelledAnimals:
    """Read all label files of a datamodule as one set, or only its ``rows``.

    Args:
        module: Relative paths are taken from its root.
        labels: One label file or several.
        size: Side of the squares, in pixels.
        fit: What happens to images that are not square.
        box: Crop (left, top, right, bottom) in pixels, before resizing.
        names: Points to use, in this order; by default those of the first file.
        rows: Labelled frames to use, numbered from 0 over all files; by default all.
        at_most: Number to which the frames of each file are thinned.
        preprocessing: Shadow removal and registration.

    Raises:
        DataError: Files have problems; all problems of all files are listed.
        ConfigurationError: No file was given, or ``rows`` has a number that no frame has.
    """
    paths = [labels] if isinstance(labels, str) else labels
    if not paths:
        raise ConfigurationError("No label file was given.", remedy="Add --data.labels=FILE.")
    parts: list[LabelledAnimals] = []
    wrong: list[DataError] = []
    for path in paths:
        wanted = names or (list(parts[0].names) if parts else None)
        options: dict[str, Any] = {
            "names": wanted, "root": module.root, "at_most": at_most, "preprocessing": preprocessing,
            "predicted": True,
        }  # fmt: skip
        try:
            parts.append(read_animals(module.path(path), size, fit, box, **options))
        except DataError as error:  # problems of the other files are reported, too
            wrong.append(error)
    if repeated := repeated_frames([part.sources for part in parts]):
        shown = "; ".join(repeated[:MAX_PROBLEMS_SHOWN])
        wrong.append(DataError(f"{shown}.", remedy="Keep each labelled frame in one file only."))
    if wrong:
        raise DataError(" ".join(error.problem for error in wrong), remedy=wrong[0].remedy)
    found = joined(parts)
    if rows is None:
        return found
    if not rows or min(rows) < 0 or max(rows) >= len(found.image):
        raise ConfigurationError(
            f"rows has numbers from {min(rows)} to {max(rows)}, but there are only {len(found.image)} labelled frames."
            if rows
            else "rows is empty.",
            remedy=f"Give --data.rows numbers from 0 to {len(found.image) - 1}, or leave it out to use all frames.",
        )
    return found.only(rows)


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
                f"val_fraction is {val_fraction} and repeats is {repeats}.",
                remedy="Give a --data.val_fraction from 0 to below 1 and --data.repeats of at least 1.",
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
        """Read the label files, once, and divide their frames into training and validation."""
        if self._animals is None:
            self._animals = read_all(
                self, self.labels, self.size, self.fit, self.boxes, self.names, self.rows
            )
        animals = self._animals
        self.part_names, self.animals = animals.names, animals.points.shape[1]
        self.shown_px = animals.size_px or self.shown_px
        train, val = divide(len(animals.image), self.val_fraction, self.train_frames, self.seed)
        self.trained_on = animals.marks_of(train.tolist())
        if stage in (None, "fit"):
            animals.warn_of_never_labelled(train.tolist())
        self.datasets = {
            "train": LabelledDataset(animals, train, len(train) * self.repeats),
            "predict": LabelledFrameList(animals.image),
        }
        if len(val):
            self.datasets["val"] = self.datasets["test"] = LabelledDataset(animals, val)

    @property
    def order_seed(self) -> int:
        return self.seed

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training batches; the last, smaller one is kept, as labels are few."""
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
        boxes: list[int] | None = None,
        **pairs: Any,
    ) -> None:
        super().__init__(videos, boxes=boxes, **pairs)
        if labelled_per_batch < 1 or not 0 <= label_val_fraction < 1:
            raise ConfigurationError(
                f"labelled_per_batch is {labelled_per_batch} and label_val_fraction is {label_val_fraction}.",
                remedy="Set --data.labelled_per_batch=8 (at least 1) and --data.label_val_fraction=0.1 (0 to below 1).",
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
        """Read the labels before the videos, so that their problems are reported before a long video is decoded."""
        self._read_labels()
        super().setup(stage)
        animals = self._read_labels()
        train, val = divide(len(animals.image), self.label_val_fraction, self.train_frames, self.seed)
        self.trained_on = animals.marks_of(train.tolist())
        if stage in (None, "fit"):
            animals.warn_of_never_labelled(train.tolist())
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
