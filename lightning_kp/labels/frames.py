"""Labelled frames with points in pixels, whose images are read when asked for."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class OpenFrame(NamedTuple):
    """A labelled frame: what messages call it, its image (H, W, 3) on demand, its points (I, L, 2), NaN = missing.

    ``source``: the image with its whole path, or ``<video> frame <number>``; empty if not known.
    """

    name: str
    read: Callable[[], Image]
    points_px: NDArray[np.float64]
    source: str = ""


class OpenLabels(NamedTuple):
    """All labelled frames of a file, in its order, and what is wrong with the file."""

    path: Path
    names: tuple[str, ...]
    frames: list[OpenFrame]
    problems: list[str]


def find_file(name: str, places: Iterable[Path], *, loose: bool = False) -> Path | None:
    """The file that another computer called ``name``: at that path, else below one of ``places``.

    A relative name may overlap with the end of a place (labeled-data/a/1.png in .../labeled-data/a).
    ``loose``, or for an absolute name, its leading folders may be dropped one after another.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    is_absolute = name.startswith(("/", "\\")) or name[1:2] == ":"
    if is_absolute and Path(name).is_file():
        return Path(name)
    places = [place.resolve() for place in places]
    for dropped in range(len(parts)):
        for place in places:
            fits = is_absolute or loose or not dropped or list(place.parts[-dropped:]) == parts[:dropped]
            if fits and (found := place.joinpath(*parts[dropped:])).is_file():
                return found
    return None


def image_reader(file: Path) -> Callable[[], Image]:
    """What reads an image file as RGB."""

    def read() -> Image:
        from PIL import Image as Pictures

        from lightning_kp.images.files import as_rgb

        with Pictures.open(file) as picture:
            return as_rgb(picture)

    return read


def join_labels(path: Path, parts: Sequence[OpenLabels]) -> OpenLabels:
    """Several files as one, in the first one's order of names; a file with other names is a problem."""
    names = parts[0].names
    frames: list[OpenFrame] = []
    problems = [problem for part in parts for problem in part.problems]
    for part in parts:
        if set(part.names) != set(names):
            problems.append(
                f"{part.path} labels {', '.join(part.names)}, not {', '.join(names)}: unknown skeleton"
            )
            continue
        order = [part.names.index(name) for name in names]
        frames += [frame._replace(points_px=frame.points_px[:, order]) for frame in part.frames]
    problems += repeated_frames([[frame.source for frame in part.frames] for part in parts])
    return OpenLabels(path, names, frames, problems)


def repeated_frames(files: Sequence[Sequence[str]]) -> list[str]:
    """Of the sources of the frames of several files those that more than one labels, as problems."""
    counts = Counter(source for sources in files for source in set(sources) if source)
    return [f"{source} is labelled in {count} files" for source, count in counts.items() if count > 1]
