"""A reader for a video file or a folder of images."""

from pathlib import Path

from lightning_kp.video.reader import VideoReader


def open_video(path: str | Path) -> VideoReader:
    """A reader for a video file, or for a folder of images in natural order.

    Raises :class:`VideoError` where no frame can be had, with the file and the reason.
    """
    # FFmpeg's libraries take a second to load, and the command's help has to do without them.
    path = Path(path)
    if path.is_dir():
        from lightning_kp.video.image_folder import ImageFolderReader

        return ImageFolderReader(path)
    from lightning_kp.video.decoding import PyAvReader

    return PyAvReader(path)
