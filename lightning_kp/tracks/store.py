"""A store that collects the keypoints of one video batch by batch, in constant memory."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from lightning_kp.errors import DISK_FULL, DataError
from lightning_kp.files import companion
from lightning_kp.runs.lock import hold
from lightning_kp.skeleton import Skeleton
from lightning_kp.tracks.pixels import Regions, check_order, original_pixels
from lightning_kp.tracks.table import ARRAYS, TrackInfo, Tracks, TrackSource, make_tracks, rows_per_piece
from lightning_kp.tracks.writing import FORMATS, write_tracks

if TYPE_CHECKING:
    from lightning_kp.method import Prediction

Refine = Callable[[TrackSource, Path], TrackSource]
"""Changes complete tracks, whose files have this stem; the result has the same ``info``."""
PART = ".tracks.part"
"""Suffix of the store; it lies beside the results until they are written."""
SYNC_EVERY = 512  # frames after which the store is flushed to disk (ours)


class TrackStore:
    """Append-only file ``<stem>.tracks.part`` with all frames so far; memory does not grow with the video.

    Opened again with the same ``info``, it continues after the last complete frame and drops an incomplete one.  With
    another ``info`` or ``resume=False`` it starts again.  :meth:`finish` turns it into the result files.  Raises
    :class:`DataError` if the folder cannot be written or the disk is full.
    """

    def __init__(self, stem: Path, info: TrackInfo, *, resume: bool = True) -> None:
        self.stem = stem
        self.path = companion(stem, PART)
        self._info = info
        self._head = info.to_json().encode() + b"\n"
        shape = (info.animals, len(info.keypoint_names))
        self._record = np.dtype(
            [
                ("times_s", "<f8"),
                ("points_px", "<f4", (*shape, 2)),
                ("confidence", "<f4", shape),
                ("covariance_px", "<f4", (*shape, 3)),
            ]
        )
        self.rows = 0
        with self._disk_errors():
            stem.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open()
            self._continue() if resume and self._file.read(len(self._head)) == self._head else self._restart()
        self._synced = self.rows

    def _open(self) -> FileIO:
        """Open the store for this process alone; another one may just have finished and removed it."""
        while True:
            # O_CREAT instead of mode "w": what is there must not be emptied before it is locked.
            file = FileIO(
                self.path, "r+b", opener=lambda path, flags: os.open(path, flags | os.O_CREAT, 0o666)
            )
            if not hold(file.fileno()):
                file.close()
                raise DataError(
                    f"{self._info.video} is being tracked into {self.stem.parent} already.",
                    remedy="Wait for the end of that, or choose another folder (--out DIR).",
                )
            if self.path.exists() and os.fstat(file.fileno()).st_ino == self.path.stat().st_ino:
                return file
            file.close()

    @property
    def info(self) -> TrackInfo:
        """Video, frame size, frame rate and names."""
        return self._info

    def __len__(self) -> int:
        return self.rows

    def append(self, prediction: "Prediction", regions: Regions, times_s: Sequence[float]) -> None:
        """Add the next B frames of points (B, I, K, 2), normalised to ``regions``; ``times_s`` (B,) in seconds.

        Raises DataError if the frames are out of order.
        """
        self.append_crops([prediction], [regions], times_s)

    def append_crops(
        self, predictions: "Sequence[Prediction]", regions: Sequence[Regions], times_s: Sequence[float]
    ) -> None:
        """Add the next B frames, predicted on several crops: points (B, I, K, 2) of each, joined along I."""
        for prediction in predictions:
            check_order(prediction, self.rows, self._info.video)
        crops = [original_pixels(*each) for each in zip(predictions, regions, strict=True)]
        arrays = [np.concatenate(parts, axis=1) for parts in zip(*crops, strict=True)]
        self.extend(make_tracks(self._info, dict(zip(ARRAYS, (np.asarray(times_s), *arrays), strict=True))))

    def extend(self, tracks: Tracks) -> None:
        """Add the next frames, already in original pixels.  Raises DataError for other numbers of keypoints."""
        if tracks.points_px.shape[1:] != self._record["points_px"].shape:
            raise DataError(
                f"{self.path} needs (animals, keypoints) = {self._record['points_px'].shape[:2]} per frame, "
                f"got {tracks.points_px.shape[1:3]}.",
                remedy="Delete the file to start again with the new checkpoint.",
            )
        with self._disk_errors():
            self._write(self._records(tracks))
            self.rows += len(tracks)
            if self.rows - self._synced >= SYNC_EVERY:
                self._sync()

    def pieces(self) -> Iterator[Tracks]:
        """Consecutive parts of limited size, read from the file."""
        rows = rows_per_piece(self._info)
        for start in range(0, self.rows, rows):
            offset = len(self._head) + start * self._record.itemsize
            # fromfile instead of a memory map, whose pages would count as memory of the process
            part = np.fromfile(self.path, self._record, min(rows, self.rows - start), offset=offset)
            yield make_tracks(self._info, {name: np.ascontiguousarray(part[name]) for name in ARRAYS})

    def rewrite(self, change: Callable[[Tracks], Tracks]) -> None:
        """Replace all frames by the result of ``change``, piece by piece and in order.

        After an interruption some pieces are changed and others are not, so ``change`` must be safe to apply twice.
        """
        position = len(self._head)
        for part in self.pieces():
            records = self._records(change(part))
            with self._disk_errors():
                self._file.seek(position)
                self._write(records)
            position += len(records)

    def finish(
        self,
        formats: Iterable[str] | None = None,
        skeleton: Skeleton | None = None,
        refine: Refine | None = None,
    ) -> list[Path]:
        """Write the result files, remove the store and return the paths.  Raises DataError if there is no frame.

        ``refine`` changes the tracks as a whole on their way into the files; the store itself stays as it is, so that
        an interrupted call may be repeated.
        """
        if not self.rows:
            raise DataError(
                f"No frame of {self._info.video} was tracked, so there is nothing to write.",
                remedy="Check with `kp inspect` that the video can be read.",
            )
        with self._disk_errors():
            self._sync()
            source = self if refine is None else refine(self, self.stem)
            written = write_tracks(source, self.stem, FORMATS if formats is None else formats, skeleton)
            self.close()
            self.path.unlink()
        return written

    def close(self) -> None:
        """Flush everything to disk and close the file; it can be continued later."""
        if not self._file.closed:
            with self._disk_errors():
                self._sync()
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _records(self, tracks: Tracks) -> bytes:
        records = np.empty(len(tracks), self._record)
        for name in ARRAYS:
            records[name] = getattr(tracks, name)
        return records.tobytes()

    def _continue(self) -> None:
        size = self.path.stat().st_size - len(self._head)
        self.rows = size // self._record.itemsize
        self._file.truncate(len(self._head) + self.rows * self._record.itemsize)
        self._file.seek(0, os.SEEK_END)

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._write(self._head)

    def _write(self, content: bytes) -> None:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = self.rows

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            cure = "Free some space" if error.errno in DISK_FULL else "Make it writable"
            remedy = f"{cure} or choose another --out folder."
            if self.rows:
                remedy = (
                    f"{cure}, then run the same command again: "
                    f"it continues after the {self.rows} frames that are kept."
                )
            raise DataError(
                f"Cannot write {error.filename or self.path}: {error.strerror or error}.", remedy=remedy
            ) from error
