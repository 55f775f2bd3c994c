"""Videos as sequences of displayed frames: what a reader offers, and which files and folders are videos.

A frame's number is its place among the frames that the decoder puts out, in display order, from 0,
without a gap; its time is the container's presentation time.  Sizes are those of stored pixels
after the rotation that the file asks for; a pixel aspect ratio is ignored, as pose tools do.
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
    """A video is usable in part, or holds something that its reader had to decide."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded.

    ``frame_size`` is (height, width) as displayed, ``fps`` the average rate, ``n_frames`` the
    container's claim (None where it makes none; decoding may find another number), ``rotation``
    degrees counter-clockwise, already applied to frames.  ``problems`` are sentences for people.
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
    """Displayed frame ``index`` at ``time_s`` seconds: ``image`` uint8 (height, width, 3), RGB."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a frame
    time_s: float
    image: Image


class DecodedFrame(Protocol):
    """A frame that was decoded but not yet converted, so that another thread can do that."""

    @property
    def index(self) -> int:
        """Number among the displayed frames."""
        ...

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        ...

    def rgb(self) -> Image:
        """The whole frame, uint8 (height, width, 3)."""
        ...

    def prepared(self, placement: Placement) -> Image:
        """The network's square of this frame, uint8 (size, size, 3)."""
        ...


class VideoReader(ABC):
    """Passes over a video from its first frame; a GPU decoder joins as another subclass.

    ``info`` is complete only after a whole pass: what decoding found is added to its ``problems``.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        for problem in info.problems:
            _warn(info.path, problem)

    @abstractmethod
    def decode(self, threads: int = 0) -> Iterator[DecodedFrame]:
        """Every displayed frame in order; closing the iterator gives the file back.

        ``threads`` decode, where the reader can use several; 0 leaves their number to it.
        """

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.decode():
            yield Frame(frame.index, frame.time_s, frame.rgb())

    def close(self) -> None:  # noqa: B027 (a hook: most readers hold nothing between passes)
        """Give back what is held between passes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def note(self, problem: str) -> None:
        """Add a problem to ``info`` and warn of it, once."""
        if problem not in self.info.problems:
            self.info = replace(self.info, problems=(*self.info.problems, problem))
            _warn(self.info.path, problem)


def _warn(path: Path, problem: str) -> None:
    warnings.warn(f"{path}: {problem}.", VideoWarning, stacklevel=4)
