"""Writes tracks piece by piece to files that other tools open; :mod:`lightning_kp.tracks.reading` reads them.

``<stem>.slp`` (SLEAP), ``<stem>.dlc.csv`` and ``<stem>.dlc.h5`` (DeepLabCut), ``<stem>.csv`` (tidy: one row per frame,
animal and keypoint; exact) and ``<stem>.json`` (video, frame size, fps, names; written last, so that it marks a
finished video).
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lightning_kp.errors import DataError
from lightning_kp.files import companion, printable, replacing, write_whole
from lightning_kp.skeleton import Skeleton
from lightning_kp.tracks.table import TrackInfo, Tracks, TrackSource, animal_names

if TYPE_CHECKING:
    import pandas as pd

SCORER = "lightning_kp"
DLC_KEY = "df_with_missing"  # the key that DeepLabCut itself uses
TIDY_COLUMNS = ("frame", "time_s", "animal", "keypoint", "x", "y", "confidence", "var_x", "var_y", "cov_xy")
PEAK_COLUMN = "peak"  # the last one, where the confidence is a probability and not the peak itself
HDF5_SUFFIXES = (".slp", ".dlc.h5")
KEYPOINT_BYTES = 24  # of a keypoint in a frame, in each of them at least


def write_tracks(
    source: TrackSource, stem: Path, formats: Iterable[str] | None = None, skeleton: Skeleton | None = None
) -> list[Path]:
    """Write tracks as ``<stem>.*`` and return the paths; each file appears only when it is complete.

    Args:
        source: Tracks.
        stem: Path of the files without their suffixes.
        formats: Keys of :data:`FORMATS`; all by default.
        skeleton: Adds edges and mirror pairs to the .slp file.

    Raises:
        DataError: for an unknown format.
    """
    names = list(FORMATS if formats is None else formats)
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise DataError(f"Unknown table format {unknown[0]!r}.", remedy=f"Choose from {', '.join(FORMATS)}.")
    written = []
    sidecar = companion(stem, ".json")
    if read_sidecar(sidecar) != source.info:
        for suffix, _ in FORMATS.values():  # so that no files of another checkpoint remain
            companion(stem, suffix).unlink(missing_ok=True)
    sidecar.unlink(missing_ok=True)  # so that it does not mark incomplete files as finished
    for name in names:
        suffix, write = FORMATS[name]
        path = companion(stem, suffix)
        bar = tqdm(total=len(source), desc=f"write {path.name}", unit="frame", delay=1.0, leave=False)
        room = _hdf5_size(source) if suffix in HDF5_SUFFIXES else 0
        with bar, replacing(path, room=room) as temporary:
            write(_Counted(source, bar), temporary, skeleton)
            if room:
                refuse_torn_hdf5(temporary)
        written.append(path)
    write_whole(sidecar, source.info.to_json() + "\n")
    return [*written, sidecar]


def _hdf5_size(source: TrackSource) -> int:
    """Bytes that the tracks take at least in HDF5."""
    return len(source) * source.info.animals * len(source.info.keypoint_names) * KEYPOINT_BYTES


def refuse_torn_hdf5(path: Path) -> None:
    """Raise OSError for a file that HDF5 closed without its end: on a full disk PyTables does so in silence."""
    import h5py

    try:
        with h5py.File(path, "r"):
            pass
    except OSError as error:  # "truncated file"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


class _Counted:
    """A source of tracks that advances a progress bar by the frames its reader has finished."""

    def __init__(self, source: TrackSource, bar: "tqdm[Any]") -> None:
        self.info = source.info
        self._source = source
        self._bar = bar

    def __len__(self) -> int:
        return len(self._source)

    def pieces(self) -> Iterator[Tracks]:
        for part in self._source.pieces():
            yield part
            self._bar.update(len(part))


def is_finished(stem: Path, info: TrackInfo) -> bool:
    """Whether results of exactly this video, checkpoint and settings exist already."""
    return read_sidecar(companion(stem, ".json")) == info


def read_sidecar(path: Path) -> TrackInfo | None:
    """Description of the tracks in a ``<stem>.json``; None if it is missing or damaged."""
    try:
        return TrackInfo.from_json(path.read_text())
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _write_tidy(source: TrackSource, path: Path, skeleton: Skeleton | None) -> None:
    start = 0
    for part in source.pieces():
        frame = tidy_frame(part, start)
        frame.to_csv(path, mode="w" if start == 0 else "a", header=start == 0, index=False)
        start += len(part)


def tidy_frame(part: Tracks, start: int) -> "pd.DataFrame":
    """Table with one row per frame, animal and keypoint (:data:`TIDY_COLUMNS`); frames are numbered from ``start``.

    Where the tracks have peaks beside their confidence, :data:`PEAK_COLUMN` follows.
    """
    import pandas as pd

    frames, animals, keypoints = part.confidence.shape
    index = np.arange(start, start + frames)
    animal = np.tile(np.repeat(np.arange(animals), keypoints), frames)
    keypoint = np.tile(np.arange(keypoints), frames * animals)
    columns = (
        np.repeat(index, animals * keypoints),
        np.repeat(part.times_s, animals * keypoints),
        pd.Categorical.from_codes(animal, pd.Index(animal_names(animals))),
        pd.Categorical.from_codes(keypoint, pd.Index(part.keypoint_names)),
        *part.points_px.reshape(-1, 2).T,
        part.confidence.reshape(-1),
        *part.covariance_px.reshape(-1, 3).T,
    )
    table = dict(zip(TIDY_COLUMNS, columns, strict=True))
    return pd.DataFrame(table | ({} if part.peak is None else {PEAK_COLUMN: part.peak.reshape(-1)}))


def deeplabcut_pieces(source: TrackSource) -> "Iterator[pd.DataFrame]":
    """Tables in DeepLabCut's layout: columns scorer / individuals (if several) / bodyparts / coords; index = frame."""
    import pandas as pd

    info = source.info
    bodyparts = list(info.keypoint_names)
    individuals = {"individuals": list(animal_names(info.animals))} if info.animals > 1 else {}
    coords = ["x", "y", "likelihood"]
    levels = {"scorer": [SCORER], **individuals, "bodyparts": bodyparts, "coords": coords}
    columns = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    start = 0
    for part in source.pieces():
        values = np.concatenate((part.points_px, part.confidence[..., None]), axis=-1)
        index = np.arange(start, start + len(part))
        yield pd.DataFrame(values.reshape(len(part), -1), index, columns)
        start += len(part)


def _write_dlc_csv(source: TrackSource, path: Path, skeleton: Skeleton | None) -> None:
    for number, frame in enumerate(deeplabcut_pieces(source)):
        frame.to_csv(path, mode="a" if number else "w", header=number == 0)


def _write_dlc_h5(source: TrackSource, path: Path, skeleton: Skeleton | None) -> None:
    for number, frame in enumerate(deeplabcut_pieces(source)):
        frame = frame.astype(
            np.float64
        )  # as in DeepLabCut's own files; the csv stays float32, which is shorter
        # format="table" is what DeepLabCut uses, and the only one that can be appended to
        frame.to_hdf(path, key=DLC_KEY, mode="a" if number else "w", format="table", append=number > 0)


def _write_slp(source: TrackSource, path: Path, skeleton: Skeleton | None) -> None:
    """Let sleap-io write a file without frames, then fill its three long tables piece by piece.

    sleap-io's own writer uses one Python object per point, which takes gigabytes for long videos.  The record types are
    those that sleap-io has just written, whatever its version.
    """
    import h5py

    _write_empty_slp(source.info, len(source), path, skeleton)
    with h5py.File(path, "r+") as file:
        tables = {name: _growing(file, name) for name in ("frames", "instances", "pred_points")}
        for part in source.pieces():
            _append_slp(tables, part)


def _write_empty_slp(info: TrackInfo, frames: int, path: Path, skeleton: Skeleton | None) -> None:
    import sleap_io as sio

    skeleton = skeleton or Skeleton(info.keypoint_names)
    names = skeleton.names
    sleap_skeleton = sio.Skeleton(
        nodes=list(names),
        edges=[(names[a], names[b]) for a, b in skeleton.edges],
        symmetries=[(names[a], names[b]) for a, b in skeleton.mirror_pairs],
        name="keypoints",
    )
    height, width = info.frame_size
    name = printable(info.video)
    known = {"filename": name, "shape": [frames, height, width, 3], "fps": info.fps}
    video = sio.Video(filename=name, backend_metadata=known, open_backend=False)
    labels = sio.Labels(
        videos=[video],
        skeletons=[sleap_skeleton],
        tracks=[sio.Track(name) for name in animal_names(info.animals)],
        provenance={"written_by": SCORER, "origin": info.origin},
    )
    sio.save_slp(labels, str(path), verbose=False)


def _growing(file: Any, name: str) -> Any:
    """Replace an empty table by a growing one of the same type."""
    dtype = file[name].dtype
    del file[name]
    return file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(8192,))


def _append_slp(tables: dict[str, Any], part: Tracks) -> None:
    frames, _, keypoints = part.confidence.shape
    present: Any = ~np.isnan(part.points_px).any(-1)  # (N, I, K)
    seen = present.any(-1)  # (N, I): an animal without any keypoint is not an instance
    frame_of, track = np.nonzero(seen)
    first_frame, first_instance = len(tables["frames"]), len(tables["instances"])
    first_point = len(tables["pred_points"])

    instances = np.zeros(len(track), tables["instances"].dtype)
    number = np.arange(len(track))
    starts = first_point + number * keypoints
    visible = present[seen]
    score = (part.confidence[seen] * visible).sum(-1) / visible.sum(-1)
    _fill(instances, instance_id=first_instance + number, instance_type=1, frame_id=first_frame + frame_of)
    _fill(instances, track=track, from_predicted=-1, score=score)
    _fill(instances, point_id_start=starts, point_id_end=starts + keypoints)

    points = np.zeros(len(track) * keypoints, tables["pred_points"].dtype)
    x, y = part.points_px[seen].reshape(-1, 2).T
    _fill(points, x=x, y=y, visible=visible.reshape(-1), score=part.confidence[seen].reshape(-1))

    rows = np.zeros(frames, tables["frames"].dtype)
    ends = first_instance + np.cumsum(seen.sum(-1))
    index = np.arange(first_frame, first_frame + frames)
    _fill(rows, frame_id=index, frame_idx=index, instance_id_end=ends)
    _fill(rows, instance_id_start=ends - seen.sum(-1))
    for name, records in (("frames", rows), ("instances", instances), ("pred_points", points)):
        table = tables[name]
        table.resize(len(table) + len(records), axis=0)
        table[len(table) - len(records) :] = records


def _fill(records: Any, **columns: Any) -> None:
    for name, values in columns.items():
        records[name] = values


Writer = Callable[[TrackSource, Path, Skeleton | None], None]
FORMATS: dict[str, tuple[str, Writer]] = {
    "slp": (".slp", _write_slp),
    "csv": (".csv", _write_tidy),
    "dlc_csv": (".dlc.csv", _write_dlc_csv),
    "dlc_h5": (".dlc.h5", _write_dlc_h5),
}
