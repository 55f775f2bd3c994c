"""What every method must do: fit, validate, test, predict, save, and load without executing anything.

A new method joins with one entry in SETTINGS; one that is missing there fails a test.
"""

import dataclasses
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from every_method import KEYPOINTS, METHODS, SETTINGS, SIZE, build
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_kp.batches import (
    ClassifiedImages,
    CrowdImages,
    FramePairs,
    Frames,
    Images,
    LabelledAndUnlabelled,
    LabelledImages,
    LabelledWindows,
    PairsAndLabels,
)
from lightning_kp.errors import ConfigurationError
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod, Prediction


def images() -> Tensor:
    return torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)


def items(kind: type, count: int = 4) -> list[Any]:
    """Items of a data set that yields this batch type; images are uint8, as from a video."""
    numbers = [(torch.tensor(0), torch.tensor(index)) for index in range(count)]
    if kind is FramePairs:
        return [FramePairs(images(), images(), *where) for where in numbers]
    if kind is Images:
        return [Images(images()) for _ in range(count)]
    if kind is ClassifiedImages:
        return [ClassifiedImages(images(), torch.tensor(n % 2)) for n in range(count)]
    if kind is LabelledWindows:
        return [LabelledWindows(torch.rand(20, 5), torch.tensor(n % 2), *numbers[n]) for n in range(count)]
    labelled = [(images(), torch.rand(1, KEYPOINTS, 2), torch.ones(1, KEYPOINTS)) for _ in numbers]
    if kind is LabelledImages:
        return [LabelledImages(*each) for each in labelled]
    if kind is CrowdImages:
        counts = torch.ones(SIZE, SIZE, dtype=torch.bool)
        people = torch.rand(2, KEYPOINTS, 2), torch.ones(2, KEYPOINTS), torch.full((2,), 100.0)
        others = torch.full((1, 4), torch.nan)
        return [CrowdImages(images(), *people, torch.tensor(64.0), counts, others) for _ in numbers]
    if kind is LabelledAndUnlabelled:
        return [LabelledAndUnlabelled(*each, images()) for each in labelled]
    if kind is PairsAndLabels:
        return [
            PairsAndLabels(images(), images(), *where, *each)
            for where, each in zip(numbers, labelled, strict=True)
        ]
    if kind is Frames:
        return [Frames(images(), *where) for where in numbers]
    pytest.fail(f"no generated data for {kind.__name__}: add it here")


def loader(kind: type) -> DataLoader[Any]:
    return DataLoader(items(kind), batch_size=2)  # type: ignore[arg-type]  # a list is a data set


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, **options,
    )  # fmt: skip


def test_every_exported_method_is_tested() -> None:
    assert METHODS
    assert set(METHODS) == set(SETTINGS)


@pytest.mark.filterwarnings("ignore:.*fast_dev_run.*")
@pytest.mark.parametrize("name", METHODS)
def test_fits_validates_and_tests(name: str, tmp_path: Path) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = loader(model.batch_type)
    runner = trainer(tmp_path, fast_dev_run=2)
    runner.fit(model, data, data)
    assert runner.global_step == 2
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    logged = set(runner.logged_metrics)
    assert {"train/loss_step", "val/loss"} <= logged
    # A validation may log figures of its own beside the terms; training logs terms alone.
    steps = {key.removesuffix("_step") for key in logged if key.endswith("_step")}
    terms = {key.split("/")[1] for key in steps if key.startswith("train/")} - {"loss"}
    assert {f"val/{term}" for term in terms} <= logged
    assert terms <= set(model.loss_weights)
    assert terms
    assert set(runner.test(model, data, verbose=False)[0]) >= {"test/loss"}


@pytest.mark.parametrize("name", METHODS)
def test_predicts_saves_and_loads_safely(name: str, tmp_path: Path) -> None:
    model = build(name)
    runner = trainer(tmp_path, max_steps=1)
    runner.fit(model, loader(model.batch_type))
    path = tmp_path / "model.ckpt"
    runner.save_checkpoint(path)
    loaded = type(model).load_from_checkpoint(path, weights_only=True, map_location="cpu")
    assert type(loaded) is type(model)
    assert dict(loaded.hparams) == dict(model.hparams)
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    if isinstance(model, KeypointMethod):
        frames = loader(Frames)
        first, second = (trainer(tmp_path).predict(each, frames) for each in (model, loaded))
        check_predictions(first, second, animals_of(name))


@pytest.mark.filterwarnings("ignore:.*fast_dev_run.*")
@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_trains_and_keeps_coordinates_whole(name: str, tmp_path: Path) -> None:
    model = build(name)
    data = loader(model.batch_type)
    trainer(tmp_path, fast_dev_run=1, precision="bf16-mixed").fit(model, data, data)
    assert all(value.isfinite().all() for value in model.parameters())
    if isinstance(model, KeypointMethod):
        for found in trainer(tmp_path, precision="bf16-mixed").predict(model, loader(Frames)) or ():
            assert isinstance(found, Prediction)
            assert found.keypoints.points.dtype == torch.float32


def animals_of(name: str) -> int:
    return int(SETTINGS[name].get("instances", 1))


def check_predictions(first: Any, second: Any, animals: int) -> None:
    assert [batch.index.tolist() for batch in first] == [[0, 1], [2, 3]]
    for ours, theirs in zip(first, second, strict=True):
        assert isinstance(ours, Prediction)
        points, confidence = ours.keypoints
        assert points.shape == (2, animals, KEYPOINTS, 2)
        assert points.isfinite().all()
        assert ((confidence >= 0) & (confidence <= 1)).all()
        assert ours.covariance.shape == (2, animals, KEYPOINTS, 3)
        assert torch.equal(theirs.keypoints.points, points)


@pytest.mark.parametrize("name", [n for n, kind in METHODS.items() if issubclass(kind, KeypointMethod)])
def test_forward_gives_keypoints_in_either_mode(name: str) -> None:
    model = build(name)
    for training in (True, False):
        found = model.train(training)(torch.rand(2, 3, SIZE, SIZE))
        assert isinstance(found, Keypoints)
        assert found.points.shape == (2, animals_of(name), KEYPOINTS, 2)


@pytest.mark.parametrize("name", METHODS)
def test_says_where_it_comes_from(name: str) -> None:
    kind = METHODS[name]
    assert kind.paper
    assert kind.__doc__
    assert {field.name for field in dataclasses.fields(kind.weights_type)} == set(build(name).loss_weights)


@pytest.mark.parametrize("name", METHODS)
def test_refuses_a_datamodule_of_another_kind(name: str, tmp_path: Path) -> None:
    class Wrong(L.LightningDataModule):
        batch_type = int

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader([0])  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=f"{name} reads .*Wrong yields int"):
        trainer(tmp_path, max_steps=1).fit(build(name), datamodule=Wrong())
