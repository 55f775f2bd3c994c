"""Choosing the reader for a video file, a folder of images or an image file."""

from pathlib import Path

from lightning_kp.images.files import is_image
from lightning_kp.video.reader import VideoReader


def open_video(path: str | Path) -> VideoReader:
    """Return a reader for a video file, a folder of images in natural order of their names, or an image file.

    Every picture of an image file is a frame (pages of a TIFF stack, pictures of an animated WebP or PNG).

    Raises VideoError, with the path and the reason, if not a single frame can be decoded.
    """
    # Imported here: FFmpeg's libraries take a second to load, which `kp --help` must not wait for.
    path = Path(path)
    if path.is_dir() or (is_image(path) and path.is_file()):
        from lightning_kp.video.image_folder import ImageFolderReader

        return ImageFolderReader(path)
    from lightning_kp.video.decoding import PyAvReader

    return PyAvReader(path)
