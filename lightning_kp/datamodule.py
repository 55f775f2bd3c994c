"""Base of every datamodule: a data root, loaders, and the batch type that methods are matched with."""

import os
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from torch.utils.data import DataLoader, Dataset

from lightning_kp.errors import DataError
from lightning_kp.loading import EpochShuffle, ResumableLoader


class KeypointDataModule(L.LightningDataModule):
    """Files -> batches of ``batch_type``.

    A subclass fills ``datasets`` ("train", "val", "test", "predict") in ``setup``.  Relative paths
    are taken from ``root``, so that a project can move to another computer.
    """

    batch_type: ClassVar[type]

    def __init__(self, root: str = ".", batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.datasets: dict[str, Dataset[Any]] = {}

    def path(self, name: str | Path) -> Path:
        """A path of the configuration: absolute as it is, relative from the data root."""
        return self.root / Path(name).expanduser()

    def loader(self, stage: str, *, shuffle: bool = False, drop_last: bool = False) -> DataLoader[Any]:
        """The loader of one stage; an error names a stage that this datamodule has no data for.

        Shuffled, its order is a function of seed and epoch, so that a resumed run meets the same batches.
        """
        if stage not in self.datasets:
            raise DataError(
                f"{type(self).__name__} has no {stage} data.",
                remedy=f"It has: {', '.join(self.datasets) or 'none (call setup first)'}.",
            )
        dataset: Any = self.datasets[stage]
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "drop_last": drop_last,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
        }
        if not shuffle:
            return DataLoader(dataset, **options)
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))  # where Lightning keeps --seed_everything
        return ResumableLoader(dataset, sampler=EpochShuffle(len(dataset), seed), **options)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader("train", shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.loader("predict")
