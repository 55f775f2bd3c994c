"""Reads tracks from files: the tidy table exactly, SLEAP and DeepLabCut files as far as they go.

DeepLabCut's csv and h5 are read here, SLEAP's .slp as well.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.tracks.table import (
    KEYPOINTS_PER_PIECE,
    TrackInfo,
    Tracks,
    TrackSource,
    concatenate,
    make_tracks,
    rows_per_piece,
)
from lightning_kp.tracks.writing import TIDY_COLUMNS, read_sidecar


def read_tracks(path: Path) -> Tracks:
    """Read a file that :func:`~lightning_kp.tracks.writing.write_tracks` wrote, or another SLEAP or DeepLabCut file.

    The tidy ``.csv`` is exact.  The other formats hold no covariance (NaN) and no times (frame / fps).  What a format
    lacks (video, frame size, fps) is taken from ``<stem>.json`` if it exists.  Raises DataError if the file cannot be
    read.
    """
    source = open_tracks(path)
    return source if isinstance(source, Tracks) else concatenate(source.info, source.pieces())


def open_tracks(path: Path) -> TrackSource:
    """Open a file that :func:`read_tracks` reads; the tidy table is read piece by piece, in constant memory."""
    from h5py import is_hdf5

    path = Path(path)
    try:
        if path.suffix in (".slp", ".h5") and not is_hdf5(path):
            raise ValueError("it is not an HDF5 file")  # h5py and tables raise many kinds of errors
        if path.suffix == ".slp":
            return _read_slp(path)
        if path.suffix == ".h5":
            return _read_dlc(path)
        if path.suffix == ".csv":
            with path.open() as file:
                is_tidy = file.readline().strip() == ",".join(TIDY_COLUMNS)
            return TidyFile(path) if is_tidy else _read_dlc(path)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{path} cannot be read as a keypoint file: {error}.",
            remedy="Give a .slp, .csv, .dlc.csv or .dlc.h5 file that `kp track` wrote.",
        ) from error
    raise DataError(f"{path} is not a keypoint file.", remedy="Give a .slp, .csv or .h5 file.")


def _companion_info(path: Path, names: Iterable[str], animals: int) -> TrackInfo:
    """The .json beside the table, if it describes the same keypoints; otherwise video, size and fps are unknown."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".dlc")
    info = read_sidecar(path.with_name(stem + ".json"))
    if info is not None and info.keypoint_names == tuple(names) and info.animals == animals:
        return info
    return TrackInfo("", (0, 0), 0.0, tuple(names), animals)


class TidyFile:
    """Tracks in a tidy table, read piece by piece.  Raises DataError if it has no frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        first = self._read(nrows=KEYPOINTS_PER_PIECE)
        if not len(first):
            raise DataError(f"{path} contains no frame.")
        first = first[first["frame"] == first["frame"].iloc[0]]
        self._rows = first[["animal", "keypoint"]].to_numpy()
        names = tuple(first["keypoint"].unique())
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
            yield make_tracks(
                self._info,
                {
                    "times_s": rows["time_s"].to_numpy()[::per_frame],
                    "points_px": values[:, :2].reshape(*shape, 2),
                    "confidence": values[:, 2].reshape(shape),
                    "covariance_px": values[:, 3:].reshape(*shape, 3),
                },
            )
            start += len(rows) // per_frame

    def _read(self, **options: Any) -> Any:
        import pandas as pd

        # round_trip, because the fast parser is sometimes wrong in the last bit
        kinds: dict[str, type] = dict.fromkeys(TIDY_COLUMNS[4:], np.float64) | {
            "keypoint": str,
            "animal": str,
        }
        wanted = options.get("usecols", TIDY_COLUMNS)
        kinds = {name: kind for name, kind in kinds.items() if name in wanted}
        options["na_values"] = {name: [""] for name in kinds if kinds[name] is np.float64}
        return pd.read_csv(
            self.path, float_precision="round_trip", dtype=kinds, keep_default_na=False, **options
        )


def _plain_tracks(info: TrackInfo, points: NDArray[Any], confidence: NDArray[Any]) -> Tracks:
    """Tracks from a format with points (N, I, K, 2) and confidence (N, I, K) only."""
    missing = np.isnan(points).any(-1)
    arrays = {
        "times_s": np.arange(len(points)) / (info.fps or 1.0),
        "points_px": points.astype(np.float32),
        "confidence": np.where(missing & np.isnan(confidence), 0, confidence).astype(np.float32),
        "covariance_px": np.full((*points.shape[:3], 3), np.nan, np.float32),
    }
    return make_tracks(info, arrays)


def _read_slp(path: Path) -> Tracks:
    import sleap_io as sio

    labels = sio.load_slp(str(path), open_videos=False)
    video = labels.videos[0]
    known = video.backend_metadata
    frames, height, width = (known.get("shape") or (0, 0, 0))[:3]
    labelled = [frame for frame in labels if frame.video is video]
    frames = max([frames or 0, *(frame.frame_idx + 1 for frame in labelled)])
    animals = len(labels.tracks) or max((len(frame.instances) for frame in labelled), default=1)
    names = labels.skeletons[0].node_names
    # not labels.numpy, which confuses animals that are never in the same frame
    values = np.full((frames, animals, len(names), 3), np.nan)
    for frame in labelled:
        for number, instance in enumerate([*frame.predicted_instances, *frame.user_instances]):
            animal = number if instance.track is None else labels.tracks.index(instance.track)
            points = values[frame.frame_idx, min(animal, animals - 1)]
            points[:, :2], points[:, 2] = instance.numpy(), 1
            if isinstance(instance, sio.PredictedInstance):
                points[:, 2] = instance.points["score"]
    info = _companion_info(path, names, animals)
    if not info.video:
        size, fps = (height or 0, width or 0), float(known.get("fps") or 0)
        info = replace(info, video=str(video.filename), frame_size=size, fps=fps)
    return _plain_tracks(info, values[..., :2], values[..., 2])


def _read_dlc(path: Path) -> Tracks:
    import pandas as pd

    if path.suffix == ".h5":
        table: Any = pd.read_hdf(path)
    else:
        with path.open() as file:
            depth = 4 if [file.readline(), file.readline()][1].startswith("individuals") else 3
        # index_col=0 would read a first row of empty cells as the name of the index
        table = pd.read_csv(path, header=list(range(depth)))
        table = table.set_index(table.columns[0])
    columns = table.columns
    names = list(columns.get_level_values(-2).unique())
    animals = len(columns.get_level_values(1).unique()) if columns.nlevels == 4 else 1
    per_point = columns.get_level_values(-1).nunique()
    values = table.to_numpy(dtype=np.float64).reshape(len(table), animals, len(names), per_point)
    confidence = values[..., 2] if per_point == 3 else np.where(np.isnan(values[..., 0]), 0.0, 1.0)
    return _plain_tracks(_companion_info(path, names, animals), values[..., :2], confidence)
