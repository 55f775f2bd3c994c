"""SLEAP files, and everything else that sleap-io reads, as labelled frames."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_kp.errors import DataError
from lightning_kp.images.files import IMAGE_SUFFIXES, Image
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_files, image_reader
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import DecodedFrame


def from_sleap_io(path: Path, labels: Any, problems: list[str]) -> OpenLabels:
    """Convert the ``Labels`` of sleap-io; frames are sorted by video and frame number.

    If the file has any user instances, only these count, else the predicted ones.
    """
    has_user_instances = any(frame.user_instances for frame in labels.labeled_frames)
    number_of = {id(video): number for number, video in enumerate(labels.videos)}
    chosen = []
    for frame in labels.labeled_frames:
        animals = frame.user_instances if has_user_instances else frame.instances
        animals = [animal for animal in animals if not np.isnan(animal.numpy()).all()]
        if animals and not _has_number(frame):
            problems = [*problems, f"frame {frame.frame_idx} is labelled, but its video has no such frame"]
        elif animals:
            chosen.append((number_of.get(id(frame.video), 0), frame, animals))
    chosen.sort(key=lambda each: (each[0], each[1].frame_idx))
    if chosen and not labels.skeletons:
        problems = [*problems, "the file has no skeleton, so its points have no names"]
    names = tuple(labels.skeletons[0].node_names) if labels.skeletons else ()
    slots = _slots(labels, [animals for _, _, animals in chosen])
    sources = [_source(frame) for _, frame, _ in chosen]
    opened: dict[str, _Passes] = {}
    # Two videos, or the images of two folders, may have the same name.
    alike = Counter(_label(source) for source in set(sources))
    frames = []
    for source, (_, frame, animals) in zip(sources, chosen, strict=True):
        label = _label(source) if alike[_label(source)] == 1 else source
        wrong = [animal for animal in animals if tuple(animal.skeleton.node_names) != names]
        if wrong:
            found = ", ".join(wrong[0].skeleton.node_names)
            problems = [
                *problems,
                f"{label} has an animal with the points {found}, but the file's skeleton has {', '.join(names)}",
            ]
            continue
        points = np.full((max(slots.animals, len(animals)), len(names), 2), np.nan)
        for position, animal in enumerate(animals):
            points[slots.row_of(animal, position)] = animal.numpy()[:, :2]
        frames.append(OpenFrame(label, _frame_reader(frame, opened), points, source))
    named = (_label(source) if alike[_label(source)] == 1 else source for source in sources)
    repeated = [f"{name} is labelled {count} times" for name, count in Counter(named).items() if count > 1]
    is_predicted = bool(frames) and not has_user_instances
    return OpenLabels(path, names, frames, [*problems, *repeated], predicted=is_predicted)


class _Slots(NamedTuple):
    """Which row an animal takes: that of its track if there are as many tracks as animals, else its position."""

    animals: int
    tracks: list[int]

    def row_of(self, animal: Any, position: int) -> int:
        """Row of an animal that is at ``position`` in its frame's list."""
        return self.tracks.index(id(animal.track)) if self.tracks else position


def _slots(labels: Any, frames: Sequence[Sequence[Any]]) -> _Slots:
    count = max(map(len, frames), default=0)
    tracks = [id(track) for track in labels.tracks]
    all_tracked = all(animal.track is not None for animals in frames for animal in animals)
    all_distinct = all(len({id(animal.track) for animal in animals}) == len(animals) for animals in frames)
    return _Slots(count, tracks if all_tracked and all_distinct and len(tracks) == count else [])


def _has_number(frame: Any) -> bool:
    """Whether the number of a frame can be: not below 0, and within a list of images."""
    name = frame.video.filename
    return 0 <= int(frame.frame_idx) < (len(name) if isinstance(name, list) else 2**63)


def _source(frame: Any) -> str:
    """Full path of the image of a sleap-io frame, or of its video (and which one of a package) with the number."""
    name, number = frame.video.filename, frame.frame_idx
    if isinstance(name, list):
        return str(Path(name[number]).resolve()) if number < len(name) else f"image {number}"
    path = Path(name).resolve()
    if path.suffix.lower() in IMAGE_SUFFIXES and not number:
        return str(path)
    dataset = frame.video.backend_metadata.get("dataset") if path.suffix == ".slp" else None
    return f"{path} {dataset} frame {number}" if dataset else f"{path} frame {number}"


def _label(source: str) -> str:
    """Name of a frame in messages: without folders, and without the number of a package's video."""
    path, separator, number = source.rpartition(" frame ")
    if not separator:
        return Path(source).name
    return f"{Path(re.sub(r'(?<=[.]slp) .*', '', path)).name}{separator}{number}"


def _frame_reader(frame: Any, opened: dict[str, "_Passes"]) -> Callable[[], Image]:
    """A function that reads a sleap-io frame as RGB (H, W, 3); ``opened`` keeps one reader for each video."""
    name = frame.video.filename
    if isinstance(name, list) and frame.frame_idx < len(name):
        return image_reader(Path(name[frame.frame_idx]))
    if isinstance(name, str) and Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return image_reader(Path(name), frame.frame_idx)
    if Path(name).suffix == ".slp":
        return functools.partial(_packed, frame)
    passes = opened.setdefault(name, _Passes(Path(name)))
    return functools.partial(passes.read, frame.frame_idx)


def _packed(frame: Any) -> Image:
    """Image of a frame that the label file itself holds, RGB (H, W, 3)."""
    if frame.video.backend is None or not hasattr(frame.video.backend, "shape"):
        frame.video.open()
    pixels: Image = np.asarray(frame.image, np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[..., :3])


class _Passes:
    """Reads frames of a video by their number in display order, in one pass as long as the numbers increase.

    Frames are counted, as in tracks, because seeking finds another frame where the rate varies or frames are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, -1
        self.frames: Iterator[DecodedFrame] = iter(())

    def read(self, number: int) -> Image:
        """Image of frame ``number``, RGB (H, W, 3).  Raises DataError if the video is shorter."""
        if number <= self.at or self.at < 0:
            self.frames, self.at = open_video(self.path).decode(), -1
        for frame in self.frames:
            self.at = frame.index
            if frame.index == number:
                return frame.rgb()
        count, self.at = self.at + 1, -1
        raise DataError(
            f"{self.path} has {count} frames, so there is no frame {number} (counted from 0).",
            remedy="Check that it is the video that was labelled.",
        )


def open_sleap(path: Path, folders: list[Path]) -> OpenLabels:
    """Open a SLEAP file (.slp, .pkg.slp); its images and videos are also looked for below ``folders``."""
    import sleap_io as sio

    labels = sio.load_file(str(path), **({"open_videos": False} if path.suffix == ".slp" else {}))
    wanted = [str(name) for video in labels.videos for name in _used_names(labels, video)]
    found = find_files(wanted, folders)
    absent = {str(Path(name).resolve()) for name, file in found.by_name.items() if file is None}
    for video in labels.videos:
        if isinstance(video.filename, list):
            video.filename = [str(found.by_name.get(str(name)) or name) for name in video.filename]
        else:
            video.filename = str(found.by_name.get(str(video.filename)) or video.filename)
    opened = from_sleap_io(path, labels, found.problems)
    # A missing video is listed once, not with each of its frames.
    kept = [frame for frame in opened.frames if not _is_of(frame.source, absent)]
    return opened._replace(frames=kept)


def _used_names(labels: Any, video: Any) -> list[Any]:
    """Names of a video's file, or of its images, that have labelled frames."""
    used = {frame.frame_idx for frame in labels.labeled_frames if frame.video is video and frame.instances}
    if not isinstance(video.filename, list):
        return [video.filename] if used else []
    return [name for number, name in enumerate(video.filename) if number in used]


def _is_of(source: str, files: set[str]) -> bool:
    """Whether a frame's source is one of ``files`` (images), or a frame of one of them (videos)."""
    return source in files or source.rpartition(" frame ")[0] in files
