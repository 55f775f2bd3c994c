"""The order of training, and loaders that go on where a checkpoint stopped."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

T_co = TypeVar("T_co", covariant=True)


class EpochShuffle(Sampler[int]):
    """All numbers below ``length`` in an order that depends on seed and epoch only.

    Lightning calls ``set_epoch``, also through the sampler that it wraps around this one when
    several processes train: they draw the same order, and each takes its share.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        yield from np.random.default_rng((self.seed, self.epoch)).permutation(self.length).tolist()


class EpochRows(EpochShuffle):
    """The same order; a row's number tells its epoch too, so that its view can be new in each: epoch * length + row."""

    def __iter__(self) -> Iterator[int]:
        yield from (self.epoch * self.length + row for row in super().__iter__())


class EachOnce(DistributedSampler[int]):
    """Every number below ``length`` once, over all processes together.

    Lightning's own repeats some where the processes do not divide them, and figures count those twice.  Processes may
    get unlike numbers of batches, which is safe where nothing is exchanged per batch: not while training.
    """

    def __init__(self, length: int, processes: int, rank: int) -> None:
        super().__init__(range(length), processes, rank, shuffle=False)  # type: ignore[arg-type]  # has a length
        self.num_samples = len(self._own)

    @property
    def _own(self) -> range:
        return range(self.rank, len(self.dataset), self.num_replicas)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        return iter(self._own)


class WholeBatches(Dataset[T_co]):
    """A data set whose ``__getitems__`` gives whole batches, so that a loader has nothing left to collate."""


def as_it_is(batch: Any) -> Any:
    """What a loader does to the batches of :class:`WholeBatches`."""
    return batch


class ResumableLoader(DataLoader[Any]):
    """A loader that goes on within the epoch where a checkpoint was written; Lightning saves its state."""

    _served = 0
    _resumed: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # Lightning needs no more than an iterator
        # A generator: the first batch is asked for after Lightning has told the sampler its epoch.
        epoch, served = self._resumed or (-1, 0)
        self._resumed = None
        self._served = served if epoch == self._epoch else 0
        batches = super().__iter__()
        for _ in range(self._served):
            next(batches)
        for batch in batches:
            self._served += 1
            yield batch

    @property
    def _epoch(self) -> int:
        # Under DDP the sampler is Lightning's wrapper, which has the attribute too.
        return int(getattr(self.sampler, "epoch", 0))

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the batches of it that were served."""
        return {"epoch": self._epoch, "served": self._served}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """If the next epoch is the one that was broken off, begin after the batches that were served."""
        self._resumed = int(state["epoch"]), int(state["served"])
