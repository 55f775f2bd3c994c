"""SLEAP files, and everything else that sleap-io reads, as labelled frames."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_kp.images.files import IMAGE_SUFFIXES, Image
from lightning_kp.labels.frames import OpenFrame, OpenLabels, find_file, image_reader


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
        if animals:
            chosen.append((number_of.get(id(frame.video), 0), frame, animals))
    chosen.sort(key=lambda each: (each[0], each[1].frame_idx))
    if chosen and not labels.skeletons:
        problems = [*problems, "the file has no skeleton, so its points have no names"]
    names = tuple(labels.skeletons[0].node_names) if labels.skeletons else ()
    slots = _slots(labels, [animals for _, _, animals in chosen])
    sources = [_source(frame) for _, frame, _ in chosen]
    opened: dict[str, Any] = {}
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
    return OpenLabels(path, names, frames, [*problems, *repeated])


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


def _source(frame: Any) -> str:
    """Full path of the image of a sleap-io frame, or of its video (and which one of a package) with the number."""
    name, number = frame.video.filename, frame.frame_idx
    if isinstance(name, list):
        return str(Path(name[number]).resolve()) if number < len(name) else f"image {number}"
    path = Path(name).resolve()
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return str(path)
    dataset = frame.video.backend_metadata.get("dataset") if path.suffix == ".slp" else None
    return f"{path} {dataset} frame {number}" if dataset else f"{path} frame {number}"


def _label(source: str) -> str:
    """Name of a frame in messages: without folders, and without the number of a package's video."""
    path, separator, number = source.rpartition(" frame ")
    if not separator:
        return Path(source).name
    return f"{Path(re.sub(r'(?<=[.]slp) .*', '', path)).name}{separator}{number}"


def _frame_reader(frame: Any, opened: dict[str, Any]) -> Callable[[], Image]:
    """A function that reads a sleap-io frame as RGB (H, W, 3); ``opened`` keeps one reader for each video."""
    name = frame.video.filename
    if isinstance(name, list) and frame.frame_idx < len(name):
        return image_reader(Path(name[frame.frame_idx]))
    if isinstance(name, str) and Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return image_reader(Path(name))

    def read() -> Image:
        if frame.video.backend is None or not hasattr(frame.video.backend, "shape"):
            import sleap_io as sio

            if Path(name).suffix == ".slp":
                frame.video.open()
            else:
                if name not in opened:
                    opened[name] = sio.Video.from_filename(name)
                frame.video = opened[name]
        pixels: Image = np.asarray(frame.image, np.uint8)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[..., :3])

    return read


def open_sleap(path: Path, folders: list[Path]) -> OpenLabels:
    """Open a SLEAP file (.slp, .pkg.slp); its images and videos are also looked for below ``folders``."""
    import sleap_io as sio

    labels = sio.load_file(str(path), **({"open_videos": False} if path.suffix == ".slp" else {}))
    missing: list[str] = []
    absent: set[str] = set()
    for video in labels.videos:
        used = {
            frame.frame_idx for frame in labels.labeled_frames if frame.video is video and frame.instances
        }
        if not used:
            continue
        names = list(video.filename) if isinstance(video.filename, list) else [video.filename]
        files = [find_file(str(name), folders) for name in names]
        wanted = used if len(names) > 1 else {0}
        gone = [names[i] for i in sorted(wanted) if i < len(names) and files[i] is None]
        missing += [f"{name} is missing" for name in gone]
        absent |= {str(Path(name).resolve()) for name in gone}
        found = [str(file or name) for file, name in zip(files, names, strict=True)]
        video.filename = found if isinstance(video.filename, list) else found[0]
    opened = from_sleap_io(path, labels, missing)
    # A missing video is listed once, not with each of its frames.
    kept = [frame for frame in opened.frames if not _is_of(frame.source, absent)]
    return opened._replace(frames=kept)


def _is_of(source: str, files: set[str]) -> bool:
    """Whether a frame's source is one of ``files`` (images), or a frame of one of them (videos)."""
    return source in files or source.rpartition(" frame ")[0] in files
