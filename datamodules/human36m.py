"""Human3.6M: pairs of images of people for discovery, and labelled crops for supervision and 000, Table 5.3."""

import warnings
from collections.abc import Sequence
from typing import Literal

from torch.utils.data import DataLoader

from lightning_kp.batches import FramePairs, LabelledImages
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.geometry import Fit
from lightning_kp.people.human36m import (
    JOINT_NAMES,
    SIX_ACTIVITIES,
    TEST_SUBJECTS,
    TRAIN_SUBJECTS,
    PoseSequence,
    find_sequences,
)
from lightning_kp.people.human36m_images import PoseFrames, PoseImages, PosePairs


class Human36M(KeypointDataModule):
    """Pairs (t, t + gap) of extracted images, both cropped with the person's bounding box in the first.

    Methods that read LabelledImages get single images with the 16 joints, left and right as on the body (the supervised
    row of 000, Table 5.3).  One of three layouts is detected below ``root`` (see
    :mod:`lightning_kp.people.human36m`).  ``test`` serves the test subjects, ``predict`` their images, and
    :meth:`poses` the images of one activity with their joints.

    Warns of pairs from Simplified Human3.6M, whose images are cropped one by one: the background moves between the two
    images of a pair, which a difference of frames shows as motion.

    Args:
        root: Folder that holds S1, S5 and so on.
        size: Side of the square image that the network sees, in pixels.
        fit: How a crop that is not square, because its box exceeds the image, is made square: ``pad``, ``crop`` or
            ``squash``.
        gap: Distance of the two images of a pair, in extracted images (000: 20).
        pair_stride: Use every n-th pair or labelled image; the reference code uses every ``gap``-th pair.
        activities: Activities to use, such as ``[Waiting, Walking]``; by default the six of Simplified Human3.6M.
        train_subjects: Subjects for training and validation.
        test_subjects: Subjects for the test.
        val_fraction: Share of the training sequences, evenly spread, held out for validation; 0 for none.
        batch_size: Pairs in a batch (000: 36).
        num_workers: Processes that load images.
    """

    batch_type = FramePairs
    batch_types = (FramePairs, LabelledImages)
    part_names = JOINT_NAMES

    def __init__(
        self,
        root: str = ".",
        size: int = 128,
        fit: Fit = "pad",
        gap: int = 20,
        pair_stride: int = 20,
        activities: list[str] | None = None,
        train_subjects: list[str] | None = None,
        test_subjects: list[str] | None = None,
        val_fraction: float = 0.05,
        batch_size: int = 36,
        num_workers: int = 0,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if gap < 1 or pair_stride < 1 or not 0 <= val_fraction < 1:
            raise ConfigurationError(
                f"gap is {gap}, pair_stride is {pair_stride} and val_fraction is {val_fraction}.",
                remedy="Set --data.gap and --data.pair_stride to at least 1, and --data.val_fraction in [0, 1).",
            )
        self.save_hyperparameters(logger=False)
        self.size = size
        self.fit: Fit = fit
        self.gap = gap
        self.pair_stride = pair_stride
        self.activities = tuple(activities or SIX_ACTIVITIES)
        self.train_subjects = tuple(train_subjects or TRAIN_SUBJECTS)
        self.test_subjects = tuple(test_subjects or TEST_SUBJECTS)
        self.val_fraction = val_fraction
        if both := sorted({*self.train_subjects} & {*self.test_subjects}):
            raise ConfigurationError(
                f"{', '.join(both)} would be used for both training and test.",
                remedy="Give each subject to only one of --data.train_subjects and --data.test_subjects.",
            )

    def setup(self, stage: str | None = None) -> None:
        """Find the sequences of the subjects that ``stage`` needs."""
        if stage in (None, "fit", "validate"):
            train, val = _held_out(self._sequences(self.train_subjects), self.val_fraction)
            self.datasets["train"] = self._served(train)
            if val:
                self.datasets["val"] = self._served(val)
        if stage in (None, "test", "predict"):
            test = self._sequences(self.test_subjects)
            self.datasets["test"] = self._served(test)
            self.datasets["predict"] = PoseFrames(PoseImages(test, 1, self.size, self.fit))

    def poses(
        self, side: Literal["train", "test"], activity: str, *, stride: int = 1, as_seen: bool = False
    ) -> DataLoader[LabelledImages]:
        """Serve every ``stride``-th image of one activity in order, as LabelledImages with points (B, 1, 16, 2).

        ``as_seen``: left and right as they appear in the image; see :class:`PoseImages`.
        """
        subjects = self.train_subjects if side == "train" else self.test_subjects
        sequences = find_sequences(self.root, subjects, [activity])
        images = PoseImages(sequences, stride, self.size, self.fit, as_seen=as_seen)
        return DataLoader(images, batch_size=self.batch_size, num_workers=self.num_workers)

    def _sequences(self, subjects: Sequence[str]) -> list[PoseSequence]:
        return find_sequences(self.root, subjects, self.activities)

    def _served(self, sequences: Sequence[PoseSequence]) -> PosePairs | PoseImages:
        if self.served_type is LabelledImages:
            return PoseImages(sequences, self.pair_stride, self.size, self.fit)
        if cropped := [each.name for each in sequences if each.is_cropped]:
            warnings.warn(
                f"The images of {cropped[0]} are cropped one by one (Simplified Human3.6M), so that the background "
                "moves between the two of a pair. Train on an extraction of whole images, which are cropped in pairs, "
                "and keep these for `kp score --human36m`; or reconstruct the image itself (--model.target=image).",
                stacklevel=2,
            )
        pairs = PosePairs(sequences, self.gap, self.pair_stride, self.size, self.fit)
        if not len(pairs):
            longest = max((len(each.images) for each in sequences), default=0)
            raise DataError(
                f"The longest of {len(sequences)} sequences has {longest} images, but a pair needs two that are "
                f"{self.gap} apart.",
                remedy="Set a smaller --data.gap, or extract more images.",
            )
        return pairs


def _held_out(
    sequences: list[PoseSequence], fraction: float
) -> tuple[list[PoseSequence], list[PoseSequence]]:
    """Divide sequences into training and validation: about ``fraction`` of them validate, evenly spread.

    Each part has at least one sequence, if there are two.
    """
    if fraction == 0 or len(sequences) < 2:
        return sequences, sequences if fraction else []
    step = max(2, round(1 / fraction))
    chosen = set(range(0, len(sequences), step))
    return [each for i, each in enumerate(sequences) if i not in chosen], [
        sequences[i] for i in sorted(chosen)
    ]
