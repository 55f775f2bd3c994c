"""Reading images as a video: a folder with one frame per image, and files of several pictures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement
from lightning_kp.images.files import (
    IMAGE_SUFFIXES,
    Image,
    decode_pages,
    images_in,
    page_count,
    read_image,
)
from lightning_kp.images.resize import prepare
from lightning_kp.video.reader import VideoInfo, VideoReader

ASSUMED_FPS = 25.0
"""Frames per second, since image files carry no time stamps."""
MAX_UNREADABLE_NAMED = 5
"""Unreadable images that get a warning of their own; of more, only the number is reported."""


@dataclass(slots=True)
class ImageFrame:
    """An image file, or picture number ``page`` of it, as a frame.

    ``image`` RGB (H, W, 3), uint8; ``frame_size`` (height, width) of the video.
    """

    index: int
    time_s: float
    path: Path
    image: Image
    frame_size: tuple[int, int]
    page: int = 0

    def rgb(self) -> Image:
        """Return the image, RGB (H, W, 3), uint8.  Raises VideoError if its size is not that of the first image."""
        if self.image.shape[:2] != self.frame_size:
            name = f"Picture {self.page} of {self.path}" if self.page else str(self.path)
            raise VideoError(
                f"{name} has {self.image.shape[1]}x{self.image.shape[0]} pixels, but the first image of its "
                f"folder has {self.frame_size[1]}x{self.frame_size[0]}.",
                remedy="Keep one folder per camera, or resize all images to one size.",
            )
        return self.image

    def prepared(self, placement: Placement) -> Image:
        """Crop and resize the image to the network's square: RGB (size, size, 3), uint8."""
        return prepare(self.rgb(), placement)


class ImageFolderReader(VideoReader):
    """Reader for a folder of images in natural order of their names, or for one image file.

    Every picture of a file is a frame: the pages of a TIFF stack, the pictures of an animated WebP or PNG.  The
    pictures of one animated file keep their times; for others 25 per second are assumed, with a warning.  An
    unreadable image is skipped with a warning, as in a damaged video: the next image takes its index, while the times
    keep the gap.
    """

    def __init__(self, path: Path) -> None:
        self._listed = images_in(path) if path.is_dir() else [path]
        self.images: list[Path] = self._listed
        """The image of each frame; before the first whole pass, each file once, unreadable ones too."""
        if not self._listed:
            raise VideoError(
                f"The folder {path} contains no images.",
                remedy=f"Give a folder of image files ({', '.join(sorted(IMAGE_SUFFIXES))}).",
            )
        self._pages = [page_count(each) for each in self._listed]
        first, size = _first_size(self._listed)
        count = sum(self._pages)
        self._times = _times_of(path) if len(self._listed) == 1 and count > 1 else []
        duration = self._times[-1] if self._times else count / ASSUMED_FPS
        problems = (
            ()
            if self._times
            else (f"images have no time stamps; {ASSUMED_FPS:g} frames per second are assumed",)
        )
        super().__init__(
            VideoInfo(
                path=path,
                name=path.resolve().name if path.is_dir() else path.stem,
                frame_size=size,
                fps=count / duration if self._times else ASSUMED_FPS,
                n_frames=count,
                duration_s=duration,
                codec=first.suffix.lower().lstrip("."),
                pixel_format="rgb24",
                is_variable_rate=len(
                    {round(b - a, 4) for a, b in zip(self._times, self._times[1:], strict=False)}
                )
                > 1,
                problems=problems,
            )
        )

    def decode(self, threads: int = 0) -> Iterator[ImageFrame]:
        """Yield every readable image.  Raises VideoError later, when a frame of another size is converted."""
        # Images are read here, and not when their pixels are needed, since unreadable ones shift the indices.
        frames: list[Path] = []
        unreadable = before = 0
        for path, pages in zip(self._listed, self._pages, strict=True):
            page = 0
            try:
                for page, image in enumerate(_pictures(path, pages)):
                    number = before + page
                    time_s = self._times[number] if self._times else number / ASSUMED_FPS
                    yield ImageFrame(len(frames), time_s, path, image, self.info.frame_size, page)
                    frames.append(path)
            except VideoError as error:
                unreadable += 1
                if unreadable <= MAX_UNREADABLE_NAMED:
                    self.note(self._unread(path, pages, error))
            before += pages
        if unreadable > MAX_UNREADABLE_NAMED:
            self.note(f"{unreadable} of {len(self._listed)} images cannot be read and are skipped")
        self.images = frames

    def image_names(self) -> list[str]:
        """Name of each frame's image after a whole pass, with the number of the picture in a file of several."""
        pages = dict(zip(self._listed, self._pages, strict=True))
        seen: Counter[Path] = Counter()
        names = []
        for path in self.images:
            names.append(f"{path.name} {seen[path]}" if pages[path] > 1 else path.name)
            seen[path] += 1
        return names

    @staticmethod
    def _unread(path: Path, pages: int, error: VideoError) -> str:
        of = f" from its damaged picture on (of {pages})" if pages > 1 else ""
        return f"{path.name} cannot be read and is skipped{of} ({error.__cause__})"


def _pictures(path: Path, pages: int) -> Iterator[Image]:
    """Yield the ``pages`` pictures of a file; raises VideoError at the first one that cannot be read."""
    if pages == 1:
        yield read_image(path, upright=True, kind=VideoError)
        return
    pictures = decode_pages(path)
    while True:
        try:
            image, _ = next(pictures)
        except StopIteration:
            return
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # damaged files make Pillow's readers raise much else, such as struct.error
            raise VideoError(f"{path} cannot be read as an image: {error}.") from error
        yield image


def _times_of(path: Path) -> list[float]:
    """Start of each picture of an animated file in seconds, then the end of the last; empty if the file tells none."""
    try:
        durations = [duration for _, duration in decode_pages(path)]
    except Exception:  # noqa: BLE001  (reported when the file is decoded)
        return []
    return list(accumulate(durations, initial=0.0)) if min(durations) > 0 else []


def _first_size(images: Sequence[Path]) -> tuple[Path, tuple[int, int]]:
    """Return the first readable image and its (height, width).  Raises VideoError if there is none."""
    reason: VideoError | None = None
    for path in images:
        try:
            height, width = read_image(path, upright=True, kind=VideoError).shape[:2]
        except VideoError as error:
            reason = reason or error
        else:
            return path, (height, width)
    assert reason is not None  # there is at least one image
    if len(images) == 1:
        raise reason
    raise VideoError(
        f"None of the {len(images)} images in {images[0].parent} can be read. First error: {reason.problem}",
        remedy="Give another folder.",
    ) from reason
