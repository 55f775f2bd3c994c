"""Decoding with PyAV: any file that FFmpeg reads, including files that are damaged in part."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image
from lightning_kp.images.resize import pad, prepare
from lightning_kp.video.clock import FALLBACK_FPS, VARIABLE_RATE, Clock, varies
from lightning_kp.video.reader import VideoInfo, VideoReader

PROBED_PACKETS = 512
"""Number of packets whose time stamps are checked before decoding, to detect a variable frame rate early."""
REORDERED_PACKETS = 32
"""Packets at the end of the probe that are ignored: with B-frames, their neighbours in display order follow later."""
MAX_EXCESS = 4
"""How many times more frames a header may promise than its file has room for, or holds, before they are counted."""
# Since PyAV 17 swscale uses all cores by default, which is slower on frames of this size.
ONE_THREAD: dict[str, int] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


@dataclass(slots=True)
class AvFrame:
    """A frame in the decoder's own pixel format.

    ``turns`` is the number of counter-clockwise quarter turns still to be applied, ``stored_size`` the (height, width)
    in pixels before they are.
    """

    index: int
    time_s: float
    frame: av.VideoFrame
    turns: int
    stored_size: tuple[int, int]
    reformatter: VideoReformatter

    def rgb(self) -> Image:
        """Return the whole frame, turned as displayed: RGB (H, W, 3), uint8."""
        return np.ascontiguousarray(np.rot90(self._converted(self.stored_size), self.turns))

    def prepared(self, placement: Placement) -> Image:
        """Crop and resize the frame to the network's square: RGB (size, size, 3), uint8.

        A whole frame without rotation is scaled during the conversion to RGB, which reads each pixel only once.
        """
        height, width = self.stored_size
        if self.turns == 0 and placement.box == (0, 0, width, height):
            return pad(self._converted(placement.content), placement)
        return prepare(self.rgb(), placement)

    def _converted(self, size: tuple[int, int]) -> Image:
        # In swscale BILINEAR widens with the scale: the same antialiasing triangle filter as in `prepare`.
        converted = self.reformatter.reformat(
            self.frame, width=size[1], height=size[0], format="rgb24", interpolation="BILINEAR", **ONE_THREAD
        )
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)


class PyAvReader(VideoReader):
    """Reader for any file that FFmpeg reads; frames are decoded in sequence."""

    def __init__(self, path: Path) -> None:
        super().__init__(_probe(path))

    def decode(self, threads: int = 0) -> Iterator[AvFrame]:
        """Yield every frame that can be decoded.  Raises VideoError if there is none."""
        info = self.info
        turns = info.rotation // 90 % 4
        stored = info.frame_size[::-1] if turns % 2 else info.frame_size
        clock = Clock(info.fps)
        reformatter = VideoReformatter()
        damage = _Damage()
        count = 0
        with _open(info.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            for frame in _frames(container, stream, damage):
                if (frame.height, frame.width) != stored:
                    self.note(
                        "the frame size changes within the video; frames of another size are stretched to the first"
                    )
                yield AvFrame(count, clock.tick(frame.time), frame, turns, stored, reformatter)
                count += 1
        self._report(count, clock, damage)

    def _report(self, count: int, clock: Clock, damage: "_Damage") -> None:
        """Note the problems that only a whole pass can find.  Raises VideoError if there was no frame at all."""
        info = self.info
        if count == 0:
            raise _no_frame(info.path, damage)
        announced = f" of {info.n_frames}" if info.n_frames else ""
        if damage.errors:
            self.note(
                f"{damage.errors} damaged packet(s) were skipped ({damage.reason}); {count}{announced} frames are used"
            )
        elif info.n_frames is not None and count < info.n_frames:
            self.note(
                f"only {count} of {info.n_frames} announced frames can be decoded; the file may be truncated"
            )
        if clock.guessed:
            self.note(
                f"{clock.guessed} frame(s) have no valid time stamp; their times are derived from the frame rate"
            )
        # Gaps that damaged packets leave do not mean that the frame rate varies.
        if clock.is_variable and not (info.is_variable_rate or damage.errors):
            self.info = replace(self.info, is_variable_rate=True)
            self.note(VARIABLE_RATE)


@dataclass
class _Damage:
    """Number of decoding errors, and the reason of the first one."""

    errors: int = 0
    reason: str = ""

    def add(self, error: Exception) -> None:
        self.errors += 1
        self.reason = self.reason or str(getattr(error, "strerror", "") or error)


def _open(path: Path) -> Any:
    try:
        container = av.open(str(path))
    except (OSError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        size = f" ({path.stat().st_size} bytes)" if path.is_file() else ""
        remedy = "Check the path."
        if path.is_file():
            remedy = "Check that it plays in a media player; an interrupted recording may need repair."
        raise VideoError(f"{path}{size} cannot be opened as a video: {reason}.", remedy=remedy) from error
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise VideoError(
            f"{path} has no video stream (it contains: {kinds}).",
            remedy="Give a video file or a folder of images.",
        )
    return container


def _no_frame(path: Path, damage: _Damage) -> VideoError:
    return VideoError(
        f"No frame of {path} can be decoded: {damage.reason or 'the video stream is empty'}.",
        remedy=f"If it plays in a media player, convert it: ffmpeg -i {shlex.quote(path.name)} converted.mp4",
    )


def _frames(container: Any, stream: Any, damage: _Damage) -> Iterator[Any]:
    """Yield every frame that can be decoded; damaged packets are counted and skipped."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            damage.add(error)
            packet = None
        try:
            # None flushes the frames that the decoder still holds when the file ends early.
            yield from (packet.decode() if packet is not None else stream.codec_context.decode(None))
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            damage.add(error)
        if packet is None:
            return


def _probe(path: Path) -> VideoInfo:
    """Read the metadata: opens the file, decodes its first frame, checks the times of its first packets."""
    with _open(path) as container:
        stream = container.streams.video[0]
        damage = _Damage()
        frame = next(_frames(container, stream, damage), None)
        if frame is None:
            raise _no_frame(path, damage)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        duration = _duration(container, stream)
        rotation = int(getattr(frame, "rotation", 0) or 0)
        metadata = {
            "path": path,
            "name": path.stem,
            "codec": stream.codec_context.name,
            "pixel_format": frame.format.name,
            "n_frames": stream.frames or None,
            "duration_s": duration,
        }
    problems = []
    if not 0 < fps < 10_000:
        fps = FALLBACK_FPS
        problems.append(f"the file states no frame rate; {fps:g} frames per second are assumed")
    announced = metadata["n_frames"] or (None if duration is None else round(duration * fps))
    is_variable, count = _probe_packets(path, announced)
    if announced is None:
        metadata["n_frames"] = count
    elif count is not None and announced > MAX_EXCESS * max(1, count):
        metadata["n_frames"], metadata["duration_s"] = count, count / fps
        problems.append(f"its header promises {announced} frames, but it holds {count}, which are used")
    if is_variable:
        problems.append(VARIABLE_RATE)
    if rotation % 90:
        problems.append(
            f"its rotation by {rotation} degrees is ignored; only multiples of 90 degrees are applied"
        )
        rotation = 0
    size = (frame.height, frame.width)
    return VideoInfo(
        **metadata,
        frame_size=size[::-1] if rotation % 180 else size,
        fps=fps,
        rotation=rotation,
        is_variable_rate=is_variable,
        problems=tuple(problems),
    )


def _duration(container: Any, stream: Any) -> float | None:
    """Duration in seconds according to the stream or the container, None if neither states it."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _probe_packets(path: Path, announced: int | None) -> tuple[bool, int | None]:
    """Return whether the first packets are unevenly spaced in time, and the number of all packets.

    All are counted only if the number of frames is not ``announced``, or if the file is too small for so many; else
    the number is None.
    """
    times: list[float] = []
    count = size = 0
    is_counted, room = True, MAX_EXCESS * path.stat().st_size
    try:
        with _open(path) as container:
            for packet in container.demux(container.streams.video[0]):
                count += packet.size > 0
                size += packet.size
                if count <= PROBED_PACKETS and packet.pts is not None and packet.time_base is not None:
                    times.append(float(packet.pts * packet.time_base))
                if count == PROBED_PACKETS and announced is not None and announced * size <= room * count:
                    is_counted = False
                    break
    except av.error.FFmpegError:
        pass
    if count >= PROBED_PACKETS:
        times = sorted(times)[:-REORDERED_PACKETS]
    steps = np.diff(sorted(times))
    is_variable = len(steps) > 1 and varies(float(steps.min()), float(steps.max()))
    return is_variable, count if is_counted else None
