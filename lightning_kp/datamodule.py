"""Base of every datamodule: a data root, loaders, and the batch type that a method must read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset

from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import EachOnce, EpochShuffle, ResumableLoader, WholeBatches, keep_batch
from lightning_kp.skeleton import numbered


class KeypointDataModule(L.LightningDataModule):
    """Reads files and yields batches of ``batch_type``, or of the one of ``batch_types`` that the method reads.

    A subclass fills ``datasets`` ("train", "val", "test", "predict") in ``setup``.  Relative paths
    start at ``root``, so that a project can move to another computer.
    """

    batch_type: ClassVar[type]
    batch_types: ClassVar[tuple[type, ...]] = ()
    """All batch types that it can yield, if there are several: methods get the one that they read."""
    cropped: ClassVar[bool] = False
    """Whether images are crops around animals, which need bounding boxes that a video alone does not have."""
    sampler_type: ClassVar[type[EpochShuffle]] = EpochShuffle
    """Sampler of the training order; a data set that changes from epoch to epoch needs EpochRows."""
    in_order: ClassVar[bool] = True
    """Whether each labelled animal keeps its own row (its position along I) in all images."""
    part_names: tuple[str, ...] = ()
    """Labelled points of one animal, in the order of the batches; known after ``setup``."""
    animals: int = 1
    """Largest number of labelled animals in an image; known after ``setup``."""
    trained_on: Sequence[str] | None = None
    """Marks of the labelled frames that train, which a checkpoint remembers; known after ``setup``, None = unknown."""

    def __init__(self, root: str = ".", batch_size: int = 16, num_workers: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigurationError(
                f"batch_size is {batch_size}; a batch needs at least 1.", remedy="Set --data.batch_size=16."
            )
        if num_workers < 0:
            raise ConfigurationError(
                f"num_workers is {num_workers}; a number of processes, 0 or more, is needed.",
                remedy="Set --data.num_workers=0 to load images in the main process.",
            )
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.datasets: dict[str, Dataset[Any]] = {}

    def path(self, name: str | Path) -> Path:
        """Resolve a path of the configuration: relative paths start at the data root, absolute ones stay."""
        return self.root / Path(name).expanduser()

    @property
    def served_type(self) -> type:
        """The batch type that the trainer's method reads if it is offered, else ``batch_type``."""
        trainer = self.trainer
        read = getattr(getattr(trainer, "lightning_module", None), "batch_type", None)
        return read if read in self.batch_types else self.batch_type

    @property
    def point_names(self) -> tuple[str, ...]:
        """Names of the labelled points of all animals: ``part_names``, or name_1, ..., name_2, ... for several."""
        return numbered(self.part_names, self.animals)

    @property
    def order_seed(self) -> int:
        """Seed of the training order: that of ``--seed_everything``, unless a subclass has its own."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))  # where Lightning keeps it

    def loader(self, stage: str, *, shuffle: bool = False, drop_last: bool = False) -> DataLoader[Any]:
        """Return the loader of one stage.  Raises DataError for a stage that this datamodule has no data for.

        With ``shuffle`` the order is a function of seed and epoch, so that a resumed run gets the same batches.
        ``drop_last`` drops a last, smaller batch unless it is the only one.
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
            "collate_fn": keep_batch if isinstance(dataset, WholeBatches) else None,
        }
        if not shuffle:
            return DataLoader(dataset, sampler=self._shares(len(dataset)), **options)
        return ResumableLoader(dataset, sampler=self.sampler_type(len(dataset), self.order_seed), **options)

    def _shares(self, length: int) -> EachOnce | None:
        """Sampler of this process's share when several processes validate or test; None otherwise.

        In training, Lightning's own sampler gives all processes shares of one length, since they synchronise.
        """
        trainer = self.trainer
        scoring = trainer is not None and trainer.state.fn in (TrainerFn.VALIDATING, TrainerFn.TESTING)
        if trainer is None or not scoring or not 1 < trainer.world_size <= length:
            return None
        return EachOnce(length, trainer.world_size, trainer.global_rank)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader("train", shuffle=True, drop_last=True)

    def val_dataloader(self) -> Any:
        """Return no loader where there is no validation data, except for `kp validate`, which raises DataError."""
        validating = self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING
        return self.loader("val") if "val" in self.datasets or validating else []

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.loader("predict")
