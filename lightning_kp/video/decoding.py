"""Decoding through PyAV: any file that FFmpeg reads, also one that is damaged in part."""

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
from lightning_kp.video.reader import VideoInfo, VideoReader

PROBED_PACKETS = 512
"""Packets whose times are looked at before decoding, to notice a variable frame rate early."""
FALLBACK_FPS = 25.0
VARIABLE_RATE = "the frame rate varies; gaps are counted in frames, and each frame keeps its own time"
# Since PyAV 17 swscale takes all cores by default, which loses time on frames of this size.
ONE_THREAD: dict[str, int] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


@dataclass(slots=True)
class AvFrame:
    """A frame in the decoder's own pixel format; ``turns`` are quarter turns still to be applied."""

    index: int
    time_s: float
    frame: av.VideoFrame
    turns: int
    stored_size: tuple[int, int]
    reformatter: VideoReformatter

    def rgb(self) -> Image:
        return np.ascontiguousarray(np.rot90(self._converted(self.stored_size), self.turns))

    def prepared(self, placement: Placement) -> Image:
        """Scaling while converting reads each pixel once; it needs the whole, unturned frame."""
        height, width = self.stored_size
        if self.turns == 0 and placement.box == (0, 0, width, height):
            return pad(self._converted(placement.content), placement)
        return prepare(self.rgb(), placement)

    def _converted(self, size: tuple[int, int]) -> Image:
        # BILINEAR widens with the scale in swscale: the same antialiased triangle as in `prepare`.
        converted = self.reformatter.reformat(
            self.frame, width=size[1], height=size[0], format="rgb24", interpolation="BILINEAR", **ONE_THREAD
        )
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)


class PyAvReader(VideoReader):
    """Any file that FFmpeg reads, decoded in sequence."""

    def __init__(self, path: Path) -> None:
        super().__init__(_probe(path))

    def decode(self, threads: int = 0) -> Iterator[AvFrame]:
        info = self.info
        turns = info.rotation // 90 % 4
        stored = info.frame_size[::-1] if turns % 2 else info.frame_size
        clock = _Clock(info.fps)
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
                        "the frame size changes on the way; such frames are stretched to the first size"
                    )
                yield AvFrame(count, clock.tick(frame.time), frame, turns, stored, reformatter)
                count += 1
        self._report(count, clock, damage)

    def _report(self, count: int, clock: "_Clock", damage: "_Damage") -> None:
        """What only a whole pass can know."""
        info = self.info
        if count == 0:
            raise VideoError(
                f"{info.path} has no frame that can be decoded: {damage.reason or 'empty stream'}."
            )
        promised = f" of {info.n_frames}" if info.n_frames else ""
        if damage.errors:
            self.note(
                f"{damage.errors} damaged part(s) were skipped ({damage.reason}); {count}{promised} frames are used"
            )
        elif info.n_frames is not None and count < info.n_frames:
            self.note(f"it holds {count}{promised} promised frames; the file may be cut short")
        if clock.guessed:
            self.note(f"{clock.guessed} frame(s) have no usable presentation time; it was interpolated")
        # Holes that damage leaves are no variable rate.
        if clock.is_variable and not (info.is_variable_rate or damage.errors):
            self.info = replace(self.info, is_variable_rate=True)
            self.note(VARIABLE_RATE)


@dataclass
class _Damage:
    errors: int = 0
    reason: str = ""

    def add(self, error: Exception) -> None:
        self.errors += 1
        self.reason = self.reason or str(getattr(error, "strerror", "") or error)


class _Clock:
    """Presentation times that always rise: a missing or repeated one is one frame after the last."""

    def __init__(self, fps: float) -> None:
        self._step = 1.0 / fps
        self._last: float | None = None
        self._shortest, self._longest = np.inf, 0.0
        self.guessed = 0

    def tick(self, time_s: float | None) -> float:
        if time_s is None or (self._last is not None and time_s <= self._last):
            self.guessed += 1
            time_s = 0.0 if self._last is None else self._last + self._step
        elif self._last is not None:
            self._shortest = min(self._shortest, time_s - self._last)
            self._longest = max(self._longest, time_s - self._last)
        self._last = time_s
        return time_s

    @property
    def is_variable(self) -> bool:
        return _varies(self._shortest, self._longest)


def _varies(shortest: float, longest: float) -> bool:
    # Time bases of a millisecond make 33, 33, 34: such rounding is no variable rate.
    return bool(longest - shortest > max(0.25 * shortest, 0.0021)) if np.isfinite(shortest) else False


def _open(path: Path) -> Any:
    try:
        container = av.open(str(path))
    except (OSError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        hint = "" if not path.is_file() else f" ({path.stat().st_size} bytes)"
        raise VideoError(
            f"{path}{hint} cannot be opened as a video: {reason}.",
            remedy="Play it in a media player; a recording that was cut off may need repair.",
        ) from error
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise VideoError(f"{path} has no video stream (it holds: {kinds}).", remedy="Name another file.")
    return container


def _frames(container: Any, stream: Any, damage: _Damage) -> Iterator[Any]:
    """Every frame that can be decoded; damaged packets are counted and passed over."""
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
            # None flushes what the decoder still holds when the file breaks off.
            yield from (packet.decode() if packet is not None else stream.codec_context.decode(None))
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            damage.add(error)
        if packet is None:
            return


def _probe(path: Path) -> VideoInfo:
    """Open, decode the first frame, look at the first packets' times, close."""
    with _open(path) as container:
        stream = container.streams.video[0]
        damage = _Damage()
        frame = next(_frames(container, stream, damage), None)
        if frame is None:
            why = damage.reason or "the stream is empty"
            raise VideoError(f"{path} has no frame that can be decoded: {why}.", remedy="Convert it again.")
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        duration = _duration(container, stream)
        rotation = int(getattr(frame, "rotation", 0) or 0)
        described = {
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
        problems.append(f"no frame rate is stated; {fps:g} frames per second are assumed")
    is_countless = described["n_frames"] is None and duration is None
    is_variable, count = _probe_packets(path, count_all=is_countless)
    if is_countless:
        described["n_frames"] = count
    if is_variable:
        problems.append(VARIABLE_RATE)
    if rotation % 90:
        problems.append(f"a rotation by {rotation} degrees is asked for; only quarter turns are applied")
        rotation = 0
    size = (frame.height, frame.width)
    return VideoInfo(
        **described,
        frame_size=size[::-1] if rotation % 180 else size,
        fps=fps,
        rotation=rotation,
        is_variable_rate=is_variable,
        problems=tuple(problems),
    )


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _probe_packets(path: Path, count_all: bool) -> tuple[bool, int]:
    """Whether the first packets' presentation times are unevenly spaced; the number of packets read."""
    times: list[float] = []
    count = 0
    try:
        with _open(path) as container:
            for packet in container.demux(container.streams.video[0]):
                count += packet.size > 0
                if count <= PROBED_PACKETS and packet.pts is not None and packet.time_base is not None:
                    times.append(float(packet.pts * packet.time_base))
                if count == PROBED_PACKETS and not count_all:
                    break
    except av.error.FFmpegError:
        pass
    if count >= PROBED_PACKETS:
        # With B-frames the last packets' neighbours in display order are still to come.
        times = sorted(times)[:-32]
    steps = np.diff(sorted(times))
    return len(steps) > 1 and _varies(float(steps.min()), float(steps.max())), count
