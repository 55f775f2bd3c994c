"""A folder of images as a video, one frame for each image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image, _read_image, images_in
from lightning_kp.images.resize import prepare
from lightning_kp.video.reader import VideoInfo, VideoReader

ASSUMED_FPS = 25.0
NAMED = 5  # unreadable images that are named one by one; the others are counted


@dataclass(slots=True)
class ImageFrame:
    """An image file that stands for a frame."""

    index: int
    time_s: float
    path: Path
    image: Image
    frame_size: tuple[int, int]

    def rgb(self) -> Image:
        if self.image.shape[:2] != self.frame_size:
            raise VideoError(
                f"{self.path} is {self.image.shape[1]}x{self.image.shape[0]} pixels; the folder's first image is "
                f"{self.frame_size[1]}x{self.frame_size[0]}.",
                remedy="Keep one folder for each camera, or resize the images to one size.",
            )
        return self.image

    def prepared(self, placement: Placement) -> Image:
        return prepare(self.rgb(), placement)


class ImageFolderReader(VideoReader):
    """A folder of images, one frame each, in natural order of their names.

    Images carry no times: 25 per second are assumed, and said so.  One that cannot be read is no frame, as in
    a damaged video: it is named, the next one takes its number, and times keep the hole.
    """

    def __init__(self, path: Path) -> None:
        self._listed = images_in(path)
        self.images: list[Path] = self._listed
        """The images that are frames; before a whole pass also those that turn out to be unreadable."""
        if not self._listed:
            raise VideoError(f"{path} holds no images.", remedy="Name a folder of .png or .jpg files.")
        first, size = _first_size(self._listed)
        count = len(self._listed)
        super().__init__(
            VideoInfo(
                path=path,
                name=path.resolve().name,
                frame_size=size,
                fps=ASSUMED_FPS,
                n_frames=count,
                duration_s=count / ASSUMED_FPS,
                codec=first.suffix.lower().lstrip("."),
                pixel_format="rgb24",
                problems=(f"images carry no times; {ASSUMED_FPS:g} frames per second are assumed",),
            )
        )

    def decode(self, threads: int = 0) -> Iterator[ImageFrame]:
        # Images are read here and not when their pixels are asked for: only so is every frame's number known.
        frames: list[Path] = []
        for number, path in enumerate(self._listed):
            try:
                image = _read_image(path)
            except VideoError as error:
                if number - len(frames) < NAMED:
                    self.note(f"{path.name} is left out, it cannot be read ({error.__cause__})")
                continue
            yield ImageFrame(len(frames), number / ASSUMED_FPS, path, image, self.info.frame_size)
            frames.append(path)
        if (lost := len(self._listed) - len(frames)) > NAMED:
            self.note(f"{lost} of {len(self._listed)} images cannot be read and are left out")
        self.images = frames


def _first_size(images: Sequence[Path]) -> tuple[Path, tuple[int, int]]:
    """The first image that can be read, and its height and width.  Raises VideoError where there is none."""
    reason: VideoError | None = None
    for path in images:
        try:
            height, width = _read_image(path).shape[:2]
        except VideoError as error:
            reason = reason or error
        else:
            return path, (height, width)
    assert reason is not None  # there is at least one image
    if len(images) == 1:
        raise reason
    raise VideoError(
        f"None of the {len(images)} images of {images[0].parent} can be read: {reason.problem}",
        remedy="Name another folder.",
    ) from reason
