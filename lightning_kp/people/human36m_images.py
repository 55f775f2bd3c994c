"""Images of people with 2-D poses as data sets: pairs cropped with one box, and labelled crops (000, 5.8).

Deviation: the box is that of the 16 regressed joints; the reference code takes all 32 of Human3.6M, which also hold
toes and fingers, and so crops a little wider with the same margin.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_kp.batches import FramePairs, Frames, LabelledImages
from lightning_kp.errors import DataError
from lightning_kp.geometry import Fit, Placement, place, to_edges
from lightning_kp.images.files import Image, read_image
from lightning_kp.images.resize import prepare
from lightning_kp.people.human36m import MIRROR, Floats, PoseSequence

UNREADABLE_REMEDY = "Extract this sequence again."
MARGIN = 0.3
"""Margin added to the box of the joints on each side, as a share of its side (from the reference code)."""
MIN_LEFT_ON_THE_RIGHT = 4
"""A person faces the camera if at least this many of the 6 left joints lie to the right of their counterparts.

The reference code uses 9 of 13 of its 32 joints, which is about the same share.
"""


class _Cropper:
    """Reads images and crops people."""

    def __init__(self, sequences: Sequence[PoseSequence], size: int, fit: Fit) -> None:
        self.sequences = sequences
        self.size = size
        self.fit: Fit = fit

    def placement(self, sequence: PoseSequence, i: int, frame_size: tuple[int, int]) -> Placement:
        """How image ``i`` becomes a square: from the box around its joints, or from all of a cropped image."""
        if sequence.is_cropped:
            return place(frame_size, self.size, self.fit)
        return place(
            frame_size, self.size, self.fit, square_box(sequence.points_px(i, frame_size), sequence.name)
        )

    def crop(self, image: Image, placement: Placement) -> Tensor:
        """Crop an image (H, W, 3) to (3, S, S) uint8."""
        return torch.from_numpy(prepare(image, placement)).permute(2, 0, 1)


class PosePairs(_Cropper, Dataset[FramePairs]):
    """Every ``stride``-th pair (i, i + gap) of each sequence; both images are cropped with the box of the first."""

    def __init__(
        self, sequences: Sequence[PoseSequence], gap: int, stride: int, size: int, fit: Fit = "pad"
    ) -> None:
        super().__init__(sequences, size, fit)
        self.gap = gap
        rows = [(s, i) for s, each in enumerate(sequences) for i in range(0, len(each.images) - gap, stride)]
        self._rows = np.array(rows, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> FramePairs:
        number, i = self._rows[index].tolist()
        sequence = self.sequences[number]
        now, later = (read_image(sequence.images[j], remedy=UNREADABLE_REMEDY) for j in (i, i + self.gap))
        placement = self.placement(sequence, i, (now.shape[0], now.shape[1]))
        if later.shape != now.shape:
            raise DataError(
                f"{sequence.images[i + self.gap]} and {sequence.images[i]} differ in size.",
                remedy="All images of one camera must have the same size: extract this sequence again.",
            )
        frame, future = self.crop(now, placement), self.crop(later, placement)
        return FramePairs(frame, future, torch.tensor(number), torch.tensor(i))


class PoseImages(_Cropper, Dataset[LabelledImages]):
    """Every ``stride``-th image with its 16 joints; batches are LabelledImages with points (B, 1, 16, 2).

    ``as_seen``: left and right as they appear in the image, not on the body, for people who turn their back to the
    camera (see :func:`as_seen_from_front`).
    """

    def __init__(
        self,
        sequences: Sequence[PoseSequence],
        stride: int,
        size: int,
        fit: Fit = "pad",
        *,
        as_seen: bool = False,
    ) -> None:
        super().__init__(sequences, size, fit)
        self.as_seen = as_seen
        rows = [(s, i) for s, each in enumerate(sequences) for i in range(0, len(each.images), stride)]
        self._rows = np.array(rows, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> LabelledImages:
        number, i = self._rows[index].tolist()
        sequence = self.sequences[number]
        image = read_image(sequence.images[i], remedy=UNREADABLE_REMEDY)
        frame_size = (image.shape[0], image.shape[1])
        placement = self.placement(sequence, i, frame_size)
        pose_px = sequence.points_px(i, frame_size)
        pose_px = as_seen_from_front(pose_px) if self.as_seen else pose_px
        points = placement.region.from_original_px(torch.from_numpy(pose_px)).float()
        present = ~torch.isnan(points).any(dim=-1)
        points = torch.nan_to_num(points)
        return LabelledImages(self.crop(image, placement), points.unsqueeze(0), present.float().unsqueeze(0))


class PoseFrames(Dataset[Frames]):
    """The images of :class:`PoseImages` for prediction."""

    def __init__(self, images: PoseImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Frames:
        number, i = self.images._rows[index].tolist()
        return Frames(self.images[index].image, torch.tensor(number), torch.tensor(i))


def square_box(points_px: Floats, name: str = "the image") -> tuple[int, int, int, int]:
    """Square box (left, top, right, bottom; edges in pixels) around joints (16, 2), with ``MARGIN``.

    Raises DataError, with ``name``, if no joint is known.
    """
    known = points_px[~np.isnan(points_px).any(axis=-1)]
    if not len(known):
        raise DataError(f"A pose of {name} has no joint.", remedy="Leave out such images.")
    low, high = known.min(axis=0), known.max(axis=0)
    half = max(float((high - low).max()), 1.0) * (0.5 + MARGIN)
    middle = to_edges((low + high) / 2)
    left, top = np.floor(middle - half).astype(int).tolist()
    right, bottom = np.ceil(middle + half).astype(int).tolist()
    return left, top, right, bottom


def as_seen_from_front(points_px: Floats) -> Floats:
    """Exchange left and right of a pose (16, 2) if the person turns their back to the camera.

    Discovered keypoints do not distinguish left from right, so the reference code fits its regressor on such labels.
    """
    left = [joint for joint, other in enumerate(MIRROR) if joint > other and joint < 6] + [10, 11, 12]
    on_the_right = points_px[left, 0] > points_px[[MIRROR[joint] for joint in left], 0]
    return points_px if on_the_right.sum() >= MIN_LEFT_ON_THE_RIGHT else points_px[list(MIRROR)]
