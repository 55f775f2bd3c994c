"""Reading a folder of images as a video, one frame per image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement
from lightning_kp.images.files import IMAGE_SUFFIXES, Image, images_in, read_image
from lightning_kp.images.resize import prepare
from lightning_kp.video.reader import VideoInfo, VideoReader

ASSUMED_FPS = 25.0
"""Frames per second, since image files carry no time stamps."""
MAX_UNREADABLE_NAMED = 5
"""Unreadable images that get a warning of their own; of more, only the number is reported."""


@dataclass(slots=True)
class ImageFrame:
    """An image file as a frame: ``image`` RGB (H, W, 3), uint8; ``frame_size`` (height, width) of the video."""

    index: int
    time_s: float
    path: Path
    image: Image
    frame_size: tuple[int, int]

    def rgb(self) -> Image:
        """Return the image, RGB (H, W, 3), uint8.  Raises VideoError if its size is not that of the first image."""
        if self.image.shape[:2] != self.frame_size:
            raise VideoError(
                f"{self.path} has {self.image.shape[1]}x{self.image.shape[0]} pixels, but the first image of its "
                f"folder has {self.frame_size[1]}x{self.frame_size[0]}.",
                remedy="Keep one folder per camera, or resize all images to one size.",
            )
        return self.image

    def prepared(self, placement: Placement) -> Image:
        """Crop and resize the image to the network's square: RGB (size, size, 3), uint8."""
        return prepare(self.rgb(), placement)


class ImageFolderReader(VideoReader):
    """Reader for a folder of images, one frame each, in natural order of their names.

    Images have no time stamps, so 25 per second are assumed, with a warning.  An unreadable image is skipped with a
    warning, as in a damaged video: the next image takes its index, while the times keep the gap.
    """

    def __init__(self, path: Path) -> None:
        self._listed = images_in(path)
        self.images: list[Path] = self._listed
        """The images that are frames; before the first whole pass, unreadable images are still among them."""
        if not self._listed:
            raise VideoError(
                f"The folder {path} contains no images.",
                remedy=f"Give a folder of image files ({', '.join(sorted(IMAGE_SUFFIXES))}).",
            )
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
                problems=(f"images have no time stamps; {ASSUMED_FPS:g} frames per second are assumed",),
            )
        )

    def decode(self, threads: int = 0) -> Iterator[ImageFrame]:
        """Yield every readable image.  Raises VideoError later, when a frame of another size is converted."""
        # Images are read here, and not when their pixels are needed, since unreadable ones shift the indices.
        frames: list[Path] = []
        for number, path in enumerate(self._listed):
            try:
                image = read_image(path, upright=True, kind=VideoError)
            except VideoError as error:
                if number - len(frames) < MAX_UNREADABLE_NAMED:
                    self.note(f"{path.name} cannot be read and is skipped ({error.__cause__})")
                continue
            yield ImageFrame(len(frames), number / ASSUMED_FPS, path, image, self.info.frame_size)
            frames.append(path)
        if (unreadable := len(self._listed) - len(frames)) > MAX_UNREADABLE_NAMED:
            self.note(f"{unreadable} of {len(self._listed)} images cannot be read and are skipped")
        self.images = frames


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
