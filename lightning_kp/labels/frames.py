"""Labelled frames with points in pixels; their images are read on demand."""

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.geometry import from_edges, to_edges
from lightning_kp.images.files import Image, decode_image, image_size, is_image
from lightning_kp.video.reader import VideoInfo

Points = NDArray[np.float64]


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
    ``predicted``: whether a network predicted all points, and no point was set or corrected by hand.
    """

    path: Path
    names: tuple[str, ...]
    frames: list[OpenFrame]
    problems: list[str]
    video: VideoInfo | None = None
    predicted: bool = False


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


class FoundFiles(NamedTuple):
    """Files by the names that a label file gives them (None = not found), and the names that were ``refused``."""

    by_name: dict[str, Path | None]
    refused: dict[str, list[str]]

    @property
    def problems(self) -> list[str]:
        """What is wrong: names that are missing, and names that could mean the same file."""
        refused = {name for names in self.refused.values() for name in names}
        missing = [name for name, file in self.by_name.items() if file is None and name not in refused]
        return [
            *(f"{name} is missing" for name in missing),
            *(
                f"{', '.join(names[:4])}{' and others' * (len(names) > 4)} would all be taken from {place}, but their "
                "folders differ: keep the last folder of each name"
                for place, names in self.refused.items()
            ),
        ]


class _Candidate(NamedTuple):
    """A name, its folders, the file found for it, and how many parts at the end of both paths agree."""

    name: str
    folders: tuple[str, ...]
    file: Path
    common: int


def find_files(names: Iterable[str], folders: Iterable[Path]) -> FoundFiles:
    """Find all files that a label file names; any leading folders may be dropped, see :func:`find_file`.

    Two names never become one file: it is that of the name whose folders agree with its own for longer; where none
    does, all are refused.  The same holds for the images of two folders that would be taken from one, because images
    of different videos have the same names.  An image counts as missing if others of its folder lie elsewhere.
    """
    folders = list(folders)
    by_name = {name: find_file(name, folders, loose=True) for name in dict.fromkeys(names)}
    found = [_candidate(name, file) for name, file in by_name.items() if file is not None]
    deepest: dict[tuple[str, ...], int] = {}
    for each in found:
        deepest[each.folders] = max(each.common, deepest.get(each.folders, 0))
    lost = {each.name for each in found if is_image(each.file) and each.common < deepest[each.folders]}
    by_name.update(dict.fromkeys(lost))
    refused: dict[str, list[str]] = {}
    for place, rivals in _rivals([each for each in found if each.name not in lost]).items():
        best = max(each.common for each in rivals)
        is_clear = best > 1 and len({each.folders for each in rivals if each.common == best}) == 1
        others = [each.name for each in rivals if not (is_clear and each.common == best)]
        by_name.update(dict.fromkeys(others))
        if not is_clear:
            refused[str(place)] = others
    return FoundFiles(by_name, refused)


def _candidate(name: str, file: Path) -> _Candidate:
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    pairs = zip(reversed(parts), reversed(file.absolute().parts), strict=False)
    common = next((number for number, (named, real) in enumerate(pairs) if named != real), len(parts))
    return _Candidate(name, parts[:-1], file, common)


def _rivals(found: Sequence[_Candidate]) -> dict[Path, list[_Candidate]]:
    """Names of several folders that want one file; or, for images of which one was found by name only, one folder."""
    by_place: dict[Path, list[_Candidate]] = {}
    for each in found:
        by_place.setdefault(each.file.resolve(), []).append(each)
        if is_image(each.file):
            by_place.setdefault(each.file.resolve().parent, []).append(each)
    return {
        place: rivals
        for place, rivals in by_place.items()
        if len({each.folders for each in rivals}) > 1
        and (rivals[0].file.resolve() == place or min(each.common for each in rivals) == 1)
    }


def image_reader(file: Path, page: int = 0) -> Callable[[], Image]:
    """A function that reads an image file as RGB (H, W, 3), upright; ``page`` of a file with several pictures."""
    return functools.partial(decode_image, file, upright=True, page=page)


def scale_factors(file: Path, width: Any, height: Any) -> Points:
    """Factors (2,) = (x, y) from an image of ``width`` x ``height`` pixels, as a label file states, to the file's size.

    They are 1 if either size is unknown.  Raises ValueError, with the reason, if the two differ by more than a scale.
    """
    try:
        real_height, real_width = image_size(file)
    except Exception:  # noqa: BLE001  (reported when the image is read)
        return np.ones(2)
    known = [isinstance(each, int | float) and each > 0 for each in (width, height)]
    if not all(known) or (width, height) == (real_width, real_height):
        return np.ones(2)
    small, large = sorted(((width, height), (real_width, real_height)))
    longer = int(large[1] > large[0])
    scale = small[longer] / large[longer]
    if abs(large[1 - longer] * scale - small[1 - longer]) <= 1:  # both sizes are whole numbers of pixels
        return np.array((real_width / width, real_height / height))
    turned = (width, height) == (real_height, real_width)
    reason = "; it may have been labelled lying, without the rotation in its EXIF data" if turned else ""
    raise ValueError(
        f"{file.name} has {real_width}x{real_height} pixels, but was labelled with {width:g}x{height:g}{reason}"
    )


def scaled_points(points_px: Points, factors: Points) -> Points:
    """Points (..., 2) in pixels of an image whose size is multiplied by ``factors`` (2,)."""
    scaled: Points = from_edges(to_edges(points_px) * factors)
    return scaled


def warn_of_scaled(path: Path, files: Sequence[Path]) -> None:
    """Warn that images have another size than the labels in ``path`` state, if any have."""
    if files:
        warnings.warn(
            f"{path}: {len(files)} image(s) have another size than the labels state, such as {files[0].name}; their "
            "points are scaled to it.",
            stacklevel=2,
        )


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
