"""Base of the datamodules of people with labelled joints; see :mod:`lightning_kp.person_data`."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_kp.batches import LabelledImages
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import EpochRows
from lightning_kp.metrics.protocols import PoseProtocol
from lightning_kp.person_data import Person, PersonAugmentation, PersonDataset, PersonFrames, Pictures

Rows = NDArray[np.int64]


class PersonModule(KeypointDataModule):
    """People -> LabelledImages of ``size`` px, augmented while training.

    A subclass sets ``protocol`` and ``part_names`` (the protocol's joints first) and calls :meth:`serve`.
    """

    cropped = True
    sampler_type = EpochRows
    batch_type = LabelledImages
    protocol: PoseProtocol

    def __init__(
        self,
        size: int,
        augmentation: PersonAugmentation | None,
        seed: int,
        hold_gb: float,
        root: str,
        batch_size: int,
        num_workers: int,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if size < 8:
            raise ConfigurationError(f"size is {size} px.", remedy="Give at least 8, such as 256.")
        self.size = size
        self.augmentation = augmentation or PersonAugmentation()
        self.seed = seed
        self.hold_gb = hold_gb

    def serve(self, people: Mapping[str, Sequence[Person]]) -> None:
        """Make the data sets of the stages."""
        pictures = Pictures(self.hold_gb)
        joints = self.protocol.skeleton.mirror
        mirror = (*joints, *range(len(joints), len(self.part_names)))
        for stage, each in people.items():
            change = self.augmentation if stage == "train" else None
            self.datasets[stage] = PersonDataset(each, mirror, self.size, pictures, change, self.seed)
        last = next(stage for stage in ("test", "val", "train") if stage in people)
        self.datasets["predict"] = PersonFrames(PersonDataset(people[last], mirror, self.size, pictures))


def drawn(rows: Rows, fraction: float, seed: int, option: str) -> tuple[Rows, Rows]:
    """Rows kept and rows held out, drawn by ``seed``, both in order; none of the latter for a fraction of 0."""
    if not 0 <= fraction < 1:
        raise ConfigurationError(f"{option} is {fraction}.", remedy="Give a share from 0 to below 1.")
    order = np.random.default_rng(seed).permutation(rows)
    held_out = max(1, round(len(rows) * fraction)) if fraction else 0
    if held_out >= len(rows):
        raise DataError(
            f"{len(rows)} people, {held_out} of them held out, leave none.",
            remedy=f"Hold out fewer: --data.{option}=0.",
        )
    return np.sort(order[held_out:]), np.sort(order[:held_out])
