"""The interface of video readers: a video as a sequence of displayed frames.

The index of a frame counts the frames that the decoder returns, in display order, from 0 and without gaps; its time
is the presentation time in the container.  Frame sizes are in stored pixels, after the rotation that the file asks
for.  A pixel aspect ratio is ignored, as in other pose estimation tools.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image


class VideoWarning(UserWarning):
    """A video can be read only in part, or its reader had to assume something."""


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video, known before it is decoded.

    Attributes:
        path: The file or folder.
        name: Its name without suffix.
        frame_size: (height, width) of the displayed frames in pixels.
        fps: Average frame rate in frames per second.
        n_frames: Number of frames according to the container, None if it does not say; decoding may find another.
        duration_s: Duration in seconds according to the container, None if it does not say.
        codec: Name of the video codec, for example ``h264``; for images their suffix.
        pixel_format: FFmpeg's name of the stored pixel format, for example ``yuv420p``.
        rotation: Degrees counter-clockwise (0, 90, 180 or 270), already applied to the frames.
        is_variable_rate: Whether the time between frames varies.
        problems: Messages for the user, without a full stop.
    """

    path: Path
    name: str
    frame_size: tuple[int, int]
    fps: float
    n_frames: int | None
    duration_s: float | None
    codec: str
    pixel_format: str
    rotation: int = 0
    is_variable_rate: bool = False
    problems: tuple[str, ...] = ()


class Frame(NamedTuple):
    """Displayed frame number ``index`` at ``time_s`` seconds; ``image`` is RGB (H, W, 3), uint8."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which a frame does not need
    time_s: float
    image: Image


class DecodedFrame(Protocol):
    """A decoded frame that is not yet converted to RGB, so that another thread can convert it."""

    @property
    def index(self) -> int:
        """Number of the frame in display order, from 0."""
        ...

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        ...

    def rgb(self) -> Image:
        """Return the whole frame as RGB (H, W, 3), uint8."""
        ...

    def prepared(self, placement: Placement) -> Image:
        """Crop and resize the frame to the network's square: RGB (size, size, 3), uint8."""
        ...


class VideoReader(ABC):
    """Base class of readers, which decode a video from its first frame each time they are iterated.

    ``info`` is complete only after a whole pass: problems found while decoding are added to ``info.problems``.  A
    decoder on the GPU would be one more subclass.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        for problem in info.problems:
            _warn(info.path, problem)

    @abstractmethod
    def decode(self, threads: int = 0) -> Iterator[DecodedFrame]:
        """Yield every displayed frame in order; closing the iterator closes the file.

        ``threads`` is the number of decoding threads, for readers that can use several; 0 lets the reader choose.
        """

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.decode():
            yield Frame(frame.index, frame.time_s, frame.rgb())

    def close(self) -> None:  # noqa: B027 (a hook: most readers keep nothing between passes)
        """Release resources that are kept between passes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def note(self, problem: str) -> None:
        """Add a problem to ``info.problems`` and warn about it, once per message."""
        if problem not in self.info.problems:
            self.info = replace(self.info, problems=(*self.info.problems, problem))
            _warn(self.info.path, problem)


def _warn(path: Path, problem: str) -> None:
    warnings.warn(f"{path}: {problem}.", VideoWarning, stacklevel=4)
