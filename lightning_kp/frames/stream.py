"""Frames of a video in batches, decoded and resized in background threads; memory does not grow with its length."""

import os
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lightning_kp.frames.placements import Placements
from lightning_kp.frames.preprocessing import (
    NO_PREPROCESSING,
    Preprocessing,
    Preprocessor,
    learn_preprocessor,
)
from lightning_kp.geometry import Fit, Region
from lightning_kp.images.files import Image
from lightning_kp.motion.boxes import Boxes
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import DecodedFrame, VideoReader

T = TypeVar("T")
DECODED_AHEAD = 8
"""Decoded frames that may wait for conversion; limits memory (8 frames of 4K video take 100 MB)."""


class FrameBatch(NamedTuple):
    """A batch of frames of one video.

    Attributes:
        image: Squares (B, 3, S, S), RGB, uint8, in channels-last memory format.
        index: Numbers of the displayed frames, (B,), int64.
        time_s: Presentation times in seconds, (B,), float64.
        regions: (left, top, right, bottom) in pixels of the frame that each crop shows, (B, 4), float64; see
            :class:`lightning_kp.geometry.Region`.
        transforms: (B, 3, 3), float64: map normalised points of the image to normalised points of the crop before
            registration; the identity without registration.
        seen: Whether the animal that the square follows is seen in the frame, (B,), bool; true for all other views.
    """

    image: Tensor
    index: Tensor  # type: ignore[assignment]  # as in batches.Frames
    time_s: Tensor
    regions: Tensor
    transforms: Tensor
    seen: Tensor

    def region(self, i: int) -> Region:
        """Return the region of the original frame that image ``i`` shows."""
        return Region(*self.regions[i].tolist())


def stream_frames(
    video: str | Path | VideoReader,
    *,
    size: int,
    fit: Fit = "pad",
    boxes: Boxes = None,
    batch_size: int = 32,
    prefetch: int = 2,
    start_index: int = 0,
    preprocessing: Preprocessing = NO_PREPROCESSING,
) -> Generator[FrameBatch]:
    """Yield every displayed frame from ``start_index`` on, in order, in batches of at most ``batch_size``.

    One thread decodes, another one resizes, and up to ``prefetch`` batches wait.  Errors of both threads are raised
    here; closing or leaving the generator stops them.  Frames before ``start_index`` are decoded and dropped, since
    seeking is not exact in every container.  ``size``, ``fit``, ``boxes`` and ``preprocessing`` are those of
    :class:`lightning_kp.frames.view.ViewSettings`.
    """
    reader = video if isinstance(video, VideoReader) else open_video(video)
    placements = Placements(reader.info, size, fit, boxes)
    preprocessor = learn_preprocessor(reader, placements, preprocessing)
    batches = _batches(reader, placements, batch_size, start_index, preprocessor)
    with closing(in_background(batches, prefetch)) as ready:
        yield from ready


def _batches(
    reader: VideoReader,
    placements: Placements,
    batch_size: int,
    start_index: int,
    preprocessor: Preprocessor | None,
) -> Generator[FrameBatch]:
    kept: list[tuple[DecodedFrame, Image]] = []
    with closing(in_background(reader.decode(_threads()), DECODED_AHEAD)) as frames:
        for frame in frames:
            if frame.index < start_index:
                continue
            kept.append((frame, placements.square(frame)))
            if len(kept) == batch_size:
                yield _collated(kept, placements, preprocessor)
                kept = []
    if kept:
        yield _collated(kept, placements, preprocessor)


def _threads() -> int:
    """Number of decoding threads: half of the cores, since the network, the bottleneck, computes on the others.

    Only cores that this process may use count, if the system reports them: a cluster assigns a few of many.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // 2)


def _collated(
    kept: list[tuple[DecodedFrame, Image]], placements: Placements, preprocessor: Preprocessor | None
) -> FrameBatch:
    index = [frame.index for frame, _ in kept]
    squares = np.stack([image for _, image in kept])
    transforms = torch.eye(3, dtype=torch.float64).expand(len(kept), 3, 3)
    if preprocessor is not None:
        squares, transforms = preprocessor(squares)
    return FrameBatch(
        channels_last(squares),
        torch.tensor(index),
        torch.tensor([frame.time_s for frame, _ in kept], dtype=torch.float64),
        torch.tensor([placements(i).region for i in index], dtype=torch.float64),
        transforms,
        torch.tensor([placements.seen(i) for i in index]),
    )


def channels_last(images: Image) -> Tensor:
    """View NumPy images (B, H, W, 3) as a tensor (B, 3, H, W) in channels-last format, which shares their memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class _End(Generic[T]):
    """The last item that a background thread sends, with the error that stopped it, or None at the end."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def in_background(source: Iterator[T], capacity: int) -> Generator[T]:
    """Yield the items of ``source``, which a thread produces at most ``capacity`` items ahead.

    An error in the thread is raised after the items before it.  FFmpeg and torch release the interpreter lock while
    they work, so that the threads run in parallel.
    """
    inbox: queue.Queue[T | _End[T]] = queue.Queue(max(1, capacity))
    stop = threading.Event()
    thread = threading.Thread(target=_produce, args=(source, inbox, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(item := inbox.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        # Makes room, so that a producer waiting at a full queue continues and sees `stop`.
        while not inbox.empty():
            inbox.get_nowait()
        thread.join()


def _produce(source: Iterator[T], inbox: "queue.Queue[T | _End[T]]", stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in source:
            inbox.put(item)
            if stop.is_set():
                break
        close = getattr(source, "close", None)
        if close is not None:
            close()
    except BaseException as raised:  # noqa: BLE001 (raised again where the items are consumed)
        error = raised
    inbox.put(_End(error))
