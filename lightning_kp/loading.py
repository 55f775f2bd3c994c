"""What loaders serve: who trains and who is held out, the order of training, and resuming within an epoch."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from lightning_kp.errors import DataError

T_co = TypeVar("T_co", covariant=True)
Rows = NDArray[np.int64]


def drawn_parts(number: int, sizes: Sequence[int], seed: int) -> list[Rows]:
    """Divide the rows 0 to ``number`` - 1 at random into parts of ``sizes`` and the rest; each part is sorted.

    A part does not depend on the sizes of the parts after it.  Where rows run out, later parts are smaller or empty.

    >>> [part.tolist() for part in drawn_parts(5, (2, 2), seed=0)]
    [[2, 4], [0, 3], [1]]
    """
    order = np.random.default_rng(seed).permutation(number)
    return [np.sort(part) for part in np.split(order, np.minimum(np.cumsum(sizes), number))]


def train_and_held_out(
    number: int, fraction: float, seed: int, *, items: str, remedy: str, train: int | None = None
) -> tuple[Rows, Rows]:
    """Divide rows into those that train and those that are held out, both sorted.

    Args:
        number: How many rows there are.
        fraction: Share of the rows that is held out, at least one row; 0 holds out none.
        seed: Decides which rows are held out.
        items: What the rows are, for the message.
        remedy: What the user can do where too few rows are left, for the message.
        train: Train on this many of the rows that are not held out; by default on all of them.

    Raises:
        DataError: No row is left to train on, or fewer than ``train``.
    """
    held_out_count = max(1, round(number * fraction)) if fraction > 0 else 0
    left = max(0, number - held_out_count)
    if left < max(1, train or 0):
        raise DataError(
            f"{number} {items}, {held_out_count} of them held out, leave {left or 'none'} to train on"
            + (f", not {train}." if train else "."),
            remedy=remedy,
        )
    held_out, training, _ = drawn_parts(number, (held_out_count, number if train is None else train), seed)
    return training, held_out


class EpochShuffle(Sampler[int]):
    """Yields the rows below ``length`` in an order that depends on seed and epoch only.

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
    """Yields epoch * length + row, so that a data set can change an item from epoch to epoch."""

    def __iter__(self) -> Iterator[int]:
        yield from (self.epoch * self.length + row for row in super().__iter__())


class EachOnce(DistributedSampler[int]):
    """Yields every row below ``length`` once, over all processes together.

    Lightning's own sampler repeats some rows where the processes do not divide their number, and metrics would count
    those twice.  Processes may get different numbers of batches.  That is safe where nothing is exchanged per batch,
    and so not in training.
    """

    def __init__(self, length: int, processes: int, rank: int) -> None:
        super().__init__(range(length), processes, rank, shuffle=False)  # type: ignore[arg-type]  # has a length
        self.num_samples = len(self._own_rows)

    @property
    def _own_rows(self) -> range:
        return range(self.rank, len(self.dataset), self.num_replicas)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        return iter(self._own_rows)


class WholeBatches(Dataset[T_co]):
    """A data set whose ``__getitems__`` returns whole batches, so that a loader has nothing to collate."""


def keep_batch(batch: Any) -> Any:
    """Return a batch of :class:`WholeBatches` unchanged: the ``collate_fn`` of its loader."""
    return batch


class ResumableLoader(DataLoader[Any]):
    """A loader that continues within the epoch where a checkpoint was written; Lightning saves its state."""

    _served = 0
    _resumed: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # Lightning needs no more than an iterator
        # A generator: its first batch is requested after Lightning has set the epoch of the sampler.
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
        """Return the epoch and how many of its batches were served."""
        return {"epoch": self._epoch, "served": self._served}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Skip the batches that were served, provided that the next epoch is the interrupted one."""
        self._resumed = int(state["epoch"]), int(state["served"])
