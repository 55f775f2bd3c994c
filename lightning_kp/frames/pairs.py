"""Pairs of frames (t, t + gap) from cached videos, and the datamodule that serves them.

Both frames of a pair are from the same video.  The seed determines which frames are held out for validation and,
together with the epoch, the order of training, so that a resumed run sees what the uninterrupted one would have seen.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from lightning_kp.batches import FramePairs, Frames
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.cache import CachedVideo, cache_videos
from lightning_kp.frames.pair_rows import PairRows, held_out_block, pair_rows
from lightning_kp.frames.preprocessing import Preprocessing
from lightning_kp.frames.stream import channels_last
from lightning_kp.frames.thinning import parse_gap
from lightning_kp.geometry import Fit
from lightning_kp.loading import WholeBatches
from lightning_kp.motion.boxes import followed_animals
from lightning_kp.video.paths import find_videos
from lightning_kp.video.reader import VideoWarning

Split = Literal["auto", "video", "time"]
MIN_VIDEOS_TO_SPLIT = 3
"""With at least this many videos, whole videos are held out for validation; with fewer, a block of each video."""


class PairDataset(WholeBatches[FramePairs]):
    """Pairs of cached frames, fetched in whole batches of FramePairs: (B, 3, S, S), uint8, channels-last."""

    def __init__(self, videos: Sequence[CachedVideo], rows: PairRows) -> None:
        self.videos = videos
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows.now)

    def __getitem__(self, i: int) -> FramePairs:
        """Return one pair: images (3, S, S), uint8, without the batch axis."""
        return FramePairs(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> FramePairs:
        """Return a batch of pairs: images (B, 3, S, S), uint8, each copied once from the memory map."""
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
    """Every cached frame of every video, in order, in whole batches of Frames: (B, 3, S, S), uint8, channels-last."""

    def __init__(self, videos: Sequence[CachedVideo]) -> None:
        self.videos = videos
        self._video = np.concatenate([np.full(len(video.index), i) for i, video in enumerate(videos)])
        self._row = np.concatenate([np.arange(len(video.index)) for video in videos])

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, i: int) -> Frames:
        """Return one frame: an image (3, S, S), uint8, without the batch axis."""
        return Frames(*(field[0] for field in self.__getitems__([i])))

    def __getitems__(self, indices: Sequence[int]) -> Frames:
        """Return a batch of frames: images (B, 3, S, S), uint8."""
        rows = [(self.videos[v], r) for v, r in zip(self._video[indices], self._row[indices], strict=True)]
        images = np.stack([video.frames[row] for video, row in rows])
        index = torch.tensor([int(video.index[row]) for video, row in rows])
        return Frames(channels_last(images), torch.from_numpy(self._video[indices]), index)


class FramePairsModule(KeypointDataModule):
    """Base of the datamodules of frame pairs: decodes videos into the frame cache and serves FramePairs.

    A subclass may override :meth:`video_paths` to generate the videos, or to look for them elsewhere.

    Args:
        videos: Video files, globs in quotes, folders of videos, or folders of images; relative paths start from
            ``root``.
        size: Side of the square image that the network sees, in pixels.
        fit: How a frame that is not square is made square: ``pad`` shows all of it between black bars, ``crop`` cuts
            the longer side in the middle, ``squash`` changes the aspect ratio (as the reference code of B-KinD does).
        gap: Distance of the two frames of a pair: a time (``0.2s``) or a number of frames (``6``).  The animal should
            move visibly within it.
        pair_stride: Use every n-th pair of each video.
        val_fraction: Share of the pairs held out for validation; 0 for no validation.
        split: ``video`` holds out whole videos, ``time`` one block of each video, ``auto`` whole videos if there are
            at least 3.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels; ``follow``, a square that follows the
            one animal of each video (also of videos tracked later), or ``follow:3``, a square for each of three; or a
            csv file with the columns ``frame,left,top,right,bottom`` (and ``video``, if it has the boxes of several).
            Where boxes move, both frames of a pair are cropped with the box of the first.
        preprocessing: Shadow removal (``shadow: hsv``, ``ssim`` or ``filter``) and registration of a moving camera
            (``registration: translation`` or ``similarity``); see
            :class:`lightning_kp.frames.preprocessing.Preprocessing`; ``kp inspect --preview`` draws what each does.
            Saved in the checkpoint and applied to all videos tracked later.
        cache_dir: Folder of the frame cache; by default the user's cache folder, or ``KP_CACHE_DIR``, which always
            holds following squares and backgrounds (half a megabyte for each video).
        cache_gb: Largest size of the cache in GB.  If not all frames fit, pairs are evenly thinned.
        seed: Decides which pairs validate, and the order of training.
        root: Folder where relative paths start.
        batch_size: Pairs in a batch.
        num_workers: Processes that load data; 0 is fast enough, since pairs are read from the cache.
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
                f"val_fraction={val_fraction}, pair_stride={pair_stride}, cache_gb={cache_gb} are out of range.",
                remedy="val_fraction must be in [0, 1), pair_stride at least 1, and cache_gb above 0.",
            )
        if split not in get_args(Split):
            raise ConfigurationError(
                f"There is no split '{split}'.", remedy=f"Choose one of: {', '.join(get_args(Split))}."
            )
        parse_gap(gap, fps=1.0)  # refuses a wrong gap before any video is decoded
        # A checkpoint must contain how frames were cropped and resized, or tracking with it is impossible.  A dataclass
        # in it could not be loaded safely, so `preprocessing` is stored as a dict of its own.
        self.save_hyperparameters(ignore=["preprocessing"], logger=False)
        self.preprocessing = Preprocessing.from_settings(preprocessing)
        self.videos = videos
        self.size = size
        self.fit: Fit = fit
        self.gap = gap
        self.pair_stride = pair_stride
        self.val_fraction = val_fraction
        self.split = split
        is_file = isinstance(boxes, str) and not followed_animals(boxes)
        self.boxes = str(self.path(str(boxes))) if is_file else boxes
        self.cache_dir = cache_dir
        self.cache_gb = cache_gb
        self.seed = seed
        self.cached: list[CachedVideo] = []

    def video_paths(self) -> list[Path]:
        """Return the videos, in the order in which batches number them."""
        return find_videos(self.videos, self.root)

    def prepare_data(self) -> None:
        """Build the cache; Lightning calls this in one process only."""
        self._cache(progress=True)

    def setup(self, stage: str | None = None) -> None:
        """Open the cache and divide its pairs into training and validation."""
        self.cached = self._cache(progress=False)
        pairs, gaps = self._pairs()
        train, val = self.split_pairs(pairs, gaps)
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
        """Pairs and gap in frames of each video.  Raises DataError if no video has a pair."""
        gaps = [parse_gap(self.gap, video.fps) for video in self.cached]
        pairs = [pair_rows(video, i, gaps[i], self.pair_stride) for i, video in enumerate(self.cached)]
        problems = [
            f"{video.path} has {video.n_frames} frame(s), {len(video.index)} of them cached, but a pair needs two that "
            f"are {gap} frame(s) apart (gap={self.gap} at {video.fps:.4g} fps)."
            for video, gap, rows in zip(self.cached, gaps, pairs, strict=True)
            if len(rows.now) == 0
        ]
        if len(problems) == len(self.cached):
            raise DataError(problems[0], remedy="Set a shorter gap (--data.gap), or give longer videos.")
        for problem in problems:
            warnings.warn(f"{problem} This video is skipped.", VideoWarning, stacklevel=2)
        return pairs, gaps

    def split_pairs(self, pairs: list[PairRows], gaps: list[int]) -> tuple[PairRows, PairRows]:
        """Divide pairs into training and validation pairs that have no frame in common."""
        rng = np.random.default_rng(self.seed)
        everything = PairRows.join(pairs)
        if self.val_fraction == 0:
            return everything, everything
        usable = [i for i, rows in enumerate(pairs) if len(rows.now)]
        # Crops of several animals come from one video, so what is held out is drawn once for all of them.
        crops: dict[Path, list[int]] = {}
        for i in usable:
            crops.setdefault(self.cached[i].path, []).append(i)
        if self.split == "video" or (self.split == "auto" and len(crops) >= MIN_VIDEOS_TO_SPLIT):
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
                self._split_in_time(pairs[i], self.cached[i], gaps[i], blocks[self.cached[i].path])
                for i in usable
            ]
            train, val = (PairRows.join(side) for side in zip(*parts, strict=True))
        self._refuse_empty(train, val, gaps)
        return train, val

    def _split_in_time(
        self, rows: PairRows, video: CachedVideo, gap: int, block: tuple[int, int]
    ) -> tuple[PairRows, PairRows]:
        """Hold out one block of frames; training pairs keep a distance of one gap to it on both sides."""
        start, end = block
        now, later = video.index[rows.now], video.index[rows.later]
        is_val = (now >= start) & (later < end)
        is_train = (later < start - gap) | (now >= end + gap)
        return rows.where(is_train), rows.where(is_val)

    def _refuse_empty(self, train: PairRows, val: PairRows, gaps: list[int]) -> None:
        if len(train.now) and len(val.now):
            return
        frames = sum(video.n_frames for video in self.cached)
        remedy = "Set a shorter gap or val_fraction=0 (no validation), or give more or longer videos."
        if self.split == "video" and not len(train.now):  # the only video is held out, however long it is
            remedy = "Set --data.split=time, which holds out a part of each video, or give more videos."
        raise DataError(
            f"{len(self.cached)} video(s) with {frames} frames and a gap of {max(gaps)} frames leave {len(train.now)} "
            f"pairs for training and {len(val.now)} for validation (val_fraction={self.val_fraction}).",
            remedy=remedy,
        )

    @property
    def order_seed(self) -> int:
        """Seed of the order of training."""
        return self.seed
