"""Which part of each frame becomes the network's square, and how."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_kp.errors import ConfigurationError
from lightning_kp.frames.other_animals import hide_others
from lightning_kp.geometry import Fit, Placement, place
from lightning_kp.images.files import Image
from lightning_kp.images.resize import prepare
from lightning_kp.motion.boxes import Box, Boxes, Row, followed_animals, read_boxes
from lightning_kp.motion.following import follow_animals, scene_background
from lightning_kp.video.reader import DecodedFrame, VideoInfo


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
        if number := followed_animals(boxes):
            _, separator, animal = str(boxes).partition("#")
            boxes = f"{follow_animals(info.path, number)}{separator}{animal}"
        self._info = info
        others: list[dict[int, Row]] = []
        if isinstance(boxes, str | Path):
            self._rows, others = read_boxes(boxes, info)
        else:
            self._rows = {0: Row(_one_box(boxes) or (0, 0, info.frame_size[1], info.frame_size[0]))}
        self._starts = sorted(self._rows)
        self._others = others if any(row.body for row in self._rows.values()) else []
        self._placements = [
            place(info.frame_size, size, fit, self._rows[start].box) for start in self._starts
        ]
        self.is_fixed = len(set(self._placements)) == 1
        self._background: Image | None = None

    def __call__(self, index: int) -> Placement:
        """Return the placement of displayed frame ``index``."""
        return self._placements[max(0, bisect_right(self._starts, index) - 1)]

    def seen(self, index: int) -> bool:
        """Whether the animal is seen in displayed frame ``index``; true for boxes that follow none."""
        return self._rows[self._starts[max(0, bisect_right(self._starts, index) - 1)]].seen

    def square(self, frame: DecodedFrame, index: int | None = None) -> Image:
        """Square (size, size, 3), uint8, of a frame, cropped as displayed frame ``index``, by default its own number.

        Other animals whose bodies are known are hidden in it, see :mod:`lightning_kp.frames.other_animals`.
        """
        placement = self(frame.index if index is None else index)
        return self.without_others(frame.prepared(placement), placement, frame.index)

    def without_others(self, square: Image, placement: Placement, index: int) -> Image:
        """Hide other animals in a square (size, size, 3), uint8, that ``placement`` made of frame ``index``."""
        own = self._rows.get(index)
        if not self._others or own is None or own.body is None:
            return square
        rows = (table.get(index) for table in self._others)
        bodies = [row.body for row in rows if row is not None and row.body is not None]
        return hide_others(square, placement, own.body, bodies, self._scene(), self._info.frame_size)

    def _scene(self) -> Image:
        if self._background is None:
            self._background = scene_background(self._info.path)
        return self._background

    @property
    def fingerprint(self) -> str:
        """Text that is equal for equal placements; part of the key of a cache."""
        if self.is_fixed and not self._others:
            return repr(tuple(self._placements[0]))
        rows = [*zip(self._starts, map(tuple, self._placements), strict=True)]
        bodies = [*self._rows.items(), *self._others] if self._others else []
        return hashlib.sha256(repr(rows + bodies).encode()).hexdigest()


class Square(NamedTuple):
    """How an image becomes a square; for ``frame`` of a video, ``placements`` are those of the video."""

    placement: Placement
    frame: int = 0
    placements: Placements | None = None

    def cut(self, image: Image) -> Image:
        """Cut the square (S, S, 3) out of an image (H, W, 3), uint8, and hide other animals where they are known."""
        square = prepare(image, self.placement)
        if self.placements is None:
            return square
        return self.placements.without_others(square, self.placement, self.frame)


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
