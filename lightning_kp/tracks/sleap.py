"""Tracks of one video from a SLEAP file: corrections replace predictions, and tracks keep their rows."""

import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.tracks.table import Floats, TrackInfo, check_size, fits_in_memory


class SleapTracks(NamedTuple):
    """Description, points (N, I, K, 2) in pixels and confidence (N, I, K); NaN where there is no point."""

    info: TrackInfo
    points_px: Floats
    confidence: Floats


def split_video(path: Path) -> tuple[Path, str]:
    """Split ``FILE.slp#VIDEO`` into the file and the name or number of one of its videos; "" without one.

    >>> split_video(Path("both.slp#day2.mp4"))
    (PosixPath('both.slp'), 'day2.mp4')
    """
    file, mark, video = str(path).partition(".slp#")
    return (Path(f"{file}.slp"), video) if mark and not path.exists() else (path, "")


def read_slp(path: Path, asked: str = "") -> SleapTracks:
    """Read the tracks of one video of a SLEAP file.

    A user instance takes the place of the prediction that it corrects, and of the one in its track.  Instances without
    a track are rows of their own, after the tracks.

    Args:
        path: The file.
        asked: Name or number (from 1) of the video; not needed if only one has frames.

    Raises:
        DataError: The file has several videos, or not the one asked for.
        ValueError: A frame number or a skeleton cannot be used.
    """
    import sleap_io as sio

    try:
        labels = sio.load_slp(str(path), open_videos=False)
    except OSError:
        raise
    except Exception as error:  # damaged tables end in errors of many kinds
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error
    if not labels.skeletons:
        raise ValueError("it has no skeleton, so its points have no names")
    video = _chosen_video(path, labels, asked)
    frames = _frames(labels, video)
    used = {id(_track(each)) for instances in frames.values() for each in instances}
    tracks = [track for track in labels.tracks if len(labels.videos) == 1 or id(track) in used]
    rows = _Rows(path, [id(track) for track in tracks], frames)
    names = tuple(labels.skeletons[0].node_names)
    known = video.backend_metadata or {}
    stated, height, width = (int(value or 0) for value in [*(known.get("shape") or (0, 0, 0))][:3])
    length = _length(stated, frames, rows.animals * len(names))
    values = np.full((length, rows.animals, len(names), 3), np.nan, np.float32)
    for number, instances in frames.items():
        for row, instance in rows.of(instances):
            values[number, row] = _values(instance, names)
    rows.tell()
    info = TrackInfo(_full_name(video), (height, width), float(known.get("fps") or 0), names, rows.animals)
    return SleapTracks(info, values[..., :2], values[..., 2])


def _length(stated: int, frames: dict[int, list[Any]], keypoints: int) -> int:
    """Number of frames: what the header states, which is not believed beyond measure, or what the file holds."""
    held = max(frames, default=-1) + 1
    check_size(held, 1, keypoints)
    return max(stated, held) if fits_in_memory(stated, 1, keypoints) else held


def _chosen_video(path: Path, labels: Any, asked: str) -> Any:
    """The video asked for, else the only one that has frames."""
    if not labels.videos:
        raise ValueError("it names no video")
    names = [PurePosixPath(_full_name(video)).name for video in labels.videos]
    listed = ", ".join(f"{number} = {name}" for number, name in enumerate(names, start=1))
    remedy = f"Choose one by its name or number, such as {path}#{names[-1]} or {path}#{len(names)}."
    if asked:
        found = [
            video
            for number, (name, video) in enumerate(zip(names, labels.videos, strict=True), start=1)
            if asked in (str(number), name, PurePosixPath(name).stem, _full_name(video))
        ]
    else:
        with_frames = {id(frame.video) for frame in labels}
        found = [video for video in labels.videos if id(video) in with_frames] or labels.videos[:1]
    if len(found) != 1:
        what = f"has no single video called {asked}" if asked else "holds tracks of several videos"
        raise DataError(f"{path} {what}; its videos are {listed}.", remedy=remedy)
    return found[0]


def _full_name(video: Any) -> str:
    """The path of a video as the file names it, with slashes; of a list of images, their folder."""
    name = video.filename
    if isinstance(name, list):
        return str(PurePosixPath(str(name[0]).replace("\\", "/")).parent) if name else ""
    if video.source_video is not None and str(name).endswith(".slp"):  # a package holds the images itself
        return _full_name(video.source_video)
    return str(name).replace("\\", "/")


def _frames(labels: Any, video: Any) -> dict[int, list[Any]]:
    """Instances of each frame of a video, by its number; a frame may stand in the file more than once."""
    found: dict[int, list[Any]] = {}
    for frame in labels:
        if frame.video is video:
            found.setdefault(int(frame.frame_idx), []).extend(frame.instances)
    if min(found, default=0) < 0:
        raise ValueError(f"it has a frame with the number {min(found)}")
    return {number: _corrected(instances) for number, instances in sorted(found.items())}


def _is_predicted(instance: Any) -> bool:
    import sleap_io as sio

    return isinstance(instance, sio.PredictedInstance)


def _track(instance: Any) -> Any:
    """The track of an instance, else that of the prediction that it corrects; None without one."""
    source = getattr(instance, "from_predicted", None)
    return instance.track if instance.track is not None or source is None else source.track


def _corrected(instances: Sequence[Any]) -> list[Any]:
    """Instances without the predictions that a user corrected; the correction stands in the prediction's place."""
    users = [each for each in instances if not _is_predicted(each)]
    by_prediction = {id(each.from_predicted): each for each in users if each.from_predicted is not None}
    taken = {id(_track(each)) for each in users if _track(each) is not None}
    found = []
    for each in instances:
        if not _is_predicted(each):
            continue
        if id(each) in by_prediction:
            found.append(by_prediction[id(each)])
        elif id(each.track) not in taken:
            found.append(each)
    placed = {id(each) for each in found}
    return found + [each for each in users if id(each) not in placed]


class _Rows:
    """Which of the I rows each instance takes: that of its track, else one after those of all tracks."""

    def __init__(self, path: Path, tracks: list[int], frames: dict[int, list[Any]]) -> None:
        self.path = path
        self.tracks = {track: row for row, track in enumerate(tracks)}
        self.doubled = self.untracked = 0
        self.room = 0  # for instances without a track: as many as there are of one kind in any frame
        for instances in frames.values():
            alone = [_is_predicted(each) for each in instances if _track(each) is None]
            corrections = sum(
                _track(each) is None and getattr(each, "from_predicted", None) is not None
                for each in instances
            )
            self.room = max(self.room, sum(alone) + corrections, len(alone) - sum(alone))
        self.animals = max(1, len(self.tracks) + self.room)

    def of(self, instances: Sequence[Any]) -> list[tuple[int, Any]]:
        """The row of each instance of a frame that has one."""
        found: dict[int, Any] = {}
        tracked = [each for each in instances if _track(each) is not None]
        for each in sorted(tracked, key=lambda one: (_is_predicted(one), -getattr(one, "score", 0.0))):
            self.doubled += self.tracks[id(_track(each))] in found
            found.setdefault(self.tracks[id(_track(each))], each)
        alone = _without_doubles([each for each in instances if _track(each) is None], self.room)
        self.untracked += len(alone)
        return [*found.items(), *enumerate(alone, start=len(self.tracks))]

    def tell(self) -> None:
        """Warn of instances whose rows are not certain."""
        if self.tracks and self.untracked:
            warnings.warn(
                f"{self.path}: {self.untracked} instances have no track. They are "
                f"animal{len(self.tracks) + 1} to animal{self.animals}, after the {len(self.tracks)} tracks.",
                stacklevel=3,
            )
        if self.doubled:
            warnings.warn(
                f"{self.path}: {self.doubled} instances are second ones of their track in a frame and are left out.",
                stacklevel=3,
            )


def _without_doubles(instances: list[Any], room: int) -> list[Any]:
    """At most ``room`` instances: predictions that lie nearest to what a user set are left out."""
    kept = list(instances)
    while len(kept) > room:
        users = [each.numpy()[:, :2] for each in kept if not _is_predicted(each)]
        guesses = [each for each in kept if _is_predicted(each)]
        nearest = min(guesses, key=lambda each: min(_distance(each.numpy()[:, :2], user) for user in users))
        kept = [each for each in kept if each is not nearest]
    return kept


def _distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Mean distance between the points (K, 2) that both have; infinite if there is none."""
    if first.shape != second.shape:
        return float("inf")
    apart = np.linalg.norm(first - second, axis=-1)
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else float("inf")


def _values(instance: Any, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Points and confidence (K, 3) of an instance, in the order of ``names``."""
    nodes = list(instance.skeleton.node_names)
    if set(nodes) != set(names):
        raise ValueError(f"it has animals with the points {', '.join(nodes)} and with {', '.join(names)}")
    score = instance.points["score"] if _is_predicted(instance) else np.ones(len(nodes))
    found = np.column_stack((instance.numpy()[:, :2], score))
    return np.asarray(found[[nodes.index(name) for name in names]], np.float64)
