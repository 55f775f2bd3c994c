"""The frame cache: videos decoded and resized once, into memory-mapped files with fast random access.

The key of a cache is a digest of the file's fingerprint and of every setting that affects its pixels.  A cache has two
files: ``NAME-KEY.frames`` (the squares as uint8, then times and regions as float64) and ``NAME-KEY.json``.  Both are
written under temporary names; the json file is renamed last and makes the cache valid.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_kp.files import default_cache_dir, file_fingerprint, writing_cache
from lightning_kp.frames.cache_folder import make_room
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import (
    NO_PREPROCESSING,
    Preprocessing,
    learn_preprocessor,
)
from lightning_kp.frames.square_writer import SquareWriter
from lightning_kp.frames.stream import DECODED_AHEAD, in_background
from lightning_kp.frames.thinning import Thinning, parse_gap
from lightning_kp.geometry import Fit, Region
from lightning_kp.motion.boxes import Boxes, boxes_per_animal
from lightning_kp.video.image_folder import ImageFolderReader
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoReader, VideoWarning

CACHE_VERSION = 1
"""Part of the key, to be raised whenever the same settings would give other bytes."""
IMAGE_READING = "depth 1"
"""Part of the key of images, whose 16-bit and float pixels version 0.1 cached black."""


@dataclass
class CachedVideo:
    """The N cached frames of one video as squares of S = ``size`` pixels; row i is displayed frame ``index[i]``.

    Attributes:
        path: The video.
        name: Its name without suffix.
        frame_size: (height, width) of the displayed frames in pixels.
        fps: Average frame rate in frames per second.
        n_frames: Number of displayed frames of the video, cached or not.
        problems: What the reader noted about the video.
        size: Side S of the squares in pixels.
        layers: 2 if each frame is stored a second time with the box of the frame one gap earlier, else 1.
        index: Number of the displayed frame of each row, (N,), increasing.
        times_s: Presentation time of each row in seconds, (N,).
        regions: (left, top, right, bottom) in pixels of the frame that each row of ``frames`` shows: (N, 4), or (1, 4)
            if all rows show the same; see :class:`lightning_kp.geometry.Region`.
        file: The memory-mapped file.
        seen: Whether the animal that the squares follow is seen in each row, (N,); true for all other views.
    """

    path: Path
    name: str
    frame_size: tuple[int, int]
    fps: float
    n_frames: int
    problems: tuple[str, ...]
    size: int
    layers: int
    index: NDArray[np.int64]
    times_s: NDArray[np.float64]
    regions: NDArray[np.float64]
    file: Path
    seen: NDArray[np.bool_]
    _map: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @property
    def frames(self) -> NDArray[np.uint8]:
        """The squares (N, S, S, 3), RGB, uint8, read from disk when indexed."""
        return self._records()[:, 0]

    @property
    def futures(self) -> NDArray[np.uint8]:
        """The squares (N, S, S, 3) cropped with the box of the frame one gap earlier.

        For a pair of displayed frames t and t + gap, the row of t in ``frames`` and the row of t + gap in ``futures``
        show the same region.  If boxes do not differ from frame to frame, this equals ``frames``.
        """
        return self._records()[:, -1]

    def region(self, i: int) -> Region:
        """Return the region of the original frame that row ``i`` of ``frames`` shows."""
        return Region(*self.regions[i if len(self.regions) > 1 else 0].tolist())

    def _records(self) -> NDArray[np.uint8]:
        if self._map is None:
            shape = (len(self.index), self.layers, self.size, self.size, 3)
            self._map = np.memmap(self.file, dtype=np.uint8, mode="r", shape=shape)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        """Drop the memory map: a pickled map would be all its bytes, and a worker process opens the file itself."""
        return self.__dict__ | {"_map": None}


def cache_videos(
    paths: Sequence[str | Path],
    *,
    size: int,
    fit: Fit = "pad",
    gap: int | str | None = None,
    boxes: Boxes = None,
    preprocessing: Preprocessing = NO_PREPROCESSING,
    cache_dir: str | Path | None = None,
    cache_gb: float = 8.0,
    progress: bool = True,
) -> list[CachedVideo]:
    """Decode, resize and preprocess each video, unless that was done before, and open the caches.

    Args:
        paths: Video files or folders of images.
        size: Side of the squares in pixels.
        fit: How a frame becomes a square, see :func:`lightning_kp.geometry.place`.
        gap: Distance between the two frames of a pair, in frames or as a time, see :func:`parse_gap`.
        boxes: What to crop first.  With boxes of several animals the result has all videos cropped for the first
            animal, then all for the second, and so on.
        preprocessing: Shadow removal and registration.
        cache_dir: Folder of the caches; by default KP_CACHE_DIR or the user's cache folder.
        cache_gb: Upper limit for all frames in gigabytes.  If they need more, pairs of frames are kept, evenly spread
            over every video, and a VideoWarning states their share.
        progress: Show a progress bar.

    Raises VideoError for a video that cannot be decoded, DataError if the disk is full or boxes cannot be read, and
    ConfigurationError for a setting out of range.
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    readers = [open_video(path) for path in paths]
    jobs = [
        _Job.plan(reader, size, fit, gap, each, folder, preprocessing)
        for each in boxes_per_animal(boxes)
        for reader in readers
    ]
    budget = cache_gb * 1e9
    needed = sum(job.bytes_expected for job in jobs)
    if needed > budget:
        for job in jobs:
            job.thinning = Thinning.to_share(budget / needed, job.gap)
        share = sum(job.bytes_expected for job in jobs) / needed
        warnings.warn(
            f"Caching all frames needs {needed / 1e9:.2f} GB, but cache_gb is {cache_gb:g}: {share:.1%} of the frames "
            "are kept, evenly spread. Raise cache_gb to use more.",
            VideoWarning,
            stacklevel=2,
        )
    missing = [job for job in jobs if not job.is_cached()]
    if missing:
        make_room(folder, sum(job.bytes_expected for job in missing), budget, [job.path("") for job in jobs])
        for job in missing:
            # A container may announce fewer frames than it has; the limit applies nevertheless.
            _build(job, budget * job.bytes_expected / sum(other.bytes_expected for other in jobs), progress)
    return [job.open() for job in jobs]


@dataclass
class _Job:
    """One video with everything that affects its cache."""

    reader: VideoReader
    placements: Placements
    size: int
    gap: int | None
    folder: Path
    content_fingerprint: str
    n_expected: int
    preprocessing: Preprocessing = NO_PREPROCESSING
    thinning: Thinning = field(default_factory=Thinning)

    @classmethod
    def plan(
        cls,
        reader: VideoReader,
        size: int,
        fit: Fit,
        gap: int | str | None,
        boxes: Boxes,
        folder: Path,
        preprocessing: Preprocessing,
    ) -> "_Job":
        info = reader.info
        placements = Placements(info, size, fit, boxes)
        expected = info.n_frames or round((info.duration_s or 0) * info.fps) or 1
        frames_apart = None if gap is None else parse_gap(gap, info.fps)
        fingerprint = file_fingerprint(info.path, with_time=True)
        return cls(reader, placements, size, frames_apart, folder, fingerprint, expected, preprocessing)

    @property
    def layers(self) -> int:
        return 1 if self.placements.is_fixed or self.gap is None else 2

    @property
    def bytes_expected(self) -> float:
        return self.n_expected * self.thinning.share * self.layers * self.size * self.size * 3

    @property
    def key(self) -> str:
        # The values and their order are part of the key: if they change, users' caches are built again.
        settings = [
            CACHE_VERSION,
            self.content_fingerprint,
            self.placements.fingerprint,
            self.layers > 1 and self.gap,
            *self.thinning,
            *([self.preprocessing.fingerprint] if self.preprocessing.is_on else []),
            *([IMAGE_READING] if isinstance(self.reader, ImageFolderReader) else []),
        ]
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:20]

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.reader.info.name[:40]}-{self.key}{suffix}"

    def is_cached(self) -> bool:
        try:
            meta = json.loads(self.path(".json").read_text("utf-8"))
            return self.path(".frames").stat().st_size == int(meta["bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def open(self) -> CachedVideo:
        meta = json.loads(self.path(".json").read_text("utf-8"))
        os.utime(self.path(".json"))
        for problem in meta["problems"]:
            self.reader.note(problem)
        info = self.reader.info
        rows, pixels = meta["rows"], meta["rows"] * self.layers * self.size * self.size * 3
        numbers = np.fromfile(self.path(".frames"), dtype=np.float64, offset=pixels)
        kept = np.arange(meta["n_frames"])
        index = kept[np.isin(kept % self.thinning.period, self.thinning.residues)][:rows]
        return CachedVideo(
            path=info.path, name=info.name, frame_size=info.frame_size, fps=info.fps,
            n_frames=meta["n_frames"], problems=info.problems, size=self.size, layers=self.layers,
            index=index, times_s=numbers[:rows], regions=numbers[rows:].reshape(-1, 4), file=self.path(".frames"),
            seen=np.array([self.placements.seen(number) for number in index.tolist()], dtype=bool),
        )  # fmt: skip


def _build(job: _Job, bytes_allowed: float, progress: bool) -> None:
    """Write both files of a cache, which is valid only when both are complete."""
    with writing_cache(job.path(".frames")) as file:
        meta = _write_frames(job, file, bytes_allowed, progress)
    with writing_cache(job.path(".json")) as file:
        file.write(json.dumps(meta).encode())


def _write_frames(job: _Job, file: BinaryIO, bytes_allowed: float, progress: bool) -> dict[str, Any]:
    """Decode in another thread, resize and write in this one.  Returns the content of the json file."""
    times: list[float] = []
    regions: list[Region] = []
    rows_allowed = max(2, int(bytes_allowed / (job.layers * job.size * job.size * 3)) + 1)
    squares = SquareWriter(file, learn_preprocessor(job.reader, job.placements, job.preprocessing))
    count = 0
    bar = tqdm(
        total=job.n_expected, desc=f"Caching {job.reader.info.name}", unit="frame", disable=not progress
    )
    with bar, closing(in_background(job.reader.decode(), DECODED_AHEAD)) as frames:
        for frame in frames:
            count += 1
            bar.update()
            if not job.thinning.keeps(frame.index) or len(times) == rows_allowed:
                continue
            times.append(frame.time_s)
            regions.append(job.placements(frame.index).region)
            for box_index in (frame.index, frame.index - (job.gap or 0))[: job.layers]:
                squares.add(job.placements.square(frame, box_index))
    squares.flush()
    if len(times) == rows_allowed:
        job.reader.note(
            f"it has more frames than the file announces; only the first {len(times)} to be cached fit into cache_gb"
        )
    file.write(np.asarray(times, dtype=np.float64).tobytes())
    file.write(np.asarray(regions[:1] if job.placements.is_fixed else regions, dtype=np.float64).tobytes())
    return {
        "video": str(job.reader.info.path),
        "n_frames": count,
        "rows": len(times),
        "bytes": file.tell(),
        "problems": job.reader.info.problems,
    }
