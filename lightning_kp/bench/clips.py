"""Videos for the benchmarks: the first frames of real recordings if available, otherwise a rendered texture."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RECORDINGS = {"mouse": "mouse_openfield/videos/*.mp4", "flies": "two_flies/fly120s/*.mp4"}


def sample_clips(folder: Path, frames: int) -> dict[str, Path]:
    """Clips of at most ``frames`` frames by name: cut from the data in ``KP_DATA``, or a single texture."""
    data = os.environ.get("KP_DATA")
    found = {name: sorted(Path(data).glob(pattern)) for name, pattern in RECORDINGS.items()} if data else {}
    clips = {name: cut(videos[0], folder / f"{name}.mp4", frames) for name, videos in found.items() if videos}
    return clips or {"texture": write_texture(folder / "texture.mp4", frames)}


def cut(video: Path, path: Path, frames: int) -> Path:
    """Copy the first ``frames`` frames without encoding them again."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if number == frames or packet.dts is None:
                break
            packet.stream = stream
            target.mux(packet)
    return path


def write_texture(
    path: Path, frames: int, size: tuple[int, int] = (480, 640), distinct: int = 60, fps: int = 30
) -> Path:
    """Encode a drifting texture of coarse noise; ``distinct`` images repeat. ``size`` is (height, width) in pixels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8)
    texture = np.kron(coarse, np.ones((4, 4, 1), dtype=np.uint8))
    images = [
        av.VideoFrame.from_ndarray(np.roll(texture, (i, 2 * i), axis=(0, 1)), format="rgb24").reformat(
            format="yuv420p"
        )
        for i in range(min(distinct, frames))
    ]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = texture.shape[0], texture.shape[1], "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(frames):
            image = images[number % len(images)]
            image.pts, image.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path
