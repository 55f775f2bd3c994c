"""The squares of many images, read once: in memory, or in a memory-mapped file where they are too many for that.

The key of a file is a digest of the settings and of the name, size, time of change and box of every image.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lightning_kp.errors import DataError
from lightning_kp.files import default_cache_dir, writing_cache
from lightning_kp.frames.cache_folder import make_room
from lightning_kp.stills.listing import NAMED, Still
from lightning_kp.stills.squares import Square, SquareSettings, read_square

CACHE_VERSION = 1
"""Part of the key, to be raised whenever the same settings would give other bytes."""
READER_THREADS = 4
READ_AHEAD = 256
"""Images that are read before their squares are stored; more would only use memory."""
CACHE_BYTES = 8e9
"""Older caches are deleted where all of them would take more than this, as with videos."""


@dataclass
class Squares:
    """N squares (C, S, S) uint8, C 1 or 3.

    Attributes:
        size: Side S in pixels.
        kept: Positions (N,) of the images that could be read, in the list that was given.
        regions: (left, top, right, bottom) in pixels of the upright image that each square shows, (N, 4).
        sizes_px: (height, width) of the images, (N, 2).
        problems: What was left out, and why.
    """

    size: int
    kept: NDArray[np.int64]
    regions: NDArray[np.float64]
    sizes_px: NDArray[np.int64]
    problems: tuple[str, ...] = ()
    held: Tensor | None = None
    file: Path | None = None
    _map: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """Squares (B, 3, S, S) uint8 of some rows (B,)."""
        if self.held is not None:
            images = self.held[torch.from_numpy(rows)]
            return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if self._map is None:
            shape = (len(self), 3, self.size, self.size)
            self._map = np.memmap(str(self.file), dtype=np.uint8, mode="r", shape=shape)
        return torch.from_numpy(self._map[rows])

    def __getstate__(self) -> dict[str, Any]:
        """Drop the memory map: a worker process opens the file itself."""
        return self.__dict__ | {"_map": None}


def read_squares(
    stills: Sequence[Still],
    settings: SquareSettings,
    *,
    hold_gb: float,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Squares:
    """Read the squares of all images, or open those that were read before.

    Images that cannot be used are left out, with one warning that names them.  Raises DataError if none is left.

    Args:
        stills: The images.
        settings: How they become squares.
        hold_gb: Gigabytes up to which the squares are kept in memory; more are kept in a memory-mapped file.
        cache_dir: Folder of these files; by default KP_CACHE_DIR or the user's cache folder.
        progress: Show a progress bar while a file is written.
    """
    needed = _bytes_of(settings) * len(stills)
    if needed <= hold_gb * 1e9:
        squares = _in_memory(stills, settings)
    else:
        folder = cache_dir or default_cache_dir()
        squares = _in_file(stills, settings, folder / f"stills-{_key(stills, settings)}", needed, progress)
    if squares.problems:
        shown = " ".join(squares.problems[:NAMED])
        warnings.warn(
            f"{len(squares.problems)} of {len(stills)} image(s) are left out. {shown}", stacklevel=2
        )
    if not len(squares):
        raise DataError(
            f"None of the {len(stills)} image(s) can be used. {squares.problems[0]}",
            remedy="Replace them, or remove them from the set.",
        )
    return squares


def _bytes_of(settings: SquareSettings) -> int:
    return 3 * settings.size * settings.size


def _key(stills: Sequence[Still], settings: SquareSettings) -> str:
    digest = hashlib.sha256(repr((CACHE_VERSION, settings)).encode())
    for still in stills:
        try:
            status = Path(still.path).stat()
            facts: tuple[int, ...] = (status.st_size, status.st_mtime_ns)
        except OSError:
            facts = ()
        digest.update(repr((still.path, facts, still.box, still.mirrored)).encode())
    return digest.hexdigest()[:20]


class _Record:
    """What is known of the squares that were read so far."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.regions: list[tuple[float, ...]] = []
        self.sizes_px: list[tuple[int, int]] = []
        self.problems: list[str] = []

    def add(self, row: int, square: Square) -> None:
        self.kept.append(row)
        self.regions.append(tuple(square.region))
        self.sizes_px.append(square.size_px)

    def squares(self, size: int, **where: Any) -> Squares:
        return Squares(
            size, np.asarray(self.kept, np.int64), np.asarray(self.regions, np.float64).reshape(-1, 4),
            np.asarray(self.sizes_px, np.int64).reshape(-1, 2), tuple(self.problems), **where,
        )  # fmt: skip


def _read_all(
    stills: Sequence[Still], settings: SquareSettings, record: _Record, progress: bool
) -> Iterator[Tensor]:
    """Yield the squares (3, S, S) of all images that can be read, in order; several threads read ahead."""

    def read(still: Still) -> Square | DataError:
        try:
            return read_square(still, settings)
        except DataError as error:
            return error

    bar = tqdm(total=len(stills), desc="Reading images", unit="image", disable=not progress)
    with bar, ThreadPoolExecutor(READER_THREADS) as pool:
        for start in range(0, len(stills), READ_AHEAD):
            for row, found in enumerate(pool.map(read, stills[start : start + READ_AHEAD]), start):
                bar.update()
                if isinstance(found, DataError):
                    record.problems.append(found.problem)
                else:
                    record.add(row, found)
                    yield found.pixels


def _in_memory(stills: Sequence[Still], settings: SquareSettings) -> Squares:
    record = _Record()
    images = torch.empty(len(stills), 3, settings.size, settings.size, dtype=torch.uint8)
    for row, pixels in enumerate(_read_all(stills, settings, record, progress=False)):
        images[row] = pixels
    return record.squares(settings.size, held=images[: len(record.kept)])


def _in_file(
    stills: Sequence[Still], settings: SquareSettings, stem: Path, needed: int, progress: bool
) -> Squares:
    file, facts = stem.with_suffix(".frames"), stem.with_suffix(".json")
    if (known := _opened(file, facts, settings)) is not None:
        return known
    make_room(stem.parent, needed, max(CACHE_BYTES, needed), [stem])
    record = _Record()
    with writing_cache(file) as written:
        for pixels in _read_all(stills, settings, record, progress):
            written.write(pixels.contiguous().numpy().data)
    with writing_cache(facts) as written:
        written.write(json.dumps(vars(record)).encode())
    return record.squares(settings.size, file=file)


def _opened(file: Path, facts: Path, settings: SquareSettings) -> Squares | None:
    """The squares of a file that is complete; None if there is none."""
    record = _Record()
    try:
        vars(record).update(json.loads(facts.read_text("utf-8")))
        if file.stat().st_size != _bytes_of(settings) * len(record.kept):
            return None
    except (OSError, ValueError, TypeError):
        return None
    os.utime(facts)
    return record.squares(settings.size, file=file)
