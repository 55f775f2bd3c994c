"""Base class of the datamodules whose recordings have a behaviour label for each frame."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lightning_kp.batches import LabelledWindows
from lightning_kp.behaviour.bouts import UNLABELLED
from lightning_kp.behaviour.features import feature_table
from lightning_kp.behaviour.windows import BalancedShuffle, Recording, WindowDataset, WindowSettings
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import ResumableLoader
from lightning_kp.tracks.table import Floats

Split = Literal["train", "test"]


class BehaviourModule(KeypointDataModule):
    """Serves windows of features around labelled frames, as LabelledWindows.

    A subclass implements :meth:`read`, which also sets ``behaviours``.

    Args:
        features: Any of pose, confidence, covariance, speed, acceleration, distances, angles, side by side in this
            order; see :mod:`lightning_kp.behaviour.features`.
        past: Steps of a window before the frame that is classified.
        future: Steps of a window after that frame.
        stride: Length of a step, in frames.
        balance: How often rare behaviours are drawn, from 0 (as they occur) to 1 (all behaviours equally often).
        val_fraction: Share of each training recording, at its end, that is held out for validation, in [0, 1).
        longest_gap: Longest gap of a keypoint that is interpolated, in frames.
        min_confidence: Keypoints of a lower confidence count as missing.
        root: Folder that other paths are relative to.
        batch_size: Windows per batch.
        num_workers: Processes that load batches.

    Attributes:
        behaviours: Names of the behaviours, in the order of the labels; known after ``setup``.
        background: The behaviour that stands for "none of interest", or None.
        num_features: Number of features of a frame; known after ``setup``.
        recordings: Recordings by split, of which ``test`` is scored; known after ``setup``.
    """

    batch_type = LabelledWindows

    def __init__(
        self,
        features: Sequence[str] = ("pose",),
        past: int = 100,
        future: int = 100,
        stride: int = 2,
        balance: float = 0.0,
        val_fraction: float = 0.0,
        longest_gap: int = 10,
        min_confidence: float = 0.0,
        root: str = ".",
        batch_size: int = 128,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if not 0 <= val_fraction < 1:
            raise ConfigurationError(
                f"val_fraction is {val_fraction}.", remedy="Give a number from 0 to below 1."
            )
        self.features = tuple(features)
        self.past, self.future, self.stride = past, future, stride
        self.window = WindowSettings(past, future, stride)
        self.balance, self.val_fraction = balance, val_fraction
        self.longest_gap, self.min_confidence = longest_gap, min_confidence
        self.behaviours: tuple[str, ...] = ()
        self.background: str | None = None
        self.num_features = 0
        self.recordings: dict[Split, list[Recording]] = {}

    @abstractmethod
    def read(self, split: Split) -> list[Recording]:
        """Read the recordings of a split.  ``train`` is read first, and also sets ``behaviours``."""

    @property
    def window_length(self) -> int:
        """Number of frames in a window."""
        return self.window.length

    def setup(self, stage: str | None = None) -> None:
        """Read all recordings once.

        Raises DataError if no training frame is labelled, or if recordings differ in their number of features.
        """
        if self.recordings:
            return
        recordings: dict[Split, list[Recording]] = {"train": self.read("train"), "test": self.read("test")}
        if not any((recording.labels != UNLABELLED).any() for recording in recordings["train"]):
            raise DataError(
                f"{type(self).__name__} has no labelled frame to train on.",
                remedy="Check that the label files belong to the training recordings.",
            )
        tables = {split: [self.table(recording) for recording in each] for split, each in recordings.items()}
        widths = {table.shape[1] for each in tables.values() for table in each}
        if len(widths) > 1:
            raise DataError(
                f"Recordings have different numbers of features: {', '.join(map(str, sorted(widths)))}.",
                remedy="Use recordings of the same animals and keypoints.",
            )
        self.num_features = widths.pop()
        parts = [self._parts(recording) for recording in recordings["train"]]
        labels = [recording.labels for recording in recordings["train"]]
        frames_of = {"train": [part[0] for part in parts], "val": [part[1] for part in parts]}
        for name, chosen in frames_of.items():
            if any(len(frames) for frames in chosen):
                self.datasets[name] = WindowDataset(tables["train"], labels, self.window, chosen)
        if recordings["test"]:
            scored = [recording.labels for recording in recordings["test"]]
            self.datasets["test"] = WindowDataset(tables["test"], scored, self.window)
            all_frames = [np.arange(len(recording)) for recording in recordings["test"]]
            self.datasets["predict"] = WindowDataset(tables["test"], scored, self.window, all_frames)
        self.recordings = recordings

    def fingerprint(self) -> str:
        """Digest of the contents of all recordings, which tells results of changed tracks or labels apart."""
        digest = hashlib.sha256()
        splits: tuple[Split, ...] = ("train", "test")
        for split in splits:
            for each in self.recordings.get(split) or self.read(split):
                digest.update(os.fsencode(f"{split} {each.name} {self.behaviours}"))
                parts = (
                    each.tracks.points_px,
                    each.tracks.confidence,
                    each.tracks.covariance_px,
                    each.labels,
                )
                for part in (*parts, each.features):
                    digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def table(self, recording: Recording) -> Floats:
        """Features (N, F) float32 of a recording."""
        if recording.features is not None:
            return recording.features
        return feature_table(
            recording.tracks, self.features,
            longest_gap=self.longest_gap, min_confidence=self.min_confidence,
        )  # fmt: skip

    def _parts(self, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labelled frames for training, and those at the end for validation, whose windows do not overlap."""
        frames = np.flatnonzero(recording.labels != UNLABELLED)
        if not self.val_fraction:
            return frames, frames[:0]
        first = round(len(recording) * (1 - self.val_fraction))
        reach = (self.past + self.future) * self.stride
        return frames[frames < max(first - reach, 0)], frames[frames >= first]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches in an order that depends on seed and epoch; ``balance`` draws rare behaviours more often."""
        dataset = self.datasets.get("train")
        if not isinstance(dataset, WindowDataset):
            return self.loader("train")  # raises an error that explains what is missing
        return ResumableLoader(
            dataset,
            sampler=BalancedShuffle(dataset.behaviour, self.order_seed, self.balance),
            batch_size=min(self.batch_size, len(dataset)),
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
