"""Fly vs. Fly: two flies in a chamber, tracked by FlyTracker; experts annotated the bouts of each fly.

Source: Eyjolfsdottir et al., Detecting Social Actions of Fruit Flies, ECCV 2014; layout as published and as
documented by FlyTracker: one folder for each movie, with MATLAB files (before version 7.3)::

    movie1/movie1_track.mat    trk.names {1 x fields}, trk.data [2 flies x frames x fields]
    movie1/movie1_feat.mat     feat.names, feat.data   (hand-crafted features, in the same layout)
    movie1/movie1_actions.mat  behs {1 x behaviours}, bouts {2 flies x behaviours} of [first last flag], from 1

Each fly is a recording of its own, ``movie1/fly1``, in which it comes first and the other fly second (ours:
the paper does not say whose behaviour its classifiers predict). Tracks of another tool number the flies as they like:
that animal is fly 1 which is nearer to FlyTracker's fly 1 over the whole movie (the paper orders the two by their y).
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.behaviour.bases import BehaviourModule, Split
from lightning_kp.behaviour.bouts import Bout, to_labels
from lightning_kp.behaviour.recordings import find_recordings, read_keypoints
from lightning_kp.behaviour.windows import Recording
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.tracks.table import Floats, TrackInfo, Tracks, make_tracks
from lightning_kp.tracks.trajectories import fill_gaps

PARTS = ("head", "body", "abdomen", "left_wing", "right_wing")
FLIES = 2
HAND_CRAFTED = "flytracker"  # the features of feat.mat instead of ours (000, Table 5.2, first row)
BACKGROUND = "other"
NEEDED = ("pos x", "pos y", "ori", "major axis len", "wing l x", "wing l y", "wing r x", "wing r y")


class FlyVsFly(BehaviourModule):
    """Windows of Fly vs. Fly movies.

    The windows are those of CalMS21 with steps of one frame (000, 5.8).

    Args:
        train: Numbers of the movies to train on. The paper (5.5) trains on 1229k frames and tests on 322k, 79:21, and
            does not say which movies they are; eight of the ten movies come nearest to that.
        test: Numbers of the movies to test on.
        folder: Folder that holds the folders of the movies; relative paths start from ``root``.
        behaviours: Behaviours of interest; empty: all with more than ``min_frames`` training frames (000, 5.8).
        min_frames: See ``behaviours``.
        tracks: Folder of tracks of two animals that replace FlyTracker's, one file for each movie (``movie1.csv``).
        features: Any of pose, confidence, covariance, speed, acceleration, distances, angles (000, 5.5: all of them
            for discovered keypoints; FlyTracker's have no covariance); or ``flytracker`` alone, the hand-crafted
            features that come with the movies.
        frame_size: Height and width of the movies in pixels (000, 5.8).
        fps: Frames per second (000, 5.8).
        stride: Frames in a step (000, 5.8: flies move faster than mice).
        windows: Other options of the windows; see :class:`lightning_kp.behaviour.bases.BehaviourModule`.
    """

    def __init__(
        self,
        train: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8),
        test: Sequence[int] = (9, 10),
        folder: str = "Aggression",
        behaviours: Sequence[str] = (),
        min_frames: int = 1000,
        tracks: str | None = None,
        features: Sequence[str] = ("speed", "acceleration", "distances", "angles"),
        frame_size: Sequence[int] = (144, 144),
        fps: float = 30.0,
        stride: int = 1,
        **windows: Any,
    ) -> None:
        super().__init__(features=features, stride=stride, **windows)
        if both := sorted(set(train) & set(test)):
            raise ConfigurationError(
                f"Movie {both[0]} is in both train and test.",
                remedy="Give other numbers of movies: --data.test=[...].",
            )
        if HAND_CRAFTED in features and len(self.features) > 1:
            raise ConfigurationError(
                f"The features {HAND_CRAFTED} cannot be combined with other features.",
                remedy=f"Set --data.features=[{HAND_CRAFTED}].",
            )
        self.train, self.test, self.folder = tuple(train), tuple(test), folder
        self.wanted, self.min_frames, self.tracks = tuple(behaviours), min_frames, tracks
        self.frame_size, self.fps = tuple(frame_size), fps

    def read(self, split: Split) -> list[Recording]:
        """Two recordings for each movie, one for each fly."""
        movies = [f"movie{number}" for number in (self.train if split == "train" else self.test)]
        bouts = {name: self._bouts(name) for name in movies}
        if split == "train":
            self.behaviours, self.background = self._choose(bouts), BACKGROUND
        found = []
        for name in movies:
            tracks, crafted = self._tracks(name), self._crafted(name)
            for fly in range(FLIES):
                order = [fly, 1 - fly]
                labels = to_labels(bouts[name][fly], len(tracks), self.behaviours, BACKGROUND)
                own = None if crafted is None else np.concatenate([crafted[each] for each in order], axis=1)
                found.append(Recording(f"{name}/fly{fly + 1}", _ordered(tracks, order), labels, own))
        return found

    def _file(self, name: str, kind: str) -> Path:
        return self.path(self.folder) / name / f"{name}_{kind}.mat"

    def _choose(self, bouts: dict[str, list[list[Bout]]]) -> tuple[str, ...]:
        """The behaviours of interest, followed by the background."""
        frames: dict[str, int] = {}
        for bout in (bout for flies in bouts.values() for each in flies for bout in each):
            frames[bout.behaviour] = frames.get(bout.behaviour, 0) + bout.stop - bout.start + 1
        chosen = self.wanted or tuple(sorted(each for each in frames if frames[each] > self.min_frames))
        missing = [name for name in chosen if name not in frames]
        if missing or not chosen:
            counted = ", ".join(f"{name} {count}" for name, count in sorted(frames.items()))
            problem = (
                f"have no {missing[0]}"
                if missing
                else f"have no behaviour in more than {self.min_frames} frames"
            )
            raise DataError(
                f"The training movies {problem}; annotated frames: {counted or 'none'}.",
                remedy="Choose other --data.behaviours, or lower --data.min_frames.",
            )
        return (*chosen, BACKGROUND)

    def _bouts(self, name: str) -> list[list[Bout]]:
        """Bouts of each fly."""
        path = self._file(name, "actions")
        content = _load(path)
        behs, cells = _key(path, content, "behs"), _key(path, content, "bouts")
        names = [str(np.ravel(each)[0]) for each in np.ravel(behs)]
        if cells.shape != (FLIES, len(names)):
            raise _refuse(
                path, "bouts", f"shape {cells.shape}, but {(FLIES, len(names))} is needed to match behs"
            )
        return [
            [bout for beh, cell in zip(names, row, strict=True) for bout in _cell(path, fly, beh, cell)]
            for fly, row in enumerate(cells)
        ]

    def _tracks(self, name: str) -> Tracks:
        path = self._file(name, "track")
        info = TrackInfo(name, (self.frame_size[0], self.frame_size[1]), self.fps, PARTS, FLIES)
        known = _from_flytracker(info, *_table(path, "trk"), path)
        if self.tracks is None:
            return known
        found = find_recordings(self.path(self.tracks), [name])[name]
        tracks = read_keypoints(found, self.fps, self.frame_size)
        if (len(tracks), tracks.points_px.shape[1]) != (len(known), FLIES):
            raise DataError(
                f"{found} has {len(tracks)} frames of {tracks.points_px.shape[1]} animals, but {path} has {len(known)} "
                f"of {FLIES}.",
                remedy="Track this movie with a method for several animals, such as MultiInstanceBKinD.",
            )
        return _ordered(tracks, _order_of(tracks, known))

    def _crafted(self, name: str) -> Floats | None:
        """Hand-crafted features (flies, frames, F) with gaps filled; None unless they were chosen."""
        if HAND_CRAFTED not in self.features:
            return None
        data, _ = _table(self._file(name, "feat"), "feat")
        filled = [fill_gaps(fly[..., None].astype(np.float32), self.longest_gap)[..., 0] for fly in data]
        return np.stack(filled)


def _order_of(tracks: Tracks, known: Tracks) -> list[int]:
    """Order of the animals of ``tracks`` in which they are, on average, nearest to the flies of ``known``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of frames in which a fly is not seen are NaN
        centres, flies = (np.nanmean(each.points_px, axis=2) for each in (tracks, known))
        distances = np.linalg.norm(centres[:, :, None] - flies[:, None], axis=-1)
        apart = np.nan_to_num(np.nanmean(distances, axis=0))
    return [1, 0] if apart[0, 1] + apart[1, 0] < apart[0, 0] + apart[1, 1] else [0, 1]


def _ordered(tracks: Tracks, order: list[int]) -> Tracks:
    arrays = {name: getattr(tracks, name)[:, order] for name in ("points_px", "confidence", "covariance_px")}
    return make_tracks(tracks.info, {"times_s": tracks.times_s, **arrays})


def _from_flytracker(info: TrackInfo, data: Floats, names: list[str], path: Path) -> Tracks:
    """Head, body, abdomen and wing tips from FlyTracker's ellipse, whose angles are counter-clockwise."""
    if missing := [name for name in NEEDED if name not in names]:
        raise _refuse(path, "trk.names", f"{missing[0]} is missing")
    x, y, angle, major, *wings = (data[..., names.index(name)] for name in NEEDED)
    along = np.stack((np.cos(angle), -np.sin(angle)), axis=-1) * (major / 2)[..., None]
    body = np.stack((x, y), axis=-1)
    left, right = np.stack(wings[:2], axis=-1), np.stack(wings[2:], axis=-1)
    points = np.stack((body + along, body, body - along, left, right), axis=2) - 1  # MATLAB counts from 1
    points_px = np.moveaxis(points, 0, 1).astype(np.float32)
    seen = np.isfinite(points_px).all(axis=-1)
    arrays = {
        "times_s": np.arange(len(points_px)) / info.fps,
        "points_px": points_px,
        "confidence": seen.astype(np.float32),
        "covariance_px": np.full((*seen.shape, 3), np.nan, np.float32),
    }
    return make_tracks(info, arrays)


def _table(path: Path, key: str) -> tuple[Floats, list[str]]:
    """Read ``key.data`` (flies, frames, fields) and ``key.names`` of a MATLAB file."""
    struct = _key(path, _load(path), key)
    if struct.dtype.names is None or not {"names", "data"} <= set(struct.dtype.names):
        raise _refuse(path, key, "it is not a struct with names and data")
    data = np.asarray(struct["data"].flat[0])
    names = [str(np.ravel(each)[0]) for each in np.ravel(struct["names"].flat[0])]
    if data.ndim != 3 or data.shape[0] != FLIES or data.shape[2] != len(names):
        needed = f"({FLIES}, frames, {len(names)})"
        raise _refuse(path, f"{key}.data", f"shape {data.shape}, but {needed} is needed to match {key}.names")
    return data.astype(np.float64), names


def _cell(path: Path, fly: int, behaviour: str, cell: Any) -> list[Bout]:
    """Bouts of one cell; frames count from 1 in the file and from 0 in a Bout."""
    if not np.size(cell):
        return []
    key = f"bouts, fly {fly + 1}, {behaviour}"
    if np.ndim(cell) != 2 or np.shape(cell)[1] < 2:
        raise _refuse(path, key, f"shape {np.shape(cell)}, but (bouts, 3) is needed")
    first, last = np.asarray(cell, np.int64)[:, :2].T
    if (first < 1).any() or (last < first).any():
        raise _refuse(path, key, "a bout begins before frame 1 or ends before it begins")
    return [Bout(behaviour, int(a) - 1, int(b) - 1) for a, b in zip(first, last, strict=True)]


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return dict(loadmat(str(path)))
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}.",
            remedy="Give the folder that holds the folders of the movies: --data.root=FOLDER, --data.folder=FOLDER.",
        ) from error
    except NotImplementedError as error:
        raise DataError(
            f"{path} is a MATLAB 7.3 file.", remedy="Save it again in MATLAB with the option -v7."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read as a MATLAB file: {error}.", remedy="Download it again."
        ) from error


def _key(path: Path, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise _refuse(
            path, key, f"it is missing; the keys are {', '.join(k for k in content if k[0] != '_') or 'none'}"
        )
    return content[key]


def _refuse(path: Path, key: str, problem: str) -> DataError:
    movie = path.parent.name
    return DataError(
        f"{path}, movie {movie}, key {key}: {problem}.", remedy="Give a published Fly vs. Fly file."
    )
