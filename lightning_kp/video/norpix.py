"""Reading Norpix ``.seq`` files, which StreamPix and Piotr Dollar's toolbox write; CRIM13, MARS and CalMS21 use them.

Layout, from the open readers of the toolbox (seqReaderPlugin.m) and of PIMS (norpix_reader.py), of which no code is
used; all numbers are little-endian:

* Bytes 0 to 1023, the header: 0xFEED, "Norpix seq" in UTF-16, and at the offsets of :data:`FIELDS` version, sizes,
  format and frame rate. The first frame follows at 1024; at 8192 in uncompressed files of version 5 and later.
* Uncompressed frames: blocks of a fixed size, each an image and its time.
* Compressed frames: the size of the image plus 4, the image as a JPEG or PNG file, its time; then 0 or 8 empty bytes.
* Times: seconds (4 bytes), milliseconds (2) and, from version 5 on, microseconds (2).

There is no index in the file, so that compressed ones are walked once, from size to size, when they are opened.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.errors import VideoError
from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image
from lightning_kp.images.resize import prepare
from lightning_kp.video.clock import FALLBACK_FPS, VARIABLE_RATE, Clock, varies
from lightning_kp.video.reader import VideoInfo, VideoReader

MAGIC = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")
HEADER = 1024
FIELDS = {
    "version": ("<i", 28), "width": ("<I", 548), "height": ("<I", 552), "bits": ("<I", 556),
    "image_bytes": ("<I", 564), "format": ("<I", 568), "frames": ("<I", 572), "origin": ("<I", 576),
    "block": ("<I", 580), "fps": ("<d", 584), "compression": ("<I", 620),
}  # fmt: skip
"""Fields of the header that are used: type and offset. ``block`` is the size of an uncompressed frame with its time."""
UNCOMPRESSED = {(100, 8): "gray", (200, 24): "bgr24"}
"""FFmpeg's names of the pixels, by image format and bits per pixel."""
COMPRESSED = frozenset((1, 2, 102, 201))
"""Image formats whose frames are PNG or JPEG files."""
LATER, LATER_FIRST = 5, 8192
"""The version from which on times have microseconds, ``compression`` is set, and where uncompressed frames begin."""
JPEG = 1
"""Value of ``compression`` for frames that are JPEG files."""
TIME_BYTES = 8
MAX_SIDE, MAX_FRAMES = 65_536, 2**31
RATE_TOLERANCE_S = 0.005
"""Steps in time that differ more from the median do not tell the rate; that of the header may be wrong (toolbox)."""


class _Header(NamedTuple):
    version: int
    frame_size: tuple[int, int]  # height, width
    pixels: str  # FFmpeg's name, or "" for frames that are image files
    image_bytes: int
    block: int
    first: int  # offset of the first frame
    frames: int  # as announced; 0 = unknown
    fps: float


class _Place(NamedTuple):
    """Where the image of a frame lies in the file, in bytes, and its stored time in seconds."""

    offset: int
    size: int
    time_s: float


@dataclass(slots=True)
class NorpixFrame:
    """A decoded frame: ``image`` (H, W), grey, or (H, W, 3), RGB, uint8."""

    index: int
    time_s: float
    image: NDArray[np.uint8]

    def rgb(self) -> Image:
        """Return the whole frame as RGB (H, W, 3), uint8."""
        return np.repeat(self.image[..., None], 3, axis=2) if self.image.ndim == 2 else self.image

    def prepared(self, placement: Placement) -> Image:
        """Crop and resize the frame to the network's square: RGB (size, size, 3), uint8."""
        return prepare(self.rgb(), placement)


def is_norpix(path: Path) -> bool:
    """Whether a file begins like a Norpix ``.seq`` file; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class NorpixReader(VideoReader):
    """Reader for a Norpix ``.seq`` file of grey, BGR, JPEG or PNG frames of 8 bits.

    A damaged frame is skipped with a warning: the next frame takes its index, while the times keep the gap.  Times
    count from the first frame.
    """

    def __init__(self, path: Path) -> None:
        self._header = _read_header(path)
        self._places = _places(path, self._header)
        if not self._places:
            raise VideoError(
                f"No frame of {path} can be read: the file ends after {path.stat().st_size} bytes.",
                remedy="Copy it again.",
            )
        super().__init__(_info(path, self._header, self._places))
        first = next(self.decode(), None)  # raises VideoError if there is no frame
        if first is not None and not self._header.pixels:
            self.info = replace(self.info, pixel_format="gray" if first.image.ndim == 2 else "rgb24")

    def decode(self, threads: int = 0) -> Iterator[NorpixFrame]:
        """Yield every frame that can be decoded.  Raises VideoError if there is none."""
        clock, count, damaged, reason = Clock(self.info.fps), 0, 0, ""
        begin = self._places[0].time_s
        with self.info.path.open("rb") as file:
            for place in self._places:
                file.seek(place.offset)
                try:
                    image = _decoded(file.read(place.size), self._header)
                except MemoryError:
                    raise
                except Exception as error:  # noqa: BLE001  (Pillow raises much of damaged files)
                    damaged, reason = damaged + 1, reason or str(error)
                    continue
                yield NorpixFrame(count, clock.tick(place.time_s - begin), image)
                count += 1
        if count == 0:
            raise VideoError(
                f"No frame of {self.info.path} can be decoded: {reason}.", remedy="Copy it again."
            )
        if damaged:
            self.note(f"{damaged} damaged frame(s) were skipped ({reason}); {count} frames are used")
        if clock.guessed:
            self.note(
                f"{clock.guessed} frame(s) have no valid time stamp; their times are derived from the frame rate"
            )


def _read_header(path: Path) -> _Header:
    """Raise VideoError for a header that is cut off or that asks for something this reader does not know."""
    with path.open("rb") as file:
        raw = file.read(HEADER)
    if len(raw) < HEADER:
        raise VideoError(
            f"{path} has {len(raw)} bytes, fewer than the {HEADER} of a Norpix header.",
            remedy="Copy it again.",
        )
    found = {name: struct.unpack_from(kind, raw, offset)[0] for name, (kind, offset) in FIELDS.items()}
    pixels = _pixels(path, found)
    size, needed = (found["height"], found["width"]), found["width"] * found["height"] * found["bits"] // 8
    is_sound = 0 < size[0] <= MAX_SIDE and 0 < size[1] <= MAX_SIDE
    if not is_sound or (pixels and not needed == found["image_bytes"] <= found["block"]):
        raise VideoError(
            f"{path} states {size[1]}x{size[0]} pixels, {found['image_bytes']} bytes of an image and {found['block']} "
            "of a frame: its header is damaged.",
            remedy="Copy it again.",
        )
    first = LATER_FIRST if pixels and found["version"] >= LATER else HEADER
    return _Header(
        found["version"],
        size,
        pixels,
        found["image_bytes"],
        found["block"],
        first,
        found["frames"],
        found["fps"],
    )


def _pixels(path: Path, found: dict[str, Any]) -> str:
    """FFmpeg's name of the pixels of uncompressed frames, "" for image files.  Raises VideoError for other frames."""
    compression = found["compression"] if found["version"] >= LATER else 0
    if found["format"] in COMPRESSED or compression == JPEG:
        return ""
    pixels = UNCOMPRESSED.get((found["format"], found["bits"]))
    if pixels is None or compression or found["origin"]:
        raise VideoError(
            f"{path} holds Norpix frames of format {found['format']}, {found['bits']} bits, compression {compression} "
            f"and origin {found['origin']}; grey (100) and BGR (200) of 8 bits from the top, JPEG and PNG are read.",
            remedy="Convert it with the program that recorded it, for example to an uncompressed AVI.",
        )
    return pixels


def _places(path: Path, header: _Header) -> list[_Place]:
    """Where the frames lie, as far as the file goes, at most as many as announced."""
    length = path.stat().st_size
    with path.open("rb") as file:
        found = _blocks(file, header, length) if header.pixels else _image_files(file, header, length)
        return [place for _, place in zip(range(header.frames or MAX_FRAMES), found, strict=False)]


def _blocks(file: BinaryIO, header: _Header, length: int) -> Iterator[_Place]:
    for offset in range(header.first, length - header.image_bytes + 1, header.block):
        file.seek(offset + header.image_bytes)
        yield _Place(offset, header.image_bytes, _time(file.read(TIME_BYTES), header.version))


def _image_files(file: BinaryIO, header: _Header, length: int) -> Iterator[_Place]:
    offset, empty = header.first, 0
    while offset + 4 < length:
        file.seek(offset)
        size = int.from_bytes(file.read(4), "little")
        if size <= 4 or offset + size > length:
            return
        file.seek(offset + size)
        yield _Place(offset + 4, size - 4, _time(file.read(TIME_BYTES), header.version))
        if offset == header.first:  # some writers align frames by 8 empty bytes, all of a file alike
            empty = 0 if any(file.read(4)) else 8
        offset += size + TIME_BYTES + empty


def _time(raw: bytes, version: int) -> float:
    """Seconds of a time stamp; NaN where the file ends before it does."""
    if len(raw) < TIME_BYTES:
        return float("nan")
    seconds, milliseconds, microseconds = struct.unpack("<IHH", raw)
    return float(seconds + milliseconds / 1e3 + (microseconds / 1e6 if version >= LATER else 0))


def _info(path: Path, header: _Header, places: list[_Place]) -> VideoInfo:
    steps = np.diff([place.time_s for place in places])
    steps = steps[np.isfinite(steps) & (steps > 0)]
    fps, problems = _rate(steps) or header.fps, []
    if not 0 < fps < 10_000:
        fps = FALLBACK_FPS
        problems.append(f"the file states no frame rate; {fps:g} frames per second are assumed")
    if len(places) < header.frames:
        problems.append(
            f"only {len(places)} of {header.frames} announced frames are in the file; it may be truncated"
        )
    end, length = places[-1].offset + places[-1].size + 2 * TIME_BYTES, path.stat().st_size
    if not header.frames and length > end:
        problems.append(
            f"the frames break off at byte {end} of {length}; the file may be truncated or damaged"
        )
    is_variable = len(steps) > 1 and varies(float(steps.min()), float(steps.max()))
    return VideoInfo(
        path=path,
        name=path.stem,
        frame_size=header.frame_size,
        fps=fps,
        n_frames=len(places),
        duration_s=len(places) / fps,
        codec="norpix",
        pixel_format=header.pixels or "gray",
        is_variable_rate=is_variable,
        problems=(*problems, VARIABLE_RATE) if is_variable else tuple(problems),
    )


def _rate(steps: NDArray[np.float64]) -> float:
    """Frames per second from steps (N,) in seconds; 0 where there are none."""
    if not len(steps):
        return 0.0
    return float(1 / steps[np.abs(steps - np.median(steps)) < RATE_TOLERANCE_S].mean())


def _decoded(raw: bytes, header: _Header) -> NDArray[np.uint8]:
    """Pixels (H, W), grey, or (H, W, 3), RGB.  Raises ValueError or what Pillow raises for damaged ones."""
    if header.pixels:
        pixels = np.frombuffer(raw, np.uint8).reshape(*header.frame_size, -1)
        return pixels[..., 0] if header.pixels == "gray" else np.ascontiguousarray(pixels[..., ::-1])
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as opened:
        if opened.size != header.frame_size[::-1]:
            stated = "x".join(map(str, header.frame_size[::-1]))
            raise ValueError(
                f"a picture of {opened.size[0]}x{opened.size[1]} where the header states {stated}"
            )
        return np.array(opened if opened.mode == "L" else opened.convert("RGB"))
