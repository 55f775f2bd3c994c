"""Pairs of frames (t, t + gap) from cached videos, and the datamodule that serves them.

Pairs never cross videos.  A seed fixes which frames validate and, with the epoch, the order of
training, so that a resumed run sees what the undisturbed one would have seen.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.batches import FramePairs, Frames
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.cache import CachedVideo, cache_videos
from lightning_kp.frames.preprocessing import Preprocessing
from lightning_kp.frames.stream import channels_last
from lightning_kp.frames.thinning import parse_gap
from lightning_kp.geometry import Fit
from lightning_kp.loading import WholeBatches
from lightning_kp.motion.boxes import FOLLOW
from lightning_kp.video.paths import find_videos
from lightning_kp.video.reader import VideoWarning

Split = Literal["auto", "video", "time"]
T = TypeVar("T")
VIDEOS_TO_SPLIT_BY = 3
"""From this many videos on, whole videos validate; with fewer, blocks of time do."""


class PairRows(NamedTuple):
    """Pairs as rows of caches: video ``video[i]``, rows ``now[i]`` and ``later[i]``; arrays (N,)."""

    video: NDArray[np.int64]
    now: NDArray[np.int64]
    later: NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence["PairRows"]) -> "PairRows":
        """All pairs of several videos, one after another."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def where(self, chosen: NDArray[np.bool_]) -> "PairRows":
        """The pairs that are chosen by a mask (N,)."""
        return PairRows(*(column[chosen] for column in self))


def pair_rows(video: CachedVideo, number: int, gap: int, stride: int = 1) -> PairRows:
    """Every ``stride``-th pair of a video whose two frames are both cached, ``gap`` displayed frames apart."""
    later = np.searchsorted(video.index, video.index + gap)
    now = np.flatnonzero(np.isin(video.index + gap, video.index, assume_unique=True))[::stride]
    return PairRows(np.full(len(now), number), now, later[now])


def held_out_block(n_frames: int, gap: int, fraction: float, rng: np.random.Generator) -> tuple[int, int]:
    """First and last-plus-one frame of a video's validation block, at a place drawn from ``rng``.

    The block lies in one of the equal slots that the video divides into; it holds at least 2 gaps.
    """
    length = min(n_frames, max(round(n_frames * fraction), 2 * gap))
    start = length * int(rng.integers(max(1, n_frames // length)))
    return start, start + length


class PairDataset(WholeBatches[FramePairs]):
    """Pairs of cached frames; fetches whole batches: a list of numbers -> FramePairs, uint8 channels-last."""

    def __init__(self, videos: Sequence[CachedVideo], rows: PairRows) -> None:
        self.videos = videos
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows.now)

    def __getitem__(self, i: int) -> FramePairs:
        """One pair, without the batch axis."""
        return FramePairs(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> FramePairs:
        """A batch of pairs, each read by one copy out of the memory map."""
        size = self.videos[0].size
        images = np.empty((2, len(indices), size, size, 3), dtype=np.uint8)
        video, now, later = (column[list(indices)] for column in self.rows)
        for i, (v, t, u) in enumerate(zip(video.tolist(), now.tolist(), later.tolist(), strict=True)):
            images[0, i] = self.videos[v].frames[t]
            images[1, i] = self.videos[v].futures[u]
        index = [int(self.videos[v].index[t]) for v, t in zip(video, now, strict=True)]
        return FramePairs(
            channels_last(images[0]), channels_last(images[1]), torch.from_numpy(video), torch.tensor(index)
        )


class FrameDataset(WholeBatches[Frames]):
    """Every cached frame of every video, in order; batches are Frames, uint8 channels-last."""

    def __init__(self, videos: Sequence[CachedVideo]) -> None:
        self.videos = videos
        self._video = np.concatenate([np.full(len(video.index), i) for i, video in enumerate(videos)])
        self._row = np.concatenate([np.arange(len(video.index)) for video in videos])

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, i: int) -> Frames:
        """One frame, without the batch axis."""
        return Frames(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> Frames:
        """A batch of frames."""
        places = [(self.videos[v], r) for v, r in zip(self._video[indices], self._row[indices], strict=True)]
        images = np.stack([video.frames[row] for video, row in places])
        index = torch.tensor([int(video.index[row]) for video, row in places])
        return Frames(channels_last(images), torch.from_numpy(self._video[indices]), index)


class FramePairsModule(KeypointDataModule):
    """Videos -> frame cache -> FramePairs; the base of every datamodule of frame pairs.

    A subclass may override :meth:`video_paths`, to make the videos or to know where they are.
    """

    batch_type = FramePairs

    def __init__(
        self,
        videos: list[str] | str,
        size: int = 128,
        fit: Fit = "pad",
        gap: int | str = "0.2s",
        pair_stride: int = 1,
        val_fraction: float = 0.1,
        split: Split = "auto",
        boxes: list[int] | str | None = None,
        preprocessing: Preprocessing | None = None,
        cache_dir: str | None = None,
        cache_gb: float = 8.0,
        seed: int = 0,
        root: str = ".",
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if not 0 <= val_fraction < 1 or pair_stride < 1 or cache_gb <= 0:
            raise ConfigurationError(
                f"val_fraction is {val_fraction}, pair_stride {pair_stride}, cache_gb {cache_gb}.",
                remedy="They must be in [0, 1), at least 1, and above 0.",
            )
        parse_gap(gap, fps=1.0)
        # A checkpoint has to say how frames were cut and resized, or nobody can track with it.
        # A dataclass in it would make the checkpoint unreadable to safe loading; the attribute is noted as a dict.
        self.save_hyperparameters(ignore=["preprocessing"], logger=False)
        self.preprocessing = Preprocessing.of(preprocessing)
        self.videos = videos
        self.size = size
        self.fit: Fit = fit
        self.gap = gap
        self.pair_stride = pair_stride
        self.val_fraction = val_fraction
        self.split = split
        self.boxes = str(self.path(boxes)) if isinstance(boxes, str) and boxes != FOLLOW else boxes
        self.cache_dir = cache_dir
        self.cache_gb = cache_gb
        self.seed = seed
        self.cached: list[CachedVideo] = []

    def video_paths(self) -> list[Path]:
        """The videos, in the order in which batches number them."""
        return find_videos(self.videos, self.root)

    def prepare_data(self) -> None:
        """Build the cache, in one process only."""
        self._cache(progress=True)

    def setup(self, stage: str | None = None) -> None:
        """Open the cache and divide its pairs."""
        self.cached = self._cache(progress=False)
        pairs, gaps = self._pairs()
        train, val = self._divide(pairs, gaps)
        self.datasets = {"train": PairDataset(self.cached, train), "predict": FrameDataset(self.cached)}
        if self.val_fraction > 0:
            self.datasets["val"] = self.datasets["test"] = PairDataset(self.cached, val)

    def _cache(self, progress: bool) -> list[CachedVideo]:
        return cache_videos(
            self.video_paths(),
            size=self.size,
            fit=self.fit,
            gap=self.gap,
            boxes=self.boxes,
            preprocessing=self.preprocessing,
            cache_dir=self.path(self.cache_dir) if self.cache_dir is not None else None,
            cache_gb=self.cache_gb,
            progress=progress,
        )

    def _pairs(self) -> tuple[list[PairRows], list[int]]:
        gaps = [parse_gap(self.gap, video.fps) for video in self.cached]
        pairs = [pair_rows(video, i, gaps[i], self.pair_stride) for i, video in enumerate(self.cached)]
        short = [
            f"{video.path} has {video.n_frames} frame(s), {len(video.index)} of them cached; a pair needs two, "
            f"{gap} apart (gap={self.gap} at {video.fps:.4g} fps)."
            for video, gap, rows in zip(self.cached, gaps, pairs, strict=True)
            if len(rows.now) == 0
        ]
        if len(short) == len(self.cached):
            raise DataError(short[0], remedy="Set a shorter gap, or name longer videos.")
        for problem in short:
            warnings.warn(f"{problem} It is left out.", VideoWarning, stacklevel=2)
        return pairs, gaps

    def _divide(self, pairs: list[PairRows], gaps: list[int]) -> tuple[PairRows, PairRows]:
        """Training and validation pairs, without a common frame."""
        rng = np.random.default_rng(self.seed)
        everything = PairRows.join(pairs)
        if self.val_fraction == 0:
            return everything, everything
        usable = [i for i, rows in enumerate(pairs) if len(rows.now)]
        # Crops of several animals come from one video: what validates is drawn once for all of them.
        crops: dict[Path, list[int]] = {}
        for i in usable:
            crops.setdefault(self.cached[i].path, []).append(i)
        if self.split == "video" or (self.split == "auto" and len(crops) >= VIDEOS_TO_SPLIT_BY):
            held_out = max(1, min(len(crops) - 1, round(len(crops) * self.val_fraction)))
            chosen = rng.permutation(len(crops))[:held_out]
            is_val = np.isin(everything.video, [i for n in chosen for i in list(crops.values())[n]])
            train, val = everything.where(~is_val), everything.where(is_val)
        else:
            blocks = {
                path: held_out_block(self.cached[each[0]].n_frames, gaps[each[0]], self.val_fraction, rng)
                for path, each in crops.items()
            }
            parts = [
                self._divide_in_time(pairs[i], self.cached[i], gaps[i], blocks[self.cached[i].path])
                for i in usable
            ]
            train, val = (PairRows.join(side) for side in zip(*parts, strict=True))
        self._refuse_empty(train, val, gaps)
        return train, val

    def _divide_in_time(
        self, rows: PairRows, video: CachedVideo, gap: int, block: tuple[int, int]
    ) -> tuple[PairRows, PairRows]:
        """One block of time validates; training keeps a gap away from it on both sides."""
        start, end = block
        now, later = video.index[rows.now], video.index[rows.later]
        is_val = (now >= start) & (later < end)
        is_train = (later < start - gap) | (now >= end + gap)
        return rows.where(is_train), rows.where(is_val)

    def _refuse_empty(self, train: PairRows, val: PairRows, gaps: list[int]) -> None:
        if len(train.now) and len(val.now):
            return
        frames = sum(video.n_frames for video in self.cached)
        remedy = "Set a shorter gap, val_fraction=0 (no validation), or name more or longer videos."
        if self.split == "video" and not len(train.now):  # the only video validates, however long it is
            remedy = "Set --data.split=time, which validates on a part of each video, or name more videos."
        raise DataError(
            f"{len(self.cached)} video(s) with {frames} frames and a gap of {max(gaps)} leave {len(train.now)} "
            f"pairs to train and {len(val.now)} to validate (val_fraction={self.val_fraction}).",
            remedy=remedy,
        )

    @property
    def order_seed(self) -> int:
        return self.seed
