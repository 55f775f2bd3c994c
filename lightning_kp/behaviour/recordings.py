"""Files of a recording: its keypoints, in any readable format, and its behaviour labels."""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.arena.recording import read_truth
from lightning_kp.behaviour.bouts import MAJORITY, Bout, Labels, majority, read_bouts, to_bouts, to_labels
from lightning_kp.errors import DataError, did_you_mean
from lightning_kp.labels.truth import TRUTH_SUFFIX, is_truth
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.table import TrackInfo, Tracks, make_tracks

# Files with the most information come first.
SUFFIXES = (TRUTH_SUFFIX, ".csv", ".slp", ".dlc.h5", ".dlc.csv", ".h5", ".npz")
LABEL_SUFFIX = ".behaviour.csv"


def find_recordings(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Find the keypoint files of recordings.

    Args:
        folder: The folder of the files.
        patterns: Patterns of names of recordings, such as ``mouse0*``.

    Returns:
        One file for each recording, by its name.

    Raises:
        DataError: No file matches a pattern.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        file, mark, _ = pattern.partition(".slp#")  # one video of a file of several
        is_known = bool(mark) and (folder / f"{file}.slp").is_file()
        if is_known:
            found.setdefault(recording_name(Path(pattern)), folder / pattern)
        for suffix in SUFFIXES:
            for path in sorted(folder.glob(f"{pattern}{suffix}")):
                name = recording_name(path)
                if path.name == name + suffix and not path.name.endswith(LABEL_SUFFIX):
                    found.setdefault(name, path)
                    is_known = True
        if not is_known:
            available = sorted(
                {recording_name(path) for path in folder.glob("*") if path.name.endswith(SUFFIXES)}
            )
            raise DataError(
                f"{folder} has no keypoint file named {pattern}.",
                remedy=did_you_mean(pattern, available) if available else "Give the folder of the tracks.",
            )
    return found


def recording_name(path: Path) -> str:
    """Name of a recording: the name of its file without the suffix.

    >>> recording_name(Path("a/mouse.dlc.csv")), recording_name(Path("two.slp#day2.mp4"))
    ('mouse', 'two#day2')
    """
    file, mark, video = path.name.partition(".slp#")  # one video of a file of several
    if mark:
        return f"{file}#{Path(video).stem}"
    suffixes = [suffix for suffix in SUFFIXES if path.name.endswith(suffix)]
    return path.name.removesuffix(max(suffixes, key=len, default=path.suffix))


def unique_recordings(files: Sequence[Path]) -> list[Path]:
    """Keep one file of each recording, since `kp track` writes several formats and a glob matches them all.

    Raises DataError if two folders have a recording of the same name, because results and measurements are found by
    name.
    """
    named: dict[str, Path] = {}
    for file in files:
        first = named.setdefault(recording_name(file), file)
        if first.parent.resolve() != file.parent.resolve():
            raise DataError(
                f"{first} and {file} have the same name, {recording_name(file)}.",
                remedy="Rename one of them, or run the command for each, with different --out folders.",
            )
        if _rank(file) < _rank(first):
            named[recording_name(file)] = file
    return list(named.values())


def _rank(file: Path) -> int:
    """Position of a file's format in SUFFIXES; the format with the most information is 0."""
    suffix = file.name.removeprefix(recording_name(file))
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)


def read_keypoints(path: Path, fps: float = 0.0, frame_size: Sequence[int] = ()) -> Tracks:
    """Read the tracks of one recording.

    Formats are those of :func:`lightning_kp.tracks.reading.read_tracks`; the ground truth of a rendered arena, with
    confidence 1 for a visible and 0 for a covered point; and ``.npz`` files with ``points`` (N, K, 2) or
    (N, I, K, 2) in pixels and optionally ``likelihood`` (N, K) or (N, I, K), ``node_names`` (K,) and ``fps``.

    Args:
        path: The file.
        fps: Frames per second, used if the file does not give them; 0 = unknown.
        frame_size: Height and width in pixels, used if the file does not give them.

    Raises:
        DataError: The file cannot be read.
    """
    if is_truth(path):
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
    """Select keypoints by name, in the given order.  Raises DataError for an unknown name."""
    for name in names:
        if name not in tracks.keypoint_names:
            raise DataError(
                f"{tracks.video} has no keypoint called {name}.",
                remedy=did_you_mean(name, tracks.keypoint_names),
            )
    order = [tracks.keypoint_names.index(name) for name in names]
    return replace(
        tracks,
        keypoint_names=tuple(names),
        points_px=tracks.points_px[:, :, order],
        confidence=tracks.confidence[:, :, order],
        covariance_px=tracks.covariance_px[:, :, order],
        peak=None if tracks.peak is None else tracks.peak[:, :, order],
    )


def label_file(root: Path, pattern: str, name: str) -> Path:
    """Path of a recording's label file: ``pattern`` with {name} filled in.  Raises DataError if it does not exist."""
    path = root / pattern.replace("{name}", name)
    if not path.is_file():
        raise DataError(
            f"There are no behaviour labels of {name}: {path} does not exist.",
            remedy="Write a file with the columns behaviour, start_frame, stop_frame, and give its path: "
            "--data.labels='labels/{name}.behaviour.csv'",
        )
    return path


def check_spelling(names: Iterable[str]) -> None:
    """Raise DataError if two behaviours differ in upper and lower case only."""
    known: dict[str, str] = {}
    for name in sorted(names):
        other = known.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(
                f"The labels call a behaviour both {other} and {name}.",
                remedy="Write it alike in all files of labels.",
            )


def warn_of_unknown(seen: Mapping[str, Iterable[str]], known: Iterable[str]) -> None:
    """Warn of behaviours of the test recordings, by recording, that no training recording shows."""
    known = set(known)
    check_spelling(known.union(*seen.values()))
    found = {name: sorted(set(names) - known) for name, names in seen.items()}
    if unknown := sorted({each for names in found.values() for each in names}):
        where = ", ".join(name for name, names in found.items() if names)
        warnings.warn(
            f"The test labels ({where}) have {', '.join(unknown)}, which no training recording shows: their frames "
            "count as those without a behaviour of interest.",
            stacklevel=2,
        )


class RaterLabels:
    """Behaviour labels of one recording, by rater, before the behaviours are numbered.

    Args:
        path: A csv file of bouts, or the ground truth of a rendered arena.
        tracks: The recording's tracks of N frames.
        video: Name of the recording.
        animal: Use only the labels of this animal, if given.
        rater: Use only the labels of this rater, if given; MAJORITY takes the majority of all raters.

    Raises:
        DataError: The file cannot be read, or several raters labelled the recording and ``rater`` is not given.
    """

    def __init__(self, path: Path, tracks: Tracks, *, video: str, animal: str = "", rater: str = "") -> None:
        self.path, self.frames, self.rater = path, len(tracks), rater
        self.by_rater: dict[str, list[Bout]]
        if is_truth(path):
            self.by_rater = {"": _arena_bouts(path, animal)}
        else:
            times = tracks.times_s if tracks.fps > 0 else None
            self.by_rater = read_bouts(
                path, tracks.fps, video=video, animal=animal, rater=rater, times_s=times
            )
        if len(self.by_rater) > 1 and rater != MAJORITY:
            raise DataError(
                f"{path} holds the labels of {', '.join(self.by_rater)}.",
                remedy="Choose one with --data.rater=NAME, or use --data.rater=majority.",
            )

    @property
    def names(self) -> set[str]:
        """Names of the behaviours that occur within the recording."""
        bouts = (bout for each in self.by_rater.values() for bout in each)
        return {bout.behaviour for bout in bouts if bout.start < self.frames}

    def labels(self, names: Sequence[str], background: str | None) -> Labels:
        """Labels (N,) of the frames, as positions in ``names``; see :func:`lightning_kp.behaviour.bouts.to_labels`."""
        votes = [to_labels(each, self.frames, names, background) for each in self.by_rater.values()]
        if len(votes) > 1:
            return majority(votes)
        return votes[0] if votes else to_labels((), self.frames, names, background)


def _arena_tracks(path: Path) -> Tracks:
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
    truth = read_truth(path)
    digits = (animal or "animal1").removeprefix("animal")
    number = int(digits) if digits.isdigit() else 0
    if not 1 <= number <= truth.behaviour.shape[1]:
        raise DataError(
            f"{path} has no animal called {animal}; it has {truth.behaviour.shape[1]}.",
            remedy=f"Give --data.animal=animal1 to animal{truth.behaviour.shape[1]}.",
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
            f"{path}: the shape of `points` is {shape}.",
            remedy="It has to be (frames, keypoints, 2) or (frames, animals, keypoints, 2).",
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
