"""Choosing the reader for a video file, a folder of images or an image file."""

import stat
from pathlib import Path

from lightning_kp.errors import VideoError
from lightning_kp.images.files import is_image
from lightning_kp.video.reader import VideoReader


def open_video(path: str | Path) -> VideoReader:
    """Return a reader for a video file, a folder of images in natural order of their names, or an image file.

    Every picture of an image file is a frame (pages of a TIFF stack, pictures of an animated WebP or PNG).  Norpix
    ``.seq`` files are known by their first bytes; FFmpeg reads all other videos.

    Raises VideoError, with the path and the reason, if not a single frame can be decoded, and for what is no file, such
    as a camera's device or a pipe.
    """
    # Imported here: FFmpeg's libraries take a second to load, which `kp --help` must not wait for.
    path = Path(path)
    refuse_no_file(path)
    if path.is_dir() or (is_image(path) and path.is_file()):
        from lightning_kp.video.image_folder import ImageFolderReader

        return ImageFolderReader(path)
    from lightning_kp.video.norpix import NorpixReader, is_norpix

    if is_norpix(path):
        return NorpixReader(path)
    from lightning_kp.video.decoding import PyAvReader

    return PyAvReader(path)


def refuse_no_file(path: Path) -> None:
    """Raise VideoError for a pipe, a socket or a device, which is read once, or for ever, or not at all.

    What does not exist passes: the reader says so.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kinds = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    raise VideoError(
        f"{path} is {kinds.get(stat.S_IFMT(mode), 'not a file')}; videos are read several times, from files.",
        remedy="Record into a file first, such as: ffmpeg -i SOURCE video.mp4",
    )
