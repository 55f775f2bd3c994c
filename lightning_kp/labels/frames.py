"""Labelled frames with points in pixels; their images are read on demand."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.images.files import Image, decode_image
from lightning_kp.video.reader import VideoInfo


class OpenFrame(NamedTuple):
    """A labelled frame: its name in messages, a function that reads its image, and its points.

    ``read()`` returns RGB (H, W, 3) uint8.  ``points_px`` (I, K, 2): pixels (x, y), NaN = not labelled.
    ``source``: the full path of the image, or ``<video> frame <number>``; empty if unknown.
    ``number``: which frame of ``OpenLabels.video`` it is, where there is such a video.
    """

    name: str
    read: Callable[[], Image]
    points_px: NDArray[np.float64]
    source: str = ""
    number: int | None = None


class OpenLabels(NamedTuple):
    """All labelled frames of a file, in its order, the names of their K points, and the file's problems.

    ``video``: the video whose frames are all labelled (ground truth of a rendered arena); None for annotations.
    """

    path: Path
    names: tuple[str, ...]
    frames: list[OpenFrame]
    problems: list[str]
    video: VideoInfo | None = None


def find_file(name: str, folders: Iterable[Path], *, loose: bool = False) -> Path | None:
    """Find a file that was called ``name`` on another computer: at that path, or below one of ``folders``.

    The start of a relative name may repeat the end of a folder (labeled-data/a/1.png in .../labeled-data/a).
    If ``loose``, or if the name is absolute, its leading folders may be dropped one after another.  Returns None
    if there is no such file.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    is_absolute = name.startswith(("/", "\\")) or name[1:2] == ":"
    if is_absolute and Path(name).is_file():
        return Path(name)
    folders = [folder.resolve() for folder in folders]
    for dropped in range(len(parts)):
        for folder in folders:
            fits = is_absolute or loose or not dropped or list(folder.parts[-dropped:]) == parts[:dropped]
            if fits and (found := folder.joinpath(*parts[dropped:])).is_file():
                return found
    return None


def image_reader(file: Path) -> Callable[[], Image]:
    """A function that reads an image file as RGB (H, W, 3), as it is stored (EXIF rotation is ignored)."""
    return functools.partial(decode_image, file)


def join_labels(path: Path, parts: Sequence[OpenLabels]) -> OpenLabels:
    """Join several files, points in the order of the first one; a file with other point names is a problem."""
    names = parts[0].names
    frames: list[OpenFrame] = []
    problems = [problem for part in parts for problem in part.problems]
    for part in parts:
        if set(part.names) != set(names):
            problems.append(
                f"{part.path} labels the points {', '.join(part.names)}, but {parts[0].path} labels {', '.join(names)}"
            )
            continue
        order = [part.names.index(name) for name in names]
        frames += [frame._replace(points_px=frame.points_px[:, order]) for frame in part.frames]
    problems += repeated_frames([[frame.source for frame in part.frames] for part in parts])
    return OpenLabels(path, names, frames, problems)


def repeated_frames(files: Sequence[Sequence[str]]) -> list[str]:
    """Problems: frames, by the ``source`` of each, that more than one of several files labels."""
    counts = Counter(source for sources in files for source in set(sources) if source)
    return [f"{source} is labelled in {count} files" for source, count in counts.items() if count > 1]
