"""Predict the keypoints of videos and of images in memory without leaving files behind.

A stack of images is read as a video, so that it is cropped and resized exactly as decoded frames are.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lightning_kp.api.paths import PathLike, as_list
from lightning_kp.api.poses import Poses
from lightning_kp.command.trained import origin_with_threshold, warn_whole_frames
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image, images_in
from lightning_kp.images.resize import prepare
from lightning_kp.motion.boxes import Boxes, followed_animals
from lightning_kp.tracks.store import TrackStore
from lightning_kp.tracks.table import concatenate
from lightning_kp.tracks.tracking import fill_store, track_info
from lightning_kp.video.opening import open_video
from lightning_kp.video.paths import find_videos
from lightning_kp.video.reader import VideoInfo, VideoReader

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_kp.api.loading import Model


Images = Union[NDArray[np.uint8], "Tensor"]
"""Images (N, H, W, 3) uint8, RGB, as a NumPy array or a torch tensor on any device."""
NEEDED = "Needed are images (N, H, W, 3), uint8 from 0 to 255, RGB."


def is_images(source: object) -> TypeGuard[Images]:
    """Whether ``source`` is an array or a tensor, of whatever shape."""
    return hasattr(source, "shape") and hasattr(source, "dtype")


def checked_images(images: Images) -> Images:
    """Return images (N, H, W, 3) uint8 as they are.  Raises DataError that says how to convert others."""
    shape = tuple(int(size) for size in images.shape)
    kind = str(images.dtype).removeprefix("torch.")
    is_tensor = not isinstance(images, np.ndarray)
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        remedy = f"Use images.{'permute' if is_tensor else 'transpose'}(0, 2, 3, 1)."
        raise DataError(f"The images {shape} have their channels first. {NEEDED}", remedy=remedy)
    if len(shape) == 3 and shape[2] == 3:
        raise DataError(f"This is one image {shape}. {NEEDED}", remedy="Use image[None].")
    if len(shape) == 3 or (len(shape) == 4 and shape[3] == 1):
        start = "images" if len(shape) == 4 else "images[..., None]"
        remedy = f"Use {start}.repeat(1, 1, 1, 3)." if is_tensor else f"Use np.repeat({start}, 3, axis=-1)."
        raise DataError(f"The images {shape} are grey. {NEEDED}", remedy=remedy)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise DataError(f"The array has the shape {shape}. {NEEDED}")
    if kind != "uint8":
        convert = (
            "(255 * images).round().to(torch.uint8)"
            if is_tensor
            else "(255 * images).round().astype(np.uint8)"
        )
        remedy = f"For values in [0, 1] use {convert}." if kind.startswith(("float", "bfloat")) else ""
        raise DataError(f"The images are {kind}. {NEEDED}", remedy=remedy)
    return images


@dataclass(slots=True)
class _ArrayFrame:
    index: int
    time_s: float
    image: Image

    def rgb(self) -> Image:
        return self.image

    def prepared(self, placement: Placement) -> Image:
        return prepare(self.image, placement)


class ImageStackReader(VideoReader):
    """Images (N, H, W, 3) uint8 as the frames of a video without times: frame i is at "second" i."""

    def __init__(self, images: Images) -> None:
        self._images = checked_images(images)
        count, height, width = (int(size) for size in images.shape[:3])
        super().__init__(
            VideoInfo(
                path=Path("images"), name="images", frame_size=(height, width), fps=0.0, n_frames=count,
                duration_s=None, codec="array", pixel_format="rgb24",
            )
        )  # fmt: skip

    def decode(self, threads: int = 0) -> Iterator[_ArrayFrame]:
        for index in range(len(self._images)):
            image: Any = self._images[index]
            pixels = image if isinstance(image, np.ndarray) else image.detach().cpu().numpy()
            yield _ArrayFrame(index, float(index), np.ascontiguousarray(pixels))


def predict_videos(
    model: "Model", source: PathLike | Sequence[PathLike], *, boxes: Boxes, threshold: float, batch_size: int
) -> Poses | list[Poses]:
    """Predict one video, or each of several; see :meth:`lightning_kp.api.loading.Model.predict`."""
    if not isinstance(source, str | os.PathLike) and not all(
        isinstance(each, str | os.PathLike) for each in source
    ):
        raise DataError(
            "predict takes paths of videos, or images as one array (N, H, W, 3).",
            remedy="For a list of arrays use np.stack(images).",
        )
    videos = find_videos(as_list(source))
    view = _checked_view(
        model, boxes, threshold, "Give boxes=FILE.csv, or boxes='follow' for one moving animal."
    )
    found = []
    for video in videos:
        with open_video(video) as reader:
            found.append(_predict(model, view, reader, str(video.resolve()), threshold, batch_size))
    return found[0] if _names_one(source) else found


def predict_images(
    model: "Model", images: Images, *, boxes: Boxes, threshold: float, batch_size: int
) -> Poses:
    """Predict images (N, H, W, 3) uint8; see :meth:`lightning_kp.api.loading.Model.predict`."""
    reader = ImageStackReader(images)
    view = _checked_view(model, boxes, threshold, "Give boxes=(left, top, right, bottom).")
    if followed_animals(view.boxes):
        raise ConfigurationError(
            f"{model.checkpoint} was trained on a square that follows the animal, which needs a video."
            if boxes is None
            else "boxes='follow' needs a video.",
            remedy="Give the video's path, or the images with boxes=(left, top, right, bottom).",
        )
    return _predict(model, view, reader, "", threshold, batch_size)


def _names_one(source: PathLike | Sequence[PathLike]) -> bool:
    """Whether a path names one video by its form, whatever lies there: a file or a folder of images."""
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(source).expanduser()
    return path.is_file() or (path.is_dir() and bool(images_in(path)) and find_videos(path) == [path])


def _checked_view(model: "Model", boxes: Boxes, threshold: float, remedy: str) -> ViewSettings:
    """How the model sees frames with these boxes; refuses a threshold that does not apply."""
    origin_with_threshold("", model.method, threshold)
    if boxes is not None:
        return replace(model.view, boxes=boxes)
    warn_whole_frames(model.method, model.checkpoint, remedy)
    return model.view


def _predict(
    model: "Model", view: ViewSettings, reader: VideoReader, video: str, threshold: float, batch_size: int
) -> Poses:
    info = track_info(model.method, reader.info, view, video=video)
    with (
        tempfile.TemporaryDirectory(prefix="lightning_kp-") as folder,
        TrackStore(Path(folder) / "poses", info) as store,
        tqdm(total=reader.info.n_frames, desc="predict", unit="frame", delay=1.0, leave=False) as bar,
    ):

        def show(done: int) -> None:
            bar.update(done - bar.n)

        fill_store(
            store, model.method, reader, view,
            batch_size=batch_size, threshold=threshold, engine=model.engine, progress=show,
        )  # fmt: skip
        source = store if model.calibration is None else model.calibration(store)
        return Poses(concatenate(info, source.pieces()))
