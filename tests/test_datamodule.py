"""The base of every datamodule: paths, loaders, and errors for missing data."""

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from lightning_kp.batches import Images
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.loading import EpochRows, WholeBatches


class Numbers(KeypointDataModule):
    """Images that show their own number."""

    batch_type = Images

    def setup(self, stage: str) -> None:
        for name in ("train", "val"):
            self.datasets[name] = [Images(torch.full((3, 2, 2), i)) for i in range(10)]  # type: ignore[assignment]


def numbers(loader) -> list[list[int]]:
    return [batch.image[:, 0, 0, 0].tolist() for batch in loader]


@pytest.fixture
def datamodule() -> Numbers:
    datamodule = Numbers(batch_size=4)
    datamodule.setup("fit")
    return datamodule


def test_training_is_shuffled_and_drops_the_rest(datamodule: Numbers) -> None:
    """The order is a function of seed and epoch: a resumed run gets the same batches."""
    loader = datamodule.train_dataloader()
    epochs = [numbers(loader)]
    assert numbers(datamodule.train_dataloader()) == epochs[0]
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]  # as Lightning does
    epochs.append(numbers(loader))
    assert [len(batch) for batch in epochs[0]] == [4, 4]  # a batch of 2 would spoil batch statistics
    assert epochs[0] != epochs[1]
    flat = [number for batch in epochs[0] for number in batch]
    assert len(set(flat)) == 8
    assert flat != sorted(flat)


def test_validation_keeps_order_and_everything(datamodule: Numbers) -> None:
    assert numbers(datamodule.val_dataloader()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_batches_have_the_declared_type(datamodule: Numbers) -> None:
    assert type(next(iter(datamodule.train_dataloader()))) is datamodule.batch_type


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_a_missing_stage_is_named(datamodule: Numbers, stage: str) -> None:
    with pytest.raises(DataError, match=f"Numbers has no {stage} data. It has: train, val"):
        getattr(datamodule, f"{stage}_dataloader")()


class Triples(WholeBatches[Images]):
    """Whole batches, three times as wide as they are long."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Images:
        return Images(torch.full((3, 2, 2), i))

    def __getitems__(self, indices: list[int]) -> Images:
        return Images(torch.tensor(indices).repeat_interleave(3).view(-1, 1, 1, 1))


def test_whole_batches_are_served_as_they_are(datamodule: Numbers) -> None:
    """The default collate would stack the rows of a batch again."""
    datamodule.datasets["val"] = Triples()
    assert numbers(datamodule.val_dataloader()) == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [4, 4, 4]]


def test_a_batch_that_is_the_only_one_is_kept(datamodule: Numbers) -> None:
    datamodule.batch_size = 16
    assert [len(batch) for batch in numbers(datamodule.train_dataloader())] == [10]


def test_rows_can_tell_their_epoch(datamodule: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbers, "sampler_type", EpochRows)
    monkeypatch.setattr(Numbers, "order_seed", 3)
    sampler = datamodule.train_dataloader().sampler
    sampler.set_epoch(2)  # type: ignore[attr-defined]  # as Lightning does
    assert [row - 20 for row in sampler] == np.random.default_rng((3, 2)).permutation(10).tolist()


def test_without_validation_only_a_validation_is_refused(datamodule: Numbers) -> None:
    del datamodule.datasets["val"]
    assert datamodule.val_dataloader() == []
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    datamodule.trainer = trainer
    assert datamodule.val_dataloader() == []
    trainer.state.fn = TrainerFn.VALIDATING
    with pytest.raises(DataError, match="Numbers has no val data"):
        datamodule.val_dataloader()


def test_before_setup_the_error_says_so() -> None:
    with pytest.raises(DataError, match=r"no train data.*call setup first"):
        Numbers().train_dataloader()


def test_paths_are_relative_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datamodule = Numbers(root=str(tmp_path))
    assert datamodule.path("videos/a.mp4") == tmp_path / "videos" / "a.mp4"
    assert datamodule.path("/data/a.mp4") == Path("/data/a.mp4")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert datamodule.path("~/a.mp4") == tmp_path / "me" / "a.mp4"
    assert Numbers(root="~/data").path("a.mp4") == tmp_path / "me" / "data" / "a.mp4"


def test_workers_are_kept_between_epochs() -> None:
    datamodule = Numbers(num_workers=2)
    datamodule.setup("fit")
    loader = datamodule.train_dataloader()
    assert loader.num_workers == 2
    assert loader.persistent_workers


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("batch_size", -4), ("num_workers", -1)])
def test_numbers_out_of_range_are_refused_at_once(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} is {value};.*--data\.{name}="):
        Numbers(**{name: value})
