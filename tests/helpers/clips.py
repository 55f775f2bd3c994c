"""Small videos that tests write: each frame shows its number in colour, so that swapped frames are detected."""

import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def numbered(number: int, size: tuple[int, int] = (48, 64)) -> Image:
    """A frame whose bands, top to bottom, are the bits of ``number``, lowest first; white is 1."""
    height, width = size
    bits = (number >> (np.arange(height) * 8 // height)) & 1
    return np.repeat(np.repeat(bits[:, None] * 255, width, 1)[..., None], 3, 2).astype(np.uint8)


def number_of(image: Image) -> int:
    """The number that :func:`numbered` wrote, read in the middle column, each bit in the middle of its band."""
    height, width = image.shape[:2]
    rows = ((np.arange(8) + 0.5) * height / 8).astype(int)
    return int(((image[rows, width // 2, 1] > 127) << np.arange(8)).sum())


def write_video(
    path: Path,
    images: Iterable[Image],
    *,
    fps: int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode RGB images; ``times_ms`` are presentation times where the rate varies."""
    images = list(images)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.options = options or ({"crf": "1", "g": "10"} if codec == "libx264" else {})
        base = Fraction(1, 1000) if times_ms else Fraction(1, fps)
        stream.codec_context.time_base = base
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (times_ms[i] if times_ms else i), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_numbered(path: Path, count: int, size: tuple[int, int] = (48, 64), **options: Any) -> Path:
    """A video of ``count`` numbered frames."""
    return write_video(path, [numbered(i, size) for i in range(count)], **options)


def turn_display(path: Path, quarter_turns: int) -> None:
    """Ask players of an mp4 to turn it clockwise, as phones do: writes the matrix of its track header."""
    one = 0x10000
    cosine, sine = ((one, 0), (0, one), (-one, 0), (0, -one))[quarter_turns % 4]
    matrix = [cosine, sine, 0, -sine, cosine, 0, 0, 0, 0x40000000]
    data = bytearray(path.read_bytes())
    # After the box's name: version and flags 4, times and track 20, reserved 8, layer to volume 8.
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)


def cache_files(folder: Path) -> dict[str, Any]:
    """Every file below a folder with its size, json files with their content."""
    return {
        path.name: json.loads(path.read_text("utf-8")) if path.suffix == ".json" else path.stat().st_size
        for path in sorted(folder.rglob("*"))
    }
