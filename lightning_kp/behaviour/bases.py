"""Base of every datamodule whose recordings come with a behaviour for each frame."""

import hashlib
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
    """Recordings -> LabelledWindows; a subclass reads the recordings of a split and names ``behaviours``.

    After ``setup``: ``behaviours`` in the order of the labels, ``background`` (one of them, or None),
    ``num_features``, ``window_length``, and ``recordings`` by split, of which ``test`` is scored.
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
            raise ConfigurationError(f"val_fraction is {val_fraction}.", remedy="Give 0 up to below 1.")
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
        """The recordings of a split; reading ``train``, which comes first, also sets ``behaviours``."""

    @property
    def window_length(self) -> int:
        """Frames in a window."""
        return self.window.length

    def setup(self, stage: str | None = None) -> None:
        """Read everything once.  Raises DataError for a split without labelled frames."""
        if self.recordings:
            return
        found: dict[Split, list[Recording]] = {"train": self.read("train"), "test": self.read("test")}
        if not any((recording.labels != UNLABELLED).any() for recording in found["train"]):
            raise DataError(
                f"{type(self).__name__} has no labelled frame to train on.",
                remedy="Check that the label files belong to the training recordings.",
            )
        tables = {split: [self.table(recording) for recording in each] for split, each in found.items()}
        widths = {table.shape[1] for each in tables.values() for table in each}
        if len(widths) > 1:
            raise DataError(
                f"Recordings yield different numbers of features: {sorted(widths)}.",
                remedy="All need the same animals and keypoints.",
            )
        self.num_features = widths.pop()
        parts = [self._parts(recording) for recording in found["train"]]
        labels = [recording.labels for recording in found["train"]]
        choose = {"train": [part[0] for part in parts], "val": [part[1] for part in parts]}
        for name, chosen in choose.items():
            if any(len(frames) for frames in chosen):
                self.datasets[name] = WindowDataset(tables["train"], labels, self.window, chosen)
        if found["test"]:
            scored = [recording.labels for recording in found["test"]]
            self.datasets["test"] = WindowDataset(tables["test"], scored, self.window)
            everything = [np.arange(len(recording)) for recording in found["test"]]
            self.datasets["predict"] = WindowDataset(tables["test"], scored, self.window, everything)
        self.recordings = found

    def fingerprint(self) -> str:
        """A digest of what the recordings hold, so that figures of other tracks or labels are not taken for theirs."""
        digest = hashlib.sha256()
        splits: tuple[Split, ...] = ("train", "test")
        for split in splits:
            for each in self.recordings.get(split) or self.read(split):
                digest.update(f"{split} {each.name} {self.behaviours}".encode())
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
        """Features (N, F) of a recording."""
        if recording.features is not None:
            return recording.features
        return feature_table(
            recording.tracks, self.features,
            longest_gap=self.longest_gap, min_confidence=self.min_confidence,
        )  # fmt: skip

    def _parts(self, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labelled frames that train, and those at the end that validate; windows of the two do not meet."""
        frames = np.flatnonzero(recording.labels != UNLABELLED)
        if not self.val_fraction:
            return frames, frames[:0]
        first = round(len(recording) * (1 - self.val_fraction))
        reach = (self.past + self.future) * self.stride
        return frames[frames < max(first - reach, 0)], frames[frames >= first]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches in an order that seed and epoch decide, rare behaviours drawn more often with ``balance``."""
        dataset = self.datasets.get("train")
        if not isinstance(dataset, WindowDataset):
            return self.loader("train")  # which says what is missing
        return ResumableLoader(
            dataset,
            sampler=BalancedShuffle(dataset.behaviour, self.order_seed, self.balance),
            batch_size=min(self.batch_size, len(dataset)),
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
