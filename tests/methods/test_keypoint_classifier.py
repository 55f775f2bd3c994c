"""KeypointClassifier: classes that only the keypoints tell, a network that stays as it is, and what it refuses."""

from pathlib import Path

import lightning as L
import pytest
import torch
import toy
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_kp.batches import ClassifiedImages
from lightning_kp.errors import CheckpointError, ConfigurationError
from lightning_kp.method import class_path
from lightning_kp.methods import AnchorClassifier, KeypointClassifier
from lightning_kp.nn.classifiers import PointClassifier

SIDE = 8


def spots(count: int) -> ClassifiedImages:
    """Images with a bright column; the class is 1 where it stands on the right half."""
    column = torch.arange(count) % SIDE
    image = torch.zeros(count, 3, SIDE, SIDE)
    image[torch.arange(count), :, :, column] = 1
    return ClassifiedImages(image, (column >= SIDE // 2).long())


def trainer(folder: Path, epochs: int = 1) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip


def saved_toy(folder: Path) -> Path:
    """A checkpoint of a network whose single heatmap follows brightness."""
    method = toy.Toy(keypoints=1)
    torch.nn.init.constant_(method.net.weight, 9.0)
    torch.nn.init.zeros_(method.net.bias)
    runner = trainer(folder)
    runner.strategy.connect(method)
    runner.save_checkpoint(folder / "toy.ckpt")
    return folder / "toy.ckpt"


def test_keypoints_tell_the_class_and_their_network_does_not_change(tmp_path: Path) -> None:
    method = KeypointClassifier(
        run=str(saved_toy(tmp_path)), classes=["left", "right"], width=64, keypoints=1,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    )  # fmt: skip
    before = {name: value.clone() for name, value in method.discovered.state_dict().items()}
    data = spots(64)
    loader = DataLoader([ClassifiedImages(*each) for each in zip(*data, strict=True)], batch_size=16)  # type: ignore[arg-type]
    runner = trainer(tmp_path, epochs=15)
    runner.fit(method, loader)
    assert runner.test(method, loader, verbose=False)[0]["test/error"] == 0
    assert all(torch.equal(value, before[name]) for name, value in method.discovered.state_dict().items())
    runner.save_checkpoint(tmp_path / "whole.ckpt")
    (tmp_path / "toy.ckpt").unlink()
    again = KeypointClassifier.load_from_checkpoint(tmp_path / "whole.ckpt", weights_only=True)
    assert torch.equal(again.eval()(data.image), method.eval()(data.image))


def test_units_of_the_features_do_not_matter() -> None:
    torch.manual_seed(0)
    first = PointClassifier(4, 3)
    features = torch.randn(32, 4)
    scaled: Tensor = first(1000 * features + 7)
    torch.testing.assert_close(scaled, first(features), atol=1e-3, rtol=1e-3)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"needs a network .*--model\.run="):
        KeypointClassifier()
    with pytest.raises(CheckpointError, match=r"no\.such\.Method, which is not installed"):
        KeypointClassifier(discovered="no.such.Method")
    other = AnchorClassifier("cifar_resnet8", ["a", "b"])
    runner = trainer(tmp_path)
    runner.strategy.connect(other)
    runner.save_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="holds a AnchorClassifier, which finds no keypoints"):
        KeypointClassifier(run=str(tmp_path / "other.ckpt"))


def test_one_class_is_none() -> None:
    with pytest.raises(ConfigurationError, match="at least 2 classes, got 1"):
        KeypointClassifier(discovered=class_path(toy.Toy), keypoints=1, classes=["left"])
