"""Choosing the reader for a video file or a folder of images."""

from pathlib import Path

from lightning_kp.video.reader import VideoReader


def open_video(path: str | Path) -> VideoReader:
    """Return a reader for a video file, or for a folder of images in natural order of their names.

    Raises VideoError, with the path and the reason, if not a single frame can be decoded.
    """
    # Imported here: FFmpeg's libraries take a second to load, which `kp --help` must not wait for.
    path = Path(path)
    if path.is_dir():
        from lightning_kp.video.image_folder import ImageFolderReader

        return ImageFolderReader(path)
    from lightning_kp.video.decoding import PyAvReader

    return PyAvReader(path)
