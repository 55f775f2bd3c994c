"""Base of every datamodule: a data root, loaders, and the batch type that methods are matched with."""

import os
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import EachOnce, EpochShuffle, ResumableLoader, WholeBatches, as_it_is
from lightning_kp.skeleton import numbered


class KeypointDataModule(L.LightningDataModule):
    """Files -> batches of ``batch_type``.

    A subclass fills ``datasets`` ("train", "val", "test", "predict") in ``setup``.  Relative paths
    are taken from ``root``, so that a project can move to another computer.
    """

    batch_type: ClassVar[type]
    cropped: ClassVar[bool] = False
    """Whether images are cut out around what is looked for, with boxes that no video has by itself."""
    sampler_type: ClassVar[type[EpochShuffle]] = EpochShuffle
    """The order of training; a data set that changes from epoch to epoch needs EpochRows."""
    in_order: ClassVar[bool] = True
    """Whether an animal has its own row among the labelled ones of all images."""
    part_names: tuple[str, ...] = ()
    """Labelled points of one animal, as batches order them; from ``setup`` on."""
    animals: int = 1
    """The most animals that are labelled in an image; from ``setup`` on."""

    def __init__(self, root: str = ".", batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigurationError(
                f"batch_size is {batch_size}; a batch needs at least 1.", remedy="Say --data.batch_size=16."
            )
        if num_workers < 0:
            raise ConfigurationError(
                f"num_workers is {num_workers}; it is a number of processes.",
                remedy="Say --data.num_workers=0 to load without any.",
            )
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.datasets: dict[str, Dataset[Any]] = {}

    def path(self, name: str | Path) -> Path:
        """A path of the configuration: absolute as it is, relative from the data root."""
        return self.root / Path(name).expanduser()

    @property
    def point_names(self) -> tuple[str, ...]:
        """Labelled points of all animals one after another: ``part_names``, or name_1, ..., name_2, ..."""
        return numbered(self.part_names, self.animals)

    @property
    def order_seed(self) -> int:
        """Seed of the order of training: that of ``--seed_everything``, unless a subclass has its own."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))  # where Lightning keeps it

    def loader(self, stage: str, *, shuffle: bool = False, drop_last: bool = False) -> DataLoader[Any]:
        """The loader of one stage; an error names a stage that this datamodule has no data for.

        Shuffled, its order is a function of seed and epoch, so that a resumed run meets the same batches.  A last,
        smaller batch is dropped with ``drop_last``, unless it is the only one.
        """
        if stage not in self.datasets:
            raise DataError(
                f"{type(self).__name__} has no {stage} data.",
                remedy=f"It has: {', '.join(self.datasets) or 'none (call setup first)'}.",
            )
        dataset: Any = self.datasets[stage]
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "drop_last": drop_last and len(dataset) >= self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": as_it_is if isinstance(dataset, WholeBatches) else None,
        }
        if not shuffle:
            return DataLoader(dataset, sampler=self._shares(len(dataset)), **options)
        return ResumableLoader(dataset, sampler=self.sampler_type(len(dataset), self.order_seed), **options)

    def _shares(self, length: int) -> EachOnce | None:
        """What each of several processes scores; in training, Lightning's shares of one length (it synchronises)."""
        trainer = self.trainer
        scoring = trainer is not None and trainer.state.fn in (TrainerFn.VALIDATING, TrainerFn.TESTING)
        if trainer is None or not scoring or not 1 < trainer.world_size <= length:
            return None
        return EachOnce(length, trainer.world_size, trainer.global_rank)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader("train", shuffle=True, drop_last=True)

    def val_dataloader(self) -> Any:
        """No loader at all where nothing validates; asked for by `kp validate`, that is an error."""
        validating = self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING
        return self.loader("val") if "val" in self.datasets or validating else []

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.loader("predict")
