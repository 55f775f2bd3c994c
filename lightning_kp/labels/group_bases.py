"""Bases of the datamodules of labelled groups of animals; see datamodules/labelled_groups.py."""

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
    GroupsAndUnlabelledDataset,
    LabelledDataset,
    LabelledFrameList,
    divide_groups,
    read_unlabelled,
)
from lightning_kp.loading import EpochRows, Rows

MAX_FRAMES_NAMED = 4  # in one message (ours)


class LabelledGroupsModule(KeypointDataModule):
    """Label files -> LabelledImages with a row for each animal.

    Args:
        labels: One or several label files (.slp, csv, COCO or Label Studio json, .npz, or .npz#PART); relative paths
            start from ``root``.
        test_labels: Label files of the test frames; by default, ``test_frames`` are drawn from ``labels``.
        names: Names of the points to use, in this order; by default all, in the file's order.
        at_most: Read at most this many frames of each file, evenly thinned; by default all.
        test_frames: Number of frames of ``labels`` to test on, if there are no ``test_labels``.
        val_frames: Number of further frames of ``labels`` to validate on.
        train_frames: Number of the remaining frames to train on, drawn by ``seed``; by default all.
        pasted: Train on this many images made by pasting whole animals onto frames (001: 47); 0: train on the frames.
        pasted_animals: Number of animals pasted onto each of these images (001: 10).
        batches: Batches in an epoch.
        size: Side of the square image that the network sees, in pixels.
        fit: How an image that is not square is made square: ``pad``, ``crop`` or ``squash``.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels.
        seed: Decides which frames test, validate and train, and the order of training.
        root: Folder where relative paths start; images are looked for there too.
        batch_size: Frames in a batch (001: 3).
        num_workers: Processes that load data; 0 is fast enough, since images are kept in memory.
    """

    batch_type = LabelledImages
    in_order = False
    sampler_type = EpochRows  # an epoch has ``batches`` batches; the next one continues with other frames

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
                f"size is {size} and boxes is {boxes}.",
                remedy="Give --data.size=256 (at least 8) and --data.boxes=[LEFT,TOP,RIGHT,BOTTOM] (or no boxes).",
            )
        if pasted_animals < 1:
            raise ConfigurationError(
                f"pasted_animals is {pasted_animals}; at least 1 animal must be pasted onto an image.",
                remedy="Set --data.pasted_animals=10, or --data.pasted=0 to train on the frames themselves.",
            )
        if at_most is not None and at_most < 1:
            raise ConfigurationError(
                f"at_most is {at_most}; at least 1 frame must be read.",
                remedy="Set --data.at_most=100, or leave it out to read all frames of a file.",
            )
        if (
            min(test_frames, val_frames, pasted) < 0
            or batches < 1
            or (train_frames or 1) < 1
            or train_frames == 0
        ):
            raise ConfigurationError(
                f"test_frames is {test_frames}, val_frames {val_frames}, train_frames {train_frames}, pasted {pasted} "
                f"and batches {batches}.",
                remedy="None may be negative; --data.train_frames and --data.batches must be at least 1.",
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
        """Read the label files, once, and divide their frames into training, validation and test."""
        animals, testing = self._animals()
        train, val, test, left = self._divided(len(animals.image))
        self.trained_on = animals.marks_of(train.tolist())
        if stage in (None, "fit"):
            animals.warn_of_never_labelled(train.tolist(), in_order=False)
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
            "train": self._for_training(_in_view_only(trained, rows, length), animals.image[left]),
            "predict": LabelledFrameList(animals.image),
        }
        tested = (
            _in_view_only(animals, test)
            if testing is None
            else _in_view_only(testing, np.arange(len(testing.image)))
        )
        if len(tested):
            self.datasets["test"] = self.datasets["val"] = self._for_evaluation(tested)
        if len(val):
            self.datasets["val"] = self._for_evaluation(_in_view_only(animals, val))

    def _for_training(self, labelled: LabelledDataset, unused: Tensor) -> Dataset[Any]:
        """The data set for training; ``unused`` (M, 3, S, S) are images whose labels are not used."""
        return labelled

    def _for_evaluation(self, labelled: LabelledDataset) -> Dataset[Any]:
        """The data set for validation or test."""
        return labelled

    def _divided(self, number: int) -> tuple[Rows, Rows, Rows, Rows]:
        test = 0 if self.test_labels else self.test_frames
        needed = test + self.val_frames + (self.train_frames or 1)
        if number < needed:
            raise DataError(
                f"There are {number} labelled frames, but {needed} are needed: {test} to test, {self.val_frames} to "
                f"validate, {self.train_frames or 'at least 1'} to train.",
                remedy="Label more frames, or lower --data.test_frames, --data.val_frames or --data.train_frames.",
            )
        return divide_groups(number, test, self.val_frames, self.train_frames, self.seed)

    def _animals(self) -> tuple[LabelledAnimals, LabelledAnimals | None]:
        if self._read is None:
            animals = self._read_files(self.labels, self.names)
            testing = self._read_files(self.test_labels, list(animals.names)) if self.test_labels else None
            if testing is not None:
                _refuse_shared(animals, testing)
            self._read = animals, testing
            # Distances are measured in pixels of the original image.
            self.shown_px = (testing or animals).size_px or self.shown_px
        return self._read

    def _read_files(self, labels: Labels, names: list[str] | None) -> LabelledAnimals:
        return read_all(self, labels, self.size, self.fit, self.boxes, names, at_most=self.at_most)

    @property
    def order_seed(self) -> int:
        return self.seed


class GroupsAndUnlabelledModule(LabelledGroupsModule):
    """Label files and unlabelled images -> LabelledAndUnlabelled."""

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
                f"unlabelled_frames is {unlabelled_frames} and unlabelled_per_batch is {unlabelled_per_batch}.",
                remedy="Give --data.unlabelled_frames of at least 1, such as 200, and --data.unlabelled_per_batch of "
                "at least 0, such as 3.",
            )
        self.save_hyperparameters(logger=False)
        self.unlabelled = unlabelled or []
        self.unlabelled_frames = unlabelled_frames
        self.unlabelled_per_batch = unlabelled_per_batch
        self._without: Tensor | None = None

    def _for_training(self, labelled: LabelledDataset, unused: Tensor) -> Dataset[Any]:
        if self._without is None:
            self._without = read_unlabelled(
                self.unlabelled, Path(self.root), self.size, self.fit, self.boxes, self.unlabelled_frames
            )
        images = torch.cat((self._without, unused))
        if not len(images) and self.unlabelled_per_batch:
            raise DataError(
                "There are no unlabelled frames: none were given, and all labelled frames are used for training.",
                remedy="Give some with --data.unlabelled=[FOLDER], or train DirectPose on LabelledGroups.",
            )
        return GroupsAndUnlabelledDataset(labelled, images, self.unlabelled_per_batch, self.seed)

    def _for_evaluation(self, labelled: LabelledDataset) -> Dataset[Any]:
        no_images = torch.zeros(0, 3, self.size, self.size, dtype=torch.uint8)
        return GroupsAndUnlabelledDataset(labelled, no_images, 0, self.seed)


def _in_view_only(animals: LabelledAnimals, rows: Rows, length: int | None = None) -> LabelledDataset:
    """Labelled frames without the points that a crop leaves out of view."""
    return LabelledDataset(animals, rows, length, only_in_view=True)


def _refuse_shared(labels: LabelledAnimals, testing: LabelledAnimals) -> None:
    """Raise DataError for frames that both train and test: the test would measure how well they were memorised."""
    known = set(labels.sources) - {""}
    if shared := [source for source in testing.sources if source in known]:
        shown = ", ".join(shared[:MAX_FRAMES_NAMED]) + (
            " and others" if len(shared) > MAX_FRAMES_NAMED else ""
        )
        raise DataError(
            f"{len(shared)} frame(s) are in both labels and test_labels: {shown}.",
            remedy="Keep each frame in one of them; or leave --data.test_labels out and hold frames out of the labels "
            "with --data.test_frames=10.",
        )
