"""Base of the datamodules that yield crowds; see :mod:`lightning_kp.crowd_data`."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from lightning_kp.batches import CrowdImages, Frames
from lightning_kp.crowd_data import CrowdAugmentation, CrowdDataset
from lightning_kp.crowds import Crowd
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError
from lightning_kp.loading import EpochRows


class CrowdModule(KeypointDataModule):
    """Crowds -> CrowdImages of ``size`` px, augmented while training.

    A subclass fills ``crowds`` ("train", "val", "test") in ``setup`` and calls :meth:`serve`; it sets
    ``part_names`` and ``mirror``.
    """

    cropped = True
    sampler_type = EpochRows
    batch_type = CrowdImages
    in_order = False
    mirror: tuple[int, ...] = ()

    def __init__(
        self,
        size: int,
        augmentation: CrowdAugmentation | None,
        jitter_px: float,
        seed: int,
        root: str,
        batch_size: int,
        num_workers: int,
    ) -> None:
        super().__init__(root, batch_size, num_workers)
        if size < 8 or jitter_px < 0:
            raise ConfigurationError(
                f"size is {size}, jitter_px {jitter_px}.", remedy="Give at least 8, and no negative number."
            )
        self.size = size
        self.augmentation = augmentation or CrowdAugmentation()
        self.jitter_px = jitter_px
        self.seed = seed

    def serve(self, crowds: dict[str, Sequence[Crowd]]) -> None:
        """Make the data sets of the stages; ``jitter_px`` concerns ``test`` alone."""
        self.animals = max((len(crowd.people) for each in crowds.values() for crowd in each), default=1)
        for stage, each in crowds.items():
            change = self.augmentation if stage == "train" else None
            jitter = self.jitter_px if stage == "test" else 0.0
            self.datasets[stage] = CrowdDataset(each, self.size, change, jitter, self.seed)
        for stage in ("test", "val", "train"):
            if stage in crowds:
                self.datasets["predict"] = CrowdFrames(CrowdDataset(crowds[stage], self.size))
                return


class CrowdFrames(Dataset[Frames]):
    """Crowds as frames of video 0, for prediction."""

    def __init__(self, crowds: CrowdDataset) -> None:
        self.crowds = crowds

    def __len__(self) -> int:
        return len(self.crowds)

    def __getitem__(self, i: int) -> Frames:
        return Frames(self.crowds[i].image, torch.tensor(0), torch.tensor(i))
