"""A folder of images as a video, one frame for each image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement
from lightning_kp.resize import prepare
from lightning_kp.video import Image, VideoInfo, VideoReader, images_in

ASSUMED_FPS = 25.0


@dataclass(slots=True)
class ImageFrame:
    """An image file that stands for a frame."""

    index: int
    time_s: float
    path: Path
    frame_size: tuple[int, int]

    def rgb(self) -> Image:
        image = _read_image(self.path)
        if image.shape[:2] != self.frame_size:
            raise VideoError(
                f"{self.path} is {image.shape[1]}x{image.shape[0]} pixels; the folder's first image is "
                f"{self.frame_size[1]}x{self.frame_size[0]}.",
                remedy="Keep one folder for each camera, or resize the images to one size.",
            )
        return image

    def prepared(self, placement: Placement) -> Image:
        return prepare(self.rgb(), placement)


class ImageFolderReader(VideoReader):
    """A folder of images, one frame each, in natural order of their names.

    Images carry no times: 25 per second are assumed, and said so.
    """

    def __init__(self, path: Path) -> None:
        self._images: list[Path] = images_in(path)
        if not self._images:
            raise VideoError(f"{path} holds no images.", remedy="Name a folder of .png or .jpg files.")
        first = _read_image(self._images[0])
        count = len(self._images)
        super().__init__(
            VideoInfo(
                path=path,
                name=path.resolve().name,
                frame_size=(first.shape[0], first.shape[1]),
                fps=ASSUMED_FPS,
                n_frames=count,
                duration_s=count / ASSUMED_FPS,
                codec=self._images[0].suffix.lower().lstrip("."),
                pixel_format="rgb24",
                problems=(f"images carry no times; {ASSUMED_FPS:g} frames per second are assumed",),
            )
        )

    def decode(self) -> Iterator[ImageFrame]:
        for index, path in enumerate(self._images):
            yield ImageFrame(index, index / ASSUMED_FPS, path, self.info.frame_size)


def as_rgb(picture: Any) -> Image:
    """An opened picture of any mode as RGB (H, W, 3); 16-bit grey is scaled to 8."""
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).clip(0, 65535)
        return np.repeat((wide // 257).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(picture.convert("RGB"))


def _read_image(path: Path) -> Image:
    """Any image that Pillow reads, as RGB; 16-bit grey is scaled to 8."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(path) as picture:
            return as_rgb(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError) as error:
        raise VideoError(f"{path} is no readable image: {error}.", remedy="Remove or replace it.") from error
