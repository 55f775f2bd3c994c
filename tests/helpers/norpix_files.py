"""Norpix ``.seq`` files in the layout of StreamPix 3 (version 3) and 6 (version 5), as Caltech's mouse videos are."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from clips import Image
from PIL import Image as Pillow

GREY, BGR, JPEG_GREY, JPEG_COLOUR, PNG_GREY = 100, 200, 102, 201, 1


def header(
    size: tuple[int, int], kind: int, frames: int, fps: float = 30.0, version: int = 3, compression: int = 0
) -> bytearray:
    """The 1,024 bytes before the frames."""
    height, width = size
    channels = 3 if kind in (BGR, JPEG_COLOUR) else 1
    image = height * width * channels
    raw = bytearray(1024)
    struct.pack_into("<I20s", raw, 0, 0xFEED, "Norpix seq".encode("utf-16-le"))
    struct.pack_into("<iI", raw, 28, version, 1024)
    block = -(-(image + 8) // 512) * 512  # blocks are aligned to sectors
    struct.pack_into("<9I", raw, 548, width, height, 8 * channels, 8, image, kind, frames, 0, block)
    struct.pack_into("<d", raw, 584, fps)
    struct.pack_into("<I", raw, 620, compression)
    return raw


def write_seq(
    path: Path,
    images: Sequence[Image],
    kind: int = GREY,
    *,
    times_s: Sequence[float] | None = None,
    frames: int | None = None,
    version: int = 3,
    compression: int = 0,
    empty: int = 8,
) -> Path:
    """Write RGB images; the times count from a morning in 2015, and ``frames`` is the number that is announced."""
    count = len(images) if frames is None else frames
    size = (images[0].shape[0], images[0].shape[1])
    parts = [bytes(header(size, kind, count, version=version, compression=compression))]
    is_file = kind in (JPEG_GREY, JPEG_COLOUR, PNG_GREY) or compression == 1
    if version >= 5 and not is_file:
        parts.append(bytes(8192 - 1024))
    for number, image in enumerate(images):
        time_s = 1_430_000_000 + (number / 30 if times_s is None else times_s[number])
        microseconds = round(time_s % 1 * 1e6)
        stamp = struct.pack("<IHH", int(time_s), microseconds // 1000, microseconds % 1000)
        parts.append(_file(image, kind) + stamp + bytes(empty) if is_file else _block(image, kind, stamp))
    path.write_bytes(b"".join(parts))
    return path


def _block(image: Image, kind: int, stamp: bytes) -> bytes:
    pixels = image[..., ::-1] if kind == BGR else image[..., 0]
    raw = np.ascontiguousarray(pixels).tobytes() + stamp
    return raw + bytes(-len(raw) % 512)


def _file(image: Image, kind: int) -> bytes:
    buffer = io.BytesIO()
    picture = Pillow.fromarray(image) if kind == JPEG_COLOUR else Pillow.fromarray(image[..., 0])
    picture.save(
        buffer,
        "PNG" if kind == PNG_GREY else "JPEG",
        **({} if kind == PNG_GREY else {"quality": 95, "subsampling": 0}),
    )
    raw = buffer.getvalue()
    return struct.pack("<I", len(raw) + 4) + raw
