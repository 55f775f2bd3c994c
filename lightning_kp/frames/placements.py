"""Where in each frame of a video the network's square lies."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.motion.boxes import FOLLOW, Box, Boxes, _read
from lightning_kp.video.reader import VideoInfo


class Placements:
    """How each frame of one video becomes the network's square; ``is_fixed`` if all in the same way."""

    def __init__(self, info: VideoInfo, size: int, fit: Fit, boxes: Boxes = None) -> None:
        if size < 1:
            raise ConfigurationError(
                f"size is {size}.", remedy="Give the side of the square in pixels, say 128."
            )
        if boxes == FOLLOW:
            from lightning_kp.motion.following import followed  # decodes the video, which no other boxes need

            boxes = followed(info.path)
        table = {0: _one_box(boxes)} if not isinstance(boxes, (str, Path)) else _read(boxes, info)
        self._starts = sorted(table)
        self._placements = [place(info.frame_size, size, fit, table[start]) for start in self._starts]
        self.is_fixed = len(set(self._placements)) == 1

    def __call__(self, index: int) -> Placement:
        """The placement of displayed frame ``index``."""
        return self._placements[max(0, bisect_right(self._starts, index) - 1)]

    @property
    def fingerprint(self) -> str:
        """Equal for equal placements."""
        if self.is_fixed:
            return repr(tuple(self._placements[0]))
        rows = zip(self._starts, map(tuple, self._placements), strict=True)
        return hashlib.sha256(repr(list(rows)).encode()).hexdigest()


def _one_box(boxes: Sequence[int] | None) -> Box | None:
    if boxes is None:
        return None
    if len(boxes) != 4:
        raise ConfigurationError(
            f"boxes is {list(boxes)}: a box has four numbers.",
            remedy="Give [left, top, right, bottom] in pixels of the video, or a csv file.",
        )
    left, top, right, bottom = (round(edge) for edge in boxes)
    return left, top, right, bottom
