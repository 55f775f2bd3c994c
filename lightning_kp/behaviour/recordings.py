"""Files of one recording: its keypoints, in any format that we read, and the behaviours that were scored."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.behaviour.bouts import MAJORITY, Bout, Labels, majority, read_bouts, to_bouts, to_labels
from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.table import TrackInfo, Tracks, make_tracks

# Those that hold most first.
SUFFIXES = (".truth.npz", ".csv", ".slp", ".dlc.h5", ".dlc.csv", ".h5", ".npz")
LABELS = ".behaviour.csv"


def find_recordings(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Keypoint files by name of recording, for patterns of names such as ``mouse0*``; one file for each.

    Raises DataError for a pattern that no file has.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        is_known = False
        for suffix in SUFFIXES:
            for path in sorted(folder.glob(f"{pattern}{suffix}")):
                name = stem_of(path)
                if path.name == name + suffix and not path.name.endswith(LABELS):
                    found.setdefault(name, path)
                    is_known = True
        if not is_known:
            there = sorted({stem_of(path) for path in folder.glob("*") if path.name.endswith(SUFFIXES)})
            raise DataError(
                f"{folder} has no keypoints named {pattern}.",
                remedy=did_you_mean(pattern, there) if there else "Give the folder that holds the tracks.",
            )
    return found


def stem_of(path: Path) -> str:
    """The name of a recording: that of its file without the suffix."""
    suffixes = [suffix for suffix in SUFFIXES if path.name.endswith(suffix)]
    return path.name.removesuffix(max(suffixes, key=len, default=path.suffix))


def one_of_each(files: Sequence[Path]) -> list[Path]:
    """One file of each recording: `kp track` writes several formats of one, and a glob names them all.

    Raises DataError where recordings of several folders have one name: results are kept, and measurements found,
    by name.
    """
    named: dict[str, Path] = {}
    for file in files:
        first = named.setdefault(stem_of(file), file)
        if first.parent.resolve() != file.parent.resolve():
            raise DataError(
                f"{first} and {file} have one name, {stem_of(file)}.",
                remedy="Rename one of them, or give them one at a time with an --out of their own.",
            )
        if _fullness(file) < _fullness(first):
            named[stem_of(file)] = file
    return list(named.values())


def _fullness(file: Path) -> int:
    """The place of a file's format in SUFFIXES, those that hold most first."""
    suffix = file.name.removeprefix(stem_of(file))
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)


def read_keypoints(path: Path, fps: float = 0.0, frame_size: Sequence[int] = ()) -> Tracks:
    """Tracks of one recording; ``fps`` and ``frame_size`` (height, width) stand in for what the file lacks.

    Beside the tables of :func:`read_tracks`: the truth of a rendered arena, whose confidence is 1 where a
    point is seen and 0 where it is covered, and ``.npz`` with ``points`` (N, K, 2) or (N, I, K, 2) in
    pixels and, if known, ``likelihood`` without the last axis, ``node_names`` (K,), ``fps``.
    """
    if path.name.endswith(".truth.npz"):
        tracks = _arena_tracks(path)
    elif path.suffix == ".npz":
        tracks = _npz_tracks(path)
    else:
        tracks = read_tracks(path)
    if not tracks.video:
        tracks = replace(tracks, video=path.name)
    if fps > 0 and not tracks.fps > 0:
        tracks = replace(tracks, fps=fps, times_s=np.arange(len(tracks)) / fps)
    if frame_size and tracks.frame_size == (0, 0):
        tracks = replace(tracks, frame_size=(int(frame_size[0]), int(frame_size[1])))
    return tracks


def select_keypoints(tracks: Tracks, names: Sequence[str]) -> Tracks:
    """The keypoints of these names, in this order.  Raises DataError for one that is not there."""
    for name in names:
        if name not in tracks.keypoint_names:
            raise DataError(
                f"{tracks.video} has no keypoint {name}.", remedy=did_you_mean(name, tracks.keypoint_names)
            )
    order = [tracks.keypoint_names.index(name) for name in names]
    return replace(
        tracks,
        keypoint_names=tuple(names),
        points_px=tracks.points_px[:, :, order],
        confidence=tracks.confidence[:, :, order],
        covariance_px=tracks.covariance_px[:, :, order],
    )


def label_file(root: Path, pattern: str, name: str) -> Path:
    """The label file of a recording: ``pattern`` with {name} filled in.  Raises DataError where there is none."""
    path = root / pattern.replace("{name}", name)
    if not path.is_file():
        raise DataError(
            f"There are no behaviour labels of {name}: no file {path}.",
            remedy="Write one with the columns behaviour, start_frame, stop_frame, and give its place: "
            "--data.labels='labels/{name}.behaviour.csv'",
        )
    return path


class Scored:
    """The behaviours that raters saw in one recording, before their names are numbered."""

    def __init__(self, path: Path, tracks: Tracks, *, video: str, animal: str = "", rater: str = "") -> None:
        self.path, self.frames, self.rater = path, len(tracks), rater
        self.by_rater: dict[str, list[Bout]]
        if path.name.endswith(".truth.npz"):
            self.by_rater = {"": _arena_bouts(path, animal)}
        else:
            self.by_rater = read_bouts(path, tracks.fps, video=video, animal=animal, rater=rater)
        if len(self.by_rater) > 1 and rater != MAJORITY:
            raise DataError(
                f"{path} holds the labels of {', '.join(self.by_rater)}.",
                remedy="Choose one: --data.rater=NAME, or --data.rater=majority.",
            )

    @property
    def names(self) -> set[str]:
        """Behaviours that occur within the recording."""
        bouts = (bout for each in self.by_rater.values() for bout in each)
        return {bout.behaviour for bout in bouts if bout.start < self.frames}

    def labels(self, names: Sequence[str], background: str | None) -> Labels:
        """One label (N,) per frame."""
        votes = [to_labels(each, self.frames, names, background) for each in self.by_rater.values()]
        return majority(votes) if len(votes) > 1 else votes[0] if votes else to_labels(
            (), self.frames, names, background
        )  # fmt: skip


def _arena_tracks(path: Path) -> Tracks:
    from lightning_kp.arena.recording import read_truth

    truth = read_truth(path)
    with np.load(path, allow_pickle=False) as stored:
        settings = json.loads(str(stored["settings"]))
    side, fps = int(settings["size"]), float(settings["fps"])
    frames, animals, keypoints = truth.points_px.shape[:3]
    info = TrackInfo(path.name, (side, side), fps, truth.keypoint_names, animals)
    arrays = {
        "times_s": np.arange(frames) / fps,
        "points_px": truth.points_px.astype(np.float32),
        "confidence": truth.visible.astype(np.float32),
        "covariance_px": np.full((frames, animals, keypoints, 3), np.nan, np.float32),
    }
    return make_tracks(info, arrays)


def _arena_bouts(path: Path, animal: str) -> list[Bout]:
    from lightning_kp.arena.recording import read_truth

    truth = read_truth(path)
    digits = (animal or "animal1").removeprefix("animal")
    number = int(digits) if digits.isdigit() else 0
    if not 1 <= number <= truth.behaviour.shape[1]:
        raise DataError(
            f"{path} has {truth.behaviour.shape[1]} animals and none called {animal}.",
            remedy="--data.animal=animal1",
        )
    return to_bouts(truth.behaviour[:, number - 1].astype(np.int64), truth.behaviour_names)


def _npz_tracks(path: Path) -> Tracks:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", remedy="Give an .npz of plain arrays.") from error
    points = arrays.get("points")
    if points is None or points.ndim not in (3, 4) or points.shape[-1] != 2:
        shape = "none" if points is None else str(points.shape)
        raise DataError(
            f"{path}: `points` is {shape}.", remedy="It needs (frames, keypoints, 2), or with animals second."
        )
    points = points[:, None] if points.ndim == 3 else points
    confidence = arrays.get("likelihood", np.isfinite(points).all(-1)).reshape(points.shape[:3])
    names = arrays.get("node_names", [f"kp{k + 1:02d}" for k in range(points.shape[2])])
    fps = float(arrays.get("fps", 0.0))
    info = TrackInfo(path.name, (0, 0), fps, tuple(map(str, names)), points.shape[1])
    return make_tracks(
        info,
        {
            "times_s": np.arange(len(points)) / (fps or 1.0),
            "points_px": points.astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "covariance_px": np.full((*points.shape[:3], 3), np.nan, np.float32),
        },
    )
