"""Which files and folders are videos, and which of them a pattern names."""

import glob
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from lightning_kp.errors import VideoError
from lightning_kp.images.files import IMAGE_SUFFIXES, _is_image, images_in, natural_key

# What counts as a video in a folder; a file that is named, or that a glob selects, needs none of these.
VIDEO_SUFFIXES = frozenset(
    (
        ".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".av1", ".avi", ".avs2", ".divx", ".dv", ".f4v", ".flv",
        ".gif", ".gxf", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2",
        ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf",
        ".nut", ".obu", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".seq", ".tod", ".ts", ".vc1", ".vob",
        ".webm", ".wmv", ".wtv", ".y4m",
    )
)  # fmt: skip
# What commonly lies beside videos: a glob such as `session1*` does not mean it.
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
    """Video files, and folders of images, that ``patterns`` name, in their order and without repeats.

    A pattern is a file, a glob, a folder of videos, a folder of images, or a folder of such folders;
    relative ones are taken from ``root``.  Raises :class:`VideoError` if one of them names nothing,
    or some images of a folder and not all.
    """
    given = [patterns] if isinstance(patterns, (str, Path)) else list(patterns)
    found: dict[Path, None] = {}
    for pattern in given:
        paths = _matches(Path(root) / Path(pattern).expanduser())
        if not paths:
            raise VideoError(
                f"No video found for '{pattern}' (looked from {Path(root).resolve()}).",
                remedy="Name video files, a folder of videos, a folder of images, or a glob in quotes.",
            )
        found.update(dict.fromkeys(paths))
    if not found:
        raise VideoError("No video was named.", remedy="Name video files, folders, or globs in quotes.")
    # A glob that the shell has replaced by images means what it means in quotes; a single image is a video.
    images = Counter(path.parent for path in found if _is_image(path))
    return _with_folders(found, {folder for folder, count in images.items() if count > 1})


def _matches(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return _videos_in(path)
    hits = sorted((Path(hit) for hit in glob.glob(str(path), recursive=True)), key=natural_key)  # noqa: PTH207 (absolute patterns)
    images = [hit for hit in hits if _is_image(hit)]
    if images and not any(map(_is_video, hits)):
        # `frames/*.png` means the folder: one image is no video.
        return _with_folders(images, {image.parent for image in images})
    taken = (_videos_in(hit) if hit.is_dir() else [hit] * _may_be_video(hit) for hit in hits)
    return [video for videos in taken for video in videos]


def _with_folders(paths: Collection[Path], folders: set[Path]) -> list[Path]:
    """``paths`` with ``folders`` in place of their images.  Raises VideoError where some images are not meant.

    A reader reads whole folders: tracks of a part, found again under the folder's name, would be taken for all.
    """
    placed = [path.parent if path.parent in folders and _is_image(path) else path for path in paths]
    for folder in sorted(folders):
        named = sum(path.parent == folder and _is_image(path) for path in paths)
        if named < (there := len(images_in(folder))):
            raise VideoError(
                f"{named} of the {there} images of {folder} are named, but a folder of images is read whole.",
                remedy=f"Name the folder, {folder}, or copy these images into a folder of their own.",
            )
    return list(dict.fromkeys(placed))


def _videos_in(folder: Path) -> list[Path]:
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
    """Whether a file that a glob selects is one: FFmpeg reads more kinds than anyone can list."""
    return path.suffix.lower() not in OTHER_SUFFIXES | IMAGE_SUFFIXES and not path.name.startswith(".")
