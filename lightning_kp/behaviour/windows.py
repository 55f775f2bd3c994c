"""Windows of features around the frames of recordings with one behaviour label per frame."""

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
    """Tracks of one video with a behaviour label for each of N frames.

    ``labels`` (N,) are positions among the behaviours, or UNLABELLED.  ``features`` (N, F) are those of a data set
    that has its own; without them, features are computed from the tracks.
    """

    name: str
    tracks: Tracks
    labels: Labels
    features: Floats | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class WindowSettings:
    """Frames of a window: ``past`` and ``future`` frames around the middle one, each ``stride`` frames apart."""

    past: int = 100
    future: int = 100
    stride: int = 2

    def __post_init__(self) -> None:
        if self.past < 0 or self.future < 0 or self.stride < 1:
            raise ConfigurationError(
                f"A window cannot have {self.past} past and {self.future} future frames with a stride of "
                f"{self.stride}.",
                remedy="past and future have to be 0 or more, stride is 1 or more.",
            )

    @property
    def length(self) -> int:
        """Number of frames in a window."""
        return self.past + 1 + self.future


class WindowDataset(Dataset[LabelledWindows]):
    """Windows (T, F) of features around chosen frames of several recordings.

    Beyond the ends of a recording features are 0, as in CalMS21.  All features are stored in one tensor, with margins
    between recordings, so that a window is a slice.

    Args:
        tables: Features (N, F) float32 of each recording.
        labels: Labels (N,) of each recording.
        window: Which frames a window has.
        chosen: Frame numbers of each recording that become windows; by default the labelled ones.
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
        behaviour = [labels[number][frames] for number, frames in enumerate(index)]
        self.behaviour = torch.from_numpy(_join(behaviour))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> LabelledWindows:
        start = int(self.start[item])
        span = slice(start, start + (self.window.length - 1) * self.window.stride + 1, self.window.stride)
        return LabelledWindows(self.table[span], self.behaviour[item], self.video[item], self.index[item])


def _join(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


class BalancedShuffle(Sampler[int]):
    """Draws as many frames as there are, in an order that depends only on seed and epoch.

    With ``balance`` 0 each frame is drawn once, with 1 each behaviour equally often; in between, a behaviour of
    frequency f is drawn in proportion to f^(1 - balance).  Frames of rare behaviours are then drawn several times.

    Args:
        behaviour: Labels (N,), all 0 or above.
        seed: Seed of the order.
        balance: A number in [0, 1].
    """

    def __init__(self, behaviour: torch.Tensor, seed: int, balance: float) -> None:
        self.behaviour, self.seed, self.balance, self.epoch = behaviour.numpy(), seed, balance, 0
        if not 0 <= balance <= 1:
            raise ConfigurationError(f"balance is {balance}.", remedy="Give a number from 0 to 1.")

    def set_epoch(self, epoch: int) -> None:
        """Use the order of ``epoch`` from now on."""
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
            # All frames are drawn equally often, except in the last, incomplete round.
            chosen.append(np.resize(frames, number) if len(frames) else frames)
        return iter(rng.permutation(np.concatenate(chosen)).tolist())
