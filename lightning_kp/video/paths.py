"""Finding the video files and folders of images that patterns stand for."""

import glob
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from lightning_kp.errors import VideoError
from lightning_kp.files import printable
from lightning_kp.images.files import IMAGE_SUFFIXES, images_in, is_image, natural_key

# Files of a folder with one of these suffixes are videos; files that are given by name or by a glob may have others.
VIDEO_SUFFIXES = frozenset(
    (
        ".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".av1", ".avi", ".avs2", ".divx", ".dv", ".f4v", ".flv",
        ".gif", ".gxf", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2",
        ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf",
        ".nut", ".obu", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".seq", ".tod", ".ts", ".vc1", ".vob",
        ".webm", ".wmv", ".wtv", ".y4m",
    )
)  # fmt: skip
# Files that commonly lie beside videos, which a glob such as `session1*` is not meant to select.
OTHER_SUFFIXES = frozenset(
    (
        "", ".aac", ".abf", ".bak", ".bin", ".cfg", ".ckpt", ".csv", ".dat", ".db", ".doc", ".docx", ".edf", ".eps",
        ".fig", ".flac", ".gz", ".h5", ".hdf5", ".heic", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".lnk", ".log",
        ".m", ".m4a", ".mat", ".md", ".meta", ".mp3", ".nev", ".npy", ".npz", ".nwb", ".old", ".onnx", ".parquet",
        ".part", ".pdf", ".pickle", ".pkl", ".ppt", ".pptx", ".pt", ".pth", ".py", ".r", ".rar", ".rhd", ".rst",
        ".sh", ".slp", ".sqlite", ".srt", ".svg", ".tar", ".tdms", ".tmp", ".toml", ".tsv", ".txt", ".wav", ".xls",
        ".xlsx", ".xml", ".yaml", ".yml", ".zip",
    )
)  # fmt: skip


def find_videos(patterns: str | Path | Sequence[str | Path], root: str | Path = ".") -> list[Path]:
    """Return the video files and folders of images that ``patterns`` stand for, in their order, each one once.

    A pattern is a file, a glob, a folder of videos, a folder of images, or a folder of such folders.  Relative
    patterns start at ``root``.  Raises VideoError if a pattern matches nothing, or only some images of a folder.
    """
    given = [patterns] if isinstance(patterns, (str, Path)) else list(patterns)
    found: dict[Path, None] = {}
    for pattern in given:
        paths = _matches(Path(root) / Path(pattern).expanduser())
        if not paths:
            raise VideoError(
                f"No video found for '{pattern}' (searched from {Path(root).resolve()}).",
                remedy="Give video files, a folder of videos, a folder of images, or a glob in quotes.",
            )
        found.update(dict.fromkeys(paths))
    if not found:
        raise VideoError("No videos were given.", remedy="Give video files, folders, or globs in quotes.")
    # Images from a glob that the shell expanded mean their folder, as the glob in quotes does; one image is a video.
    images = Counter(path.parent for path in found if is_image(path))
    return _with_folders(found, {folder for folder, count in images.items() if count > 1})


def refuse_other_encodings(videos: Sequence[Path]) -> None:
    """Raise VideoError for a path that is no UTF-8: the settings of a training could not name it."""
    for video in videos:
        if (name := printable(str(video))) != str(video):
            raise VideoError(
                f"The name of {name} is not UTF-8, so the settings of a training cannot hold it.",
                remedy="Rename it; `kp inspect` and `kp track` take it as it is.",
            )


def _matches(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return _videos_in(path)
    hits = sorted((Path(hit) for hit in glob.glob(str(path), recursive=True)), key=natural_key)  # noqa: PTH207 (absolute patterns)
    images = [hit for hit in hits if is_image(hit)]
    if images and not any(map(_is_video, hits)):
        # `frames/*.png` means the folder, not one video per image.
        return _with_folders(images, {image.parent for image in images})
    videos_by_hit = (_videos_in(hit) if hit.is_dir() else [hit] * _may_be_video(hit) for hit in hits)
    return [video for videos in videos_by_hit for video in videos]


def _with_folders(paths: Collection[Path], folders: set[Path]) -> list[Path]:
    """Replace images in ``paths`` by their folder if it is one of ``folders``.

    Raises VideoError if only some images of a folder are given.  Readers read whole folders: tracks of some images,
    stored under the name of the folder, would be mistaken for tracks of all.
    """
    replaced = [path.parent if path.parent in folders and is_image(path) else path for path in paths]
    for folder in sorted(folders):
        given = sum(path.parent == folder and is_image(path) for path in paths)
        if given < (available := len(images_in(folder))):
            raise VideoError(
                f"Only {given} of the {available} images in {folder} are given, but a folder is read as a whole.",
                remedy=f"Give the folder itself, {folder}, or copy these images to a folder of their own.",
            )
    return list(dict.fromkeys(replaced))


def _videos_in(folder: Path) -> list[Path]:
    """Return the video files in a folder, else the folder itself if it has images, else its folders of images."""
    entries = sorted(folder.iterdir(), key=natural_key)
    videos = [entry for entry in entries if entry.is_file() and _is_video(entry)]
    if videos:
        return videos
    if images_in(folder):
        return [folder]
    return [entry for entry in entries if entry.is_dir() and images_in(entry)]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _may_be_video(path: Path) -> bool:
    """Whether a file that a glob matches may be a video: FFmpeg reads more formats than can be listed."""
    return path.suffix.lower() not in OTHER_SUFFIXES | IMAGE_SUFFIXES and not path.name.startswith(".")
