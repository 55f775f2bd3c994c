"""Videos decoded and resized once, into memory-mapped files that random access is fast on.

A cache is keyed by what the video holds and by every setting that shapes its pixels.  It is two
files: ``KEY.frames`` (the squares, then times and regions as float64) and ``KEY.json``.  Both are
written under temporary names; the json, renamed last, is what makes a cache valid.
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

from lightning_kp.files import default_cache_dir, file_mark, writing
from lightning_kp.frames.cache_folder import make_room
from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import NOTHING, Preprocessing, Preprocessor, preprocessor_of
from lightning_kp.frames.stream import DECODED_AHEAD, in_background
from lightning_kp.frames.thinning import Thinning, parse_gap
from lightning_kp.geometry import Fit, Region
from lightning_kp.images.files import Image
from lightning_kp.motion.boxes import Boxes, per_animal
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import VideoReader, VideoWarning

FORMAT = 1
"""Raised whenever the same settings would give other bytes."""
_PREPROCESSED_TOGETHER = 32


@dataclass
class CachedVideo:
    """Frames of one video as squares of ``size`` pixels; row i holds displayed frame ``index[i]``.

    ``frames`` uint8 (N, S, S, 3); ``futures`` the same frames, cut out with the box of the frame
    ``gap`` before them (the same array unless boxes differ from frame to frame), so that both
    frames of a pair show one region.  ``regions`` (N or 1, 4), ``times_s`` (N,).  ``n_frames`` is
    the number of displayed frames of the video, kept or not.
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
    _map: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @property
    def frames(self) -> NDArray[np.uint8]:
        """The squares (N, S, S, 3), read from disk when indexed."""
        return self._records()[:, 0]

    @property
    def futures(self) -> NDArray[np.uint8]:
        """The squares with the box of the frame one gap earlier (N, S, S, 3)."""
        return self._records()[:, -1]

    def region(self, i: int) -> Region:
        """What row ``i`` of ``frames`` shows of the original frame."""
        return Region(*self.regions[i if len(self.regions) > 1 else 0].tolist())

    def _records(self) -> NDArray[np.uint8]:
        if self._map is None:
            shape = (len(self.index), self.layers, self.size, self.size, 3)
            self._map = np.memmap(self.file, dtype=np.uint8, mode="r", shape=shape)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        """A worker process opens the file itself; a pickled memory map would be all its bytes."""
        return self.__dict__ | {"_map": None}


def cache_videos(
    paths: Sequence[str | Path],
    *,
    size: int,
    fit: Fit = "pad",
    gap: int | str | None = None,
    boxes: Boxes = None,
    preprocessing: Preprocessing = NOTHING,
    cache_dir: str | Path | None = None,
    cache_gb: float = 8.0,
    progress: bool = True,
) -> list[CachedVideo]:
    """Decode, resize and preprocess each video, unless that was done before, and open the caches.

    ``gap`` (frames, or time as in :func:`parse_gap`) is the distance of the frames that will be
    used together: if all frames need more than ``cache_gb``, such pairs are kept, evenly spread
    over every video, and a warning says what share.  Boxes of several animals give all videos cut out
    for the first, then for the second, and so on.
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    readers = [open_video(path) for path in paths]
    jobs = [
        _Job.plan(reader, size, fit, gap, each, folder, preprocessing)
        for each in per_animal(boxes)
        for reader in readers
    ]
    budget = cache_gb * 1e9
    needed = sum(job.bytes_expected for job in jobs)
    if needed > budget:
        for job in jobs:
            job.thinning = Thinning.to_share(budget / needed, job.gap)
        share = sum(job.bytes_expected for job in jobs) / needed
        warnings.warn(
            f"All frames need {needed / 1e9:.2f} GB of cache, cache_gb is {cache_gb:g}: {share:.1%} of them "
            "are kept, evenly spread. Raise cache_gb to use more.",
            VideoWarning,
            stacklevel=2,
        )
    missing = [job for job in jobs if not job.is_cached()]
    if missing:
        make_room(folder, sum(job.bytes_expected for job in missing), budget, [job.path("") for job in jobs])
        for job in missing:
            # A container may promise fewer frames than it holds; the bound holds all the same.
            _build(job, budget * job.bytes_expected / sum(other.bytes_expected for other in jobs), progress)
    return [job.open() for job in jobs]


@dataclass
class _Job:
    """One video, and everything that shapes its cache."""

    reader: VideoReader
    placements: Placements
    size: int
    gap: int | None
    folder: Path
    source: str
    n_expected: int
    preprocessing: Preprocessing = NOTHING
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
        source = _fingerprint(info.path)
        return cls(reader, placements, size, frames_apart, folder, source, expected, preprocessing)

    @property
    def layers(self) -> int:
        return 1 if self.placements.is_fixed or self.gap is None else 2

    @property
    def bytes_expected(self) -> float:
        return self.n_expected * self.thinning.share * self.layers * self.size * self.size * 3

    @property
    def key(self) -> str:
        settings = [
            FORMAT,
            self.source,
            self.placements.fingerprint,
            self.layers > 1 and self.gap,
            *self.thinning,
            *([self.preprocessing.fingerprint] if self.preprocessing.is_on else []),
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
        return CachedVideo(
            path=info.path, name=info.name, frame_size=info.frame_size, fps=info.fps,
            n_frames=meta["n_frames"], problems=info.problems, size=self.size, layers=self.layers,
            index=kept[np.isin(kept % self.thinning.period, self.thinning.residues)][:rows],
            times_s=numbers[:rows], regions=numbers[rows:].reshape(-1, 4), file=self.path(".frames"),
        )  # fmt: skip


class _Squares:
    """Writes squares to a file, preprocessed in batches where that is wanted."""

    def __init__(self, file: BinaryIO, preprocessor: Preprocessor | None) -> None:
        self._file = file
        self._preprocessor = preprocessor
        self._waiting: list[Image] = []

    def add(self, square: Image) -> None:
        self._waiting.append(square)
        if self._preprocessor is None or len(self._waiting) == _PREPROCESSED_TOGETHER:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            squares = np.stack(self._waiting)
            done = squares if self._preprocessor is None else self._preprocessor(squares).squares
            self._file.write(np.ascontiguousarray(done).data)
            self._waiting = []


def _fingerprint(path: Path) -> str:
    """Changes with the file: its size, its time, and its bytes at the head, the middle and the tail."""
    return file_mark(path, with_time=True)


def _build(job: _Job, bytes_allowed: float, progress: bool) -> None:
    """Decode in one thread, resize and write in this one; valid only when both files are complete."""
    with writing(job.path(".frames")) as file:
        meta = _write_frames(job, file, bytes_allowed, progress)
    with writing(job.path(".json")) as file:
        file.write(json.dumps(meta).encode())


def _write_frames(job: _Job, file: BinaryIO, bytes_allowed: float, progress: bool) -> dict[str, Any]:
    times: list[float] = []
    regions: list[Region] = []
    rows_allowed = max(2, int(bytes_allowed / (job.layers * job.size * job.size * 3)) + 1)
    squares = _Squares(file, preprocessor_of(job.reader, job.placements, job.preprocessing))
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
            for owner in (frame.index, frame.index - (job.gap or 0))[: job.layers]:
                squares.add(frame.prepared(job.placements(owner)))
    squares.flush()
    if len(times) == rows_allowed:
        job.reader.note(
            f"it is longer than it promises; only its first {len(times)} kept frames fit in cache_gb"
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
