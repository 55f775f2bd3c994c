"""Which part of each frame becomes the network's square, and how."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.motion.boxes import FOLLOW, Box, Boxes, read_boxes
from lightning_kp.video.reader import VideoInfo


class Placements:
    """The placement of each frame of one video in a square of ``size`` pixels.

    ``is_fixed`` tells whether it is the same for all frames.
    """

    def __init__(self, info: VideoInfo, size: int, fit: Fit, boxes: Boxes = None) -> None:
        """Read the boxes; ``follow`` decodes the video, unless that was done before.

        Raises ConfigurationError for a size or box out of range and DataError for an unusable file of boxes.
        """
        if size < 1:
            raise ConfigurationError(
                f"size is {size}.", remedy="Give the side of the square in pixels, for example 128."
            )
        if boxes == FOLLOW:
            # Imported here: only these boxes need to decode the video.
            from lightning_kp.motion.following import follow_animal

            boxes = follow_animal(info.path)
        table = {0: _one_box(boxes)} if not isinstance(boxes, (str, Path)) else read_boxes(boxes, info)
        self._starts = sorted(table)
        self._placements = [place(info.frame_size, size, fit, table[start]) for start in self._starts]
        self.is_fixed = len(set(self._placements)) == 1

    def __call__(self, index: int) -> Placement:
        """Return the placement of displayed frame ``index``."""
        return self._placements[max(0, bisect_right(self._starts, index) - 1)]

    @property
    def fingerprint(self) -> str:
        """Text that is equal for equal placements; part of the key of a cache."""
        if self.is_fixed:
            return repr(tuple(self._placements[0]))
        rows = zip(self._starts, map(tuple, self._placements), strict=True)
        return hashlib.sha256(repr(list(rows)).encode()).hexdigest()


def _one_box(boxes: Sequence[int] | None) -> Box | None:
    if boxes is None:
        return None
    if len(boxes) != 4:
        raise ConfigurationError(
            f"boxes is {list(boxes)}, but a box has four numbers.",
            remedy="Give [left, top, right, bottom] in pixels of the video, or a csv file.",
        )
    left, top, right, bottom = (round(edge) for edge in boxes)
    return left, top, right, bottom
