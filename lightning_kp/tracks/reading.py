"""Reads tracks from files: the tidy table exactly, SLEAP and DeepLabCut files as far as they go.

Columns count by their names and rows by the frame numbers in the index, never by their position.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.deeplabcut.columns import LIKELIHOOD, X, Y, frame_numbers, looks_like_coordinate
from lightning_kp.deeplabcut.csv_files import open_csv
from lightning_kp.deeplabcut.hdf import AS_CSV, open_hdf
from lightning_kp.errors import DataError, one_line
from lightning_kp.tracks.sleap import read_slp, split_video
from lightning_kp.tracks.table import (
    KEYPOINTS_PER_PIECE,
    TrackInfo,
    Tracks,
    TrackSource,
    check_size,
    concatenate,
    make_tracks,
    rows_per_piece,
)
from lightning_kp.tracks.writing import PEAK_COLUMN, TIDY_COLUMNS, read_sidecar

REMEDY = (
    "Give a .slp, .csv, .dlc.csv or .dlc.h5 file that `kp track` wrote, or tracks of SLEAP or DeepLabCut whose rows "
    "are frame numbers."
)


def read_tracks(path: Path) -> Tracks:
    """Read a file that :func:`~lightning_kp.tracks.writing.write_tracks` wrote, or another SLEAP or DeepLabCut file.

    The tidy ``.csv`` is exact.  The other formats hold no covariance (NaN) and no times (frame / fps).  What a format
    lacks (video, frame size, fps) is taken from ``<stem>.json`` if it exists.  Raises DataError if the file cannot be
    read.
    """
    source = open_tracks(path)
    return source if isinstance(source, Tracks) else concatenate(source.info, source.pieces())


def open_tracks(path: Path) -> TrackSource:
    """Open a file that :func:`read_tracks` reads; the tidy table is read piece by piece, in constant memory.

    ``FILE.slp#VIDEO`` is one video, by its name or number, of a SLEAP file of several.
    """
    from h5py import is_hdf5

    path, video = split_video(Path(path))
    try:
        if path.suffix == ".slp":
            if not is_hdf5(path):
                raise ValueError("it is not an HDF5 file")  # sleap-io raises many kinds of errors
            return _read_slp(path, video)
        if path.suffix == ".h5":
            return _read_deeplabcut(path)
        if path.suffix == ".csv":
            return TidyFile(path) if is_tidy(path) else _read_deeplabcut(path)
    except DataError:
        raise
    except (OSError, ValueError, LookupError) as error:
        raise DataError(
            f"{path} cannot be read as a keypoint file: {one_line(str(error))}.",
            remedy=AS_CSV if path.suffix == ".h5" and "pickled" in str(error) else REMEDY,
        ) from error
    raise DataError(f"{path} is not a keypoint file.", remedy="Give a .slp, .csv or .h5 file.")


def _companion_info(path: Path, names: Iterable[str], animals: int) -> TrackInfo:
    """The .json beside the table, if it describes the same keypoints; otherwise video, size and fps are unknown."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".dlc")
    info = read_sidecar(path.with_name(stem + ".json"))
    if info is not None and info.keypoint_names == tuple(names) and info.animals == animals:
        return info
    return TrackInfo("", (0, 0), 0.0, tuple(names), animals)


def is_tidy(path: Path) -> bool:
    """Whether a csv file is a tidy table: by its first columns.  Raises ValueError if one of the others is missing."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline().strip().replace(";", ",").replace('"', "").split(",")
    if not set(TIDY_COLUMNS[:4]) <= set(header):
        return False
    missing = [name for name in TIDY_COLUMNS if name not in header]
    repeated = [name for name in TIDY_COLUMNS if header.count(name) > 1]
    if missing or repeated:
        problem = f"no column {missing[0]}" if missing else f"several columns called {repeated[0]}"
        raise ValueError(f"it has {problem}")
    return True


class TidyFile:
    """Tracks in a tidy table, read piece by piece.  Raises DataError if it has no frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
            self._separator = ";" if ";" in header else ","
            self._has_peaks = PEAK_COLUMN in header.strip().replace('"', "").split(self._separator)
            self._decimal = "," if self._separator == ";" and "," in file.readline() else "."
        first = self._read(nrows=KEYPOINTS_PER_PIECE)
        if not len(first):
            raise DataError(f"{path} contains no frame.")
        first = first[first["frame"] == first["frame"].iloc[0]]
        self._rows = first[["animal", "keypoint"]].to_numpy()
        names = tuple(first["keypoint"].unique())
        repeated = first["keypoint"][first.duplicated(["animal", "keypoint"])]
        if len(repeated):
            raise DataError(
                f"{path} has several keypoints called {repeated.iloc[0]}.",
                remedy="Give each keypoint a name of its own.",
            )
        self._info = _companion_info(path, names, len(first) // len(names))
        if not self._info.fps:
            # without the .json the mean rate is the best estimate
            times = self._read(usecols=["time_s"])["time_s"].to_numpy()
            spans = len(times) // len(first) - 1
            self._info = replace(self._info, fps=spans / (times[-1] - times[0]) if spans else 0.0)

    @property
    def info(self) -> TrackInfo:
        """Video, frame size, frame rate and names."""
        return self._info

    def __len__(self) -> int:
        with self.path.open("rb") as file:
            rows = sum(1 for _ in file) - 1
        return rows // (self._info.animals * len(self._info.keypoint_names))

    def pieces(self) -> Iterator[Tracks]:
        """Consecutive parts of limited size.  Raises DataError if rows are missing or out of order."""
        shape = (-1, self._info.animals, len(self._info.keypoint_names))
        per_frame = shape[1] * shape[2]
        start = 0
        for rows in self._read(chunksize=rows_per_piece(self._info) * per_frame):
            frame = rows["frame"].to_numpy()
            expected = start + np.arange(len(rows)) // per_frame
            names = np.tile(self._rows, (len(rows) // per_frame, 1))
            is_whole = len(rows) % per_frame == 0 and (frame == expected).all()
            if not is_whole or (rows[["animal", "keypoint"]].to_numpy() != names).any():
                raise DataError(
                    f"{self.path} needs {per_frame} rows for each frame, in order; it differs near frame {start}.",
                    remedy="Write it again with `kp track`, or give the .slp file beside it.",
                )
            values = rows[list(TIDY_COLUMNS[4:])].to_numpy().astype(np.float32)
            peaks = (
                rows[PEAK_COLUMN].to_numpy().astype(np.float32).reshape(shape) if self._has_peaks else None
            )
            yield make_tracks(
                self._info,
                {
                    "times_s": rows["time_s"].to_numpy()[::per_frame],
                    "points_px": values[:, :2].reshape(*shape, 2),
                    "confidence": values[:, 2].reshape(shape),
                    "covariance_px": values[:, 3:].reshape(*shape, 3),
                    "peak": peaks,
                },
            )
            start += len(rows) // per_frame

    def _read(self, **options: Any) -> Any:
        import pandas as pd

        # round_trip, because the fast parser is sometimes wrong in the last bit
        peak = (PEAK_COLUMN,) if self._has_peaks else ()
        kinds: dict[str, type] = dict.fromkeys((*TIDY_COLUMNS[4:], *peak), np.float64) | {
            "keypoint": str,
            "animal": str,
        }
        wanted = options.setdefault("usecols", [*TIDY_COLUMNS, *peak])
        kinds = {name: kind for name, kind in kinds.items() if name in wanted}
        options["na_values"] = {name: [""] for name in kinds if kinds[name] is np.float64}
        return pd.read_csv(
            self.path,
            float_precision="round_trip",
            dtype=kinds,
            keep_default_na=False,
            sep=self._separator,
            decimal=self._decimal,
            encoding="utf-8-sig",
            **options,
        )


def _plain_tracks(path: Path, info: TrackInfo, points: NDArray[Any], confidence: NDArray[Any]) -> Tracks:
    """Tracks from a format with points (N, I, K, 2) and confidence (N, I, K) only; an unknown confidence is 0."""
    unknown = np.isnan(confidence)
    doubtful = int((unknown & ~np.isnan(points).any(-1)).sum())
    if doubtful:
        warnings.warn(f"{path}: {doubtful} points have no confidence; it counts as 0.", stacklevel=4)
    arrays = {
        "times_s": np.arange(len(points)) / (info.fps or 1.0),
        "points_px": points.astype(np.float32),
        "confidence": np.where(unknown, 0, confidence).astype(np.float32),
        "covariance_px": np.full((*points.shape[:3], 3), np.nan, np.float32),
    }
    return make_tracks(info, arrays)


def _read_slp(path: Path, video: str) -> Tracks:
    found = read_slp(path, video)
    info = _companion_info(path, found.info.keypoint_names, found.info.animals)
    # the file beside it describes what `kp track` wrote, which is one video
    use_own = not info.video or video
    return _plain_tracks(path, found.info if use_own else info, found.points_px, found.confidence)


def _read_deeplabcut(path: Path) -> Tracks:
    """Rows count by the frame number in the index, columns by their names; frames without a row are empty."""
    if path.suffix == ".h5":
        columns, index, values = open_hdf(path)
    else:
        table = open_csv(path)
        columns, (index, values) = table.columns, table.numbers()
    if not len(index):
        raise ValueError("it contains no frame")
    number = frame_numbers(index)
    animals, names = len(columns.individuals), columns.parts
    check_size(int(number.max()) + 1, animals, len(names))
    shape = (int(number.max()) + 1, animals, len(names))
    points, confidence = np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32)
    for axis, coord in enumerate((X, Y)):
        points[number, ..., axis] = columns.values(coord, values)
    is_there = np.isfinite(points[number]).all(-1)
    confidence[number] = np.where(columns.of(LIKELIHOOD) >= 0, columns.values(LIKELIHOOD, values), is_there)
    unused = [name for name in columns.ignored if looks_like_coordinate(name)]
    if unused:
        warnings.warn(
            f"{path}: of the coordinates, x and y are read; {', '.join(unused)} are not.", stacklevel=3
        )
    return _plain_tracks(path, _companion_info(path, names, animals), points, confidence)
