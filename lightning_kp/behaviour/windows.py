"""Recordings with one behaviour per frame -> windows of features for training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from lightning_kp.batches import LabelledWindows
from lightning_kp.behaviour.bouts import UNLABELLED, Labels
from lightning_kp.errors import ConfigurationError
from lightning_kp.tracks.table import Floats, Tracks


@dataclass(frozen=True, eq=False)
class Recording:
    """Keypoints of one video and ``labels`` (N,): positions in the behaviours, UNLABELLED where unknown.

    ``features`` (N, F), where a data set brings its own; otherwise they are made of the tracks.
    """

    name: str
    tracks: Tracks
    labels: Labels
    features: Floats | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class WindowSettings:
    """``past`` and ``future`` frames beside the middle one, each ``stride`` frames from the next."""

    past: int = 100
    future: int = 100
    stride: int = 2

    def __post_init__(self) -> None:
        if self.past < 0 or self.future < 0 or self.stride < 1:
            raise ConfigurationError(
                f"A window of {self.past} past and {self.future} future frames, every {self.stride}th.",
                remedy="past and future are 0 or more, stride is 1 or more.",
            )

    @property
    def length(self) -> int:
        """Frames in a window."""
        return self.past + 1 + self.future


class WindowDataset(Dataset[LabelledWindows]):
    """Windows around chosen frames of several recordings; beyond their ends features are 0 (CalMS21's rule).

    ``tables`` (N, F) per recording, ``chosen`` the frames of each to be served (default: the labelled ones).
    All features lie in one tensor with the margins between them, so that a window is a slice.
    """

    def __init__(
        self,
        tables: Sequence[Floats],
        labels: Sequence[Labels],
        window: WindowSettings,
        chosen: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        self.window = window
        before, after = window.past * window.stride, window.future * window.stride
        margin = max(before, after)
        width = tables[0].shape[1] if tables else 0
        rows = margin + sum(len(table) + margin for table in tables)
        self.table = torch.zeros(rows, width)
        video, index, start = [], [], []
        begin = margin
        for number, table in enumerate(tables):
            self.table[begin : begin + len(table)] = torch.from_numpy(table)
            frames = np.flatnonzero(labels[number] != UNLABELLED) if chosen is None else chosen[number]
            video.append(np.full(len(frames), number))
            index.append(frames)
            start.append(begin + frames - before)
            begin += len(table) + margin
        self.video, self.index, self.start = (torch.from_numpy(_join(part)) for part in (video, index, start))
        of_frame = [labels[number][frames] for number, frames in enumerate(index)]
        self.behaviour = torch.from_numpy(_join(of_frame))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> LabelledWindows:
        start = int(self.start[item])
        span = slice(start, start + (self.window.length - 1) * self.window.stride + 1, self.window.stride)
        return LabelledWindows(self.table[span], self.behaviour[item], self.video[item], self.index[item])


def _join(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


class BalancedShuffle(Sampler[int]):
    """As many draws as there are frames, in an order that depends on seed and epoch only.

    ``balance`` 0 draws every frame once; 1 draws every behaviour equally often; in between a behaviour of
    frequency f is drawn in proportion to f^(1 - balance).  Frames of rare behaviours come several times.
    """

    def __init__(self, behaviour: torch.Tensor, seed: int, balance: float) -> None:
        self.behaviour, self.seed, self.balance, self.epoch = behaviour.numpy(), seed, balance, 0
        if not 0 <= balance <= 1:
            raise ConfigurationError(f"balance is {balance}.", remedy="Give a number from 0 to 1.")

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.behaviour)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self))
        if self.balance == 0:
            return iter(order.tolist())
        shares = np.bincount(self.behaviour) ** (1 - self.balance) * (np.bincount(self.behaviour) > 0)
        draws = np.floor(np.cumsum(shares) / shares.sum() * len(self) + 0.5).astype(int)
        chosen = []
        for label, number in enumerate(np.diff(draws, prepend=0)):
            frames = order[self.behaviour[order] == label]
            # Every frame comes equally often, but for the last, partial round.
            chosen.append(np.resize(frames, number) if len(frames) else frames)
        return iter(rng.permutation(np.concatenate(chosen)).tolist())
