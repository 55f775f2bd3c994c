"""Ground truth of a rendered arena (``NAME.truth.npz`` beside ``NAME.mp4``) as labelled frames.

Every frame of the video is labelled, points that another animal covers too.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lightning_kp.arena.recording import read_truth
from lightning_kp.errors import DataError
from lightning_kp.images.files import Image
from lightning_kp.labels.frames import OpenFrame, OpenLabels
from lightning_kp.video.opening import open_video
from lightning_kp.video.reader import DecodedFrame

TRUTH_SUFFIX = ".truth.npz"


def is_truth(path: str | Path) -> bool:
    """Whether a file is, by its name, the ground truth of a rendered arena."""
    return Path(path).name.endswith(TRUTH_SUFFIX)


def open_truth(path: Path, video: Path | None = None) -> OpenLabels:
    """All frames of a rendered video with their true points (I, K, 2) in pixels.

    ``video`` is the file beside ``path`` by default.  Frames are decoded in order, in one pass, as long as they
    are read in order.  Raises DataError if one of the two files cannot be read.
    """
    truth = read_truth(path)
    video = video or path.with_name(path.name.removesuffix(TRUTH_SUFFIX) + ".mp4")
    with open_video(video) as reader:
        info = reader.info
    images = _FrameImages(video)
    frames = [
        OpenFrame(
            f"{video.name} frame {number}",
            images.reader(number),
            points,
            f"{path.resolve()} frame {number}",
            number,
        )
        for number, points in enumerate(np.asarray(truth.points_px, np.float64))
    ]
    return OpenLabels(path, tuple(truth.keypoint_names), frames, [], info)


class _FrameImages:
    """Images of a video by frame number; asking for an earlier frame starts a new pass over the video."""

    def __init__(self, video: Path) -> None:
        self.video = video
        self.following = 0
        self.decoded: Iterator[DecodedFrame] = iter(())

    def reader(self, number: int) -> Callable[[], Image]:
        """A function that returns frame ``number`` as RGB (H, W, 3)."""
        return lambda: self.image(number)

    def image(self, number: int) -> Image:
        """Frame ``number`` as RGB (H, W, 3).  Raises DataError if the video ends before it."""
        if number < self.following or self.following == 0:
            self.decoded = self._decode()
        for frame in self.decoded:
            self.following = frame.index + 1
            if frame.index == number:
                return frame.rgb()
        raise DataError(f"{self.video} ends before frame {number}.", remedy="Render the video again.")

    def _decode(self) -> Iterator[DecodedFrame]:
        with open_video(self.video) as reader:
            yield from reader.decode()
