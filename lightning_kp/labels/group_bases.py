"""Bases of the datamodules that serve labelled groups of animals; see datamodules/labelled_groups.py."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import LabelledAndUnlabelled, LabelledImages
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.geometry import Fit
from lightning_kp.labels.animals import LabelledAnimals
from lightning_kp.labels.bases import Labels, read_all
from lightning_kp.labels.cut_and_paste import cut_and_paste
from lightning_kp.labels.datasets import (
    GroupDataset,
    GroupsAndUnlabelledDataset,
    LabelledFrameList,
    Rows,
    divide_groups,
    read_unlabelled,
)
from lightning_kp.loading import EpochRows

AT_MOST_SHOWN = 4  # frames named in a message (ours)


class LabelledGroupsModule(KeypointDataModule):
    """Label files -> LabelledImages with a row for each animal.

    Args:
        labels: A label file (.slp, csv, COCO or Label Studio json, .npz, or .npz#PART), or several of them; relative
            paths are taken from ``root``.
        test_labels: Label files of the frames that test; by default ``test_frames`` are drawn from ``labels``.
        names: Points to use, in this order; by default all, in the file's order.
        at_most: Read so many frames of each file only, evenly thinned.
        test_frames: Frames of ``labels`` that test, where there are no ``test_labels``.
        val_frames: Further frames of ``labels`` that validate.
        train_frames: Train on so many of the others, drawn by ``seed``; by default all.
        pasted: Train on so many images instead that whole animals were laid on (001: 47; 0: on the frames themselves).
        pasted_animals: Animals laid on each (001: 10).
        batches: Batches in an epoch.
        size: Side of the square that the network sees, in pixels.
        fit: What becomes of images that are not square: ``pad``, ``crop`` or ``squash``.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels.
        seed: Fixes what tests, what validates, what trains and the order of training.
        root: Folder that relative paths start from; images are looked for there too.
        batch_size: Frames in a batch (001: 3).
        num_workers: Processes that load; 0 is fast enough, since images are kept in memory.
    """

    batch_type = LabelledImages
    in_order = False
    sampler_type = EpochRows  # an epoch is ``batches`` long, and the next goes on to other frames

    def __init__(
        self,
        labels: Labels,
        test_labels: Labels | None = None,
        names: list[str] | None = None,
        at_most: int | None = None,
        test_frames: int = 0,
        val_frames: int = 0,
        train_frames: int | None = None,
        pasted: int = 0,
        pasted_animals: int = 10,
        batches: int = 50,
        size: int = 256,
        fit: Fit = "pad",
        boxes: list[int] | None = None,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 3,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if size < 8 or (boxes is not None and len(boxes) != 4):
            raise ConfigurationError(
                f"size is {size}, boxes {boxes}.",
                remedy="--data.size=256 (at least 8) and --data.boxes=[LEFT,TOP,RIGHT,BOTTOM]",
            )
        if pasted_animals < 1:
            raise ConfigurationError(
                f"pasted_animals is {pasted_animals}, and at least 1 has to be laid on an image.",
                remedy="--data.pasted_animals=10, or --data.pasted=0 to train on the frames themselves",
            )
        if at_most is not None and at_most < 1:
            raise ConfigurationError(
                f"at_most is {at_most}.", remedy="--data.at_most=100, or without it all frames of a file"
            )
        if (
            min(test_frames, val_frames, pasted) < 0
            or batches < 1
            or (train_frames or 1) < 1
            or train_frames == 0
        ):
            raise ConfigurationError(
                f"test_frames {test_frames}, val_frames {val_frames}, train_frames {train_frames}, pasted {pasted} and "
                f"batches {batches} leave nothing to train on.",
                remedy="Give numbers that are not negative, and at least one frame and one batch.",
            )
        self.save_hyperparameters(logger=False)
        self.labels, self.test_labels = labels, test_labels
        self.names, self.at_most = names, at_most
        self.test_frames, self.val_frames, self.train_frames = test_frames, val_frames, train_frames
        self.pasted, self.pasted_animals = pasted, pasted_animals
        self.batches = batches
        self.size = size
        self.fit: Fit = fit
        self.boxes = boxes
        self.seed = seed
        self.shown_px: tuple[float, float] = (size, size)
        self._read: tuple[LabelledAnimals, LabelledAnimals | None] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the label files, once, and divide their frames."""
        animals, testing = self._animals()
        train, val, test, left = self._divided(len(animals.image))
        trained, rows = animals, train
        if self.pasted:
            inside = None if animals.inside is None else animals.inside[train]
            some = LabelledAnimals(animals.image[train], animals.points[train], animals.names, inside=inside)
            trained = cut_and_paste(some, self.pasted, self.pasted_animals, seed=self.seed)
            rows = np.arange(self.pasted)
        self.part_names = animals.names
        self.animals = max(each.points.shape[1] for each in (animals, trained, testing) if each is not None)
        length = self.batches * self.batch_size
        self.datasets = {
            "train": self._training(GroupDataset(trained, rows, length), animals.image[left]),
            "predict": LabelledFrameList(animals.image),
        }
        whole = None if testing is None else GroupDataset(testing, np.arange(len(testing.image)))
        tested = GroupDataset(animals, test) if whole is None else whole
        if len(tested):
            self.datasets["test"] = self.datasets["val"] = self._watching(tested)
        if len(val):
            self.datasets["val"] = self._watching(GroupDataset(animals, val))

    def _training(self, labelled: GroupDataset, left: Tensor) -> Dataset[Any]:
        """What trains; ``left`` are images whose labels are not used."""
        return labelled

    def _watching(self, labelled: GroupDataset) -> Dataset[Any]:
        """What validates and tests."""
        return labelled

    def _divided(self, number: int) -> tuple[Rows, Rows, Rows, Rows]:
        test = 0 if self.test_labels else self.test_frames
        wanted = test + self.val_frames + (self.train_frames or 1)
        if number < wanted:
            raise DataError(
                f"{number} labelled frames are fewer than {wanted}: {test} to test, {self.val_frames} to validate, "
                f"{self.train_frames or 'at least one'} to train.",
                remedy="Label more frames, or ask for fewer (--data.train_frames).",
            )
        return divide_groups(number, test, self.val_frames, self.train_frames, self.seed)

    def _animals(self) -> tuple[LabelledAnimals, LabelledAnimals | None]:
        if self._read is None:
            animals = self._of(self.labels, self.names)
            testing = self._of(self.test_labels, list(animals.names)) if self.test_labels else None
            if testing is not None:
                _refuse_shared(animals, testing)
            self._read = animals, testing
            # Distances are measured in pixels of the original.
            self.shown_px = (testing or animals).size_px or self.shown_px
        return self._read

    def _of(self, labels: Labels, names: list[str] | None) -> LabelledAnimals:
        return read_all(self, labels, self.size, self.fit, self.boxes, names, at_most=self.at_most)

    @property
    def order_seed(self) -> int:
        return self.seed


class GroupsAndUnlabelledModule(LabelledGroupsModule):
    """Label files, and images without labels -> LabelledAndUnlabelled."""

    batch_type = LabelledAndUnlabelled  # type: ignore[assignment]  # its base need not promise its own

    def __init__(
        self,
        labels: Labels,
        unlabelled: list[str] | None = None,
        unlabelled_frames: int = 200,
        unlabelled_per_batch: int = 3,
        **groups: Any,
    ) -> None:
        super().__init__(labels, **groups)
        if unlabelled_frames < 1 or unlabelled_per_batch < 0:
            raise ConfigurationError(
                f"unlabelled_frames is {unlabelled_frames}, unlabelled_per_batch {unlabelled_per_batch}.",
                remedy="--data.unlabelled_frames=200 (at least 1) --data.unlabelled_per_batch=3 (0: none)",
            )
        self.save_hyperparameters(logger=False)
        self.unlabelled = unlabelled or []
        self.unlabelled_frames = unlabelled_frames
        self.unlabelled_per_batch = unlabelled_per_batch
        self._without: Tensor | None = None

    def _training(self, labelled: GroupDataset, left: Tensor) -> Dataset[Any]:
        if self._without is None:
            self._without = read_unlabelled(
                self.unlabelled, Path(self.root), self.size, self.fit, self.boxes, self.unlabelled_frames
            )
        images = torch.cat((self._without, left))
        if not len(images) and self.unlabelled_per_batch:
            raise DataError(
                "There are no unlabelled frames: none were named, and all labelled ones are trained on.",
                remedy="Name some with --data.unlabelled=[FOLDER], or train DirectPose on LabelledGroups.",
            )
        return GroupsAndUnlabelledDataset(labelled, images, self.unlabelled_per_batch, self.seed)

    def _watching(self, labelled: GroupDataset) -> Dataset[Any]:
        none = torch.zeros(0, 3, self.size, self.size, dtype=torch.uint8)
        return GroupsAndUnlabelledDataset(labelled, none, 0, self.seed)


def _refuse_shared(labels: LabelledAnimals, testing: LabelledAnimals) -> None:
    """Raise DataError for images that train and test: the test would say how well they were learnt by heart."""
    known = set(labels.sources) - {""}
    if shared := [source for source in testing.sources if source in known]:
        shown = ", ".join(shared[:AT_MOST_SHOWN]) + (" and others" if len(shared) > AT_MOST_SHOWN else "")
        raise DataError(
            f"{len(shared)} frame(s) are both in labels and in test_labels: {shown}.",
            remedy="Keep each in one of them; or leave --data.test_labels out and say --data.test_frames=10, which "
            "holds frames of the labels back.",
        )
