"""The classifier: its terms, warm-up, errors, the paper's optimiser, and that each loss learns."""

from pathlib import Path
from typing import Any, get_args

import lightning as L
import pytest
import torch
from class_folders import write_folders
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_kp.batches import ClassifiedImages
from lightning_kp.checkpoints import load_method
from lightning_kp.cli import main
from lightning_kp.datamodules import ClassFolders
from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.anchor import AnchorOptions, anchor_classification
from lightning_kp.losses.class_losses import ClassLossName
from lightning_kp.methods import AnchorClassifier

NAMES: tuple[ClassLossName, ...] = get_args(ClassLossName)
COLOURS = torch.eye(3).repeat(4, 1)


def method(**options: Any) -> AnchorClassifier:
    torch.manual_seed(0)
    return AnchorClassifier(**{"network": "cifar_resnet8", "classes": ["red", "green", "blue"]} | options)


def batch() -> ClassifiedImages:
    """Twelve images of one colour each, with some noise; the colour is the class."""
    generator = torch.Generator().manual_seed(0)
    image = COLOURS[:, :, None, None] * 0.8 + 0.2 * torch.rand(12, 3, 8, 8, generator=generator)
    return ClassifiedImages(image, COLOURS.argmax(dim=1))


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def loader(items: ClassifiedImages) -> DataLoader[Any]:
    return DataLoader([ClassifiedImages(*each) for each in zip(*items, strict=True)], batch_size=6)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_lower_each_loss(name: ClassLossName) -> None:
    model, data = method(loss=name), batch()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    first = model.terms(data)["classification"].item()
    for _ in range(20):
        optimiser.zero_grad()
        model.terms(data)["classification"].backward()
        optimiser.step()
    assert model.terms(data)["classification"].item() < 0.5 * first


def test_options_reach_the_loss() -> None:
    model, data = method(gamma=2.0, delta=0.2, design="both", anchor=None, detach=False).eval(), batch()
    with torch.no_grad():
        options = AnchorOptions(2.0, 0.2, "both", None, False)
        expected = anchor_classification(model(data.image), data.label, options).mean()
    assert model.terms(data)["classification"].item() == pytest.approx(expected.item())
    fixed = method(gamma=2.0, anchor=0.5).eval()
    assert fixed.terms(data)["classification"].item() != pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta": 1.5}, "delta, the margin of the anchor loss, must be between 0 and 1, got 1.5"),
        ({"loss": "focal", "kappa": 2.0}, "kappa 2.0"),
    ],
)
def test_options_out_of_range_are_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AnchorClassifier(**options)


def test_a_network_for_larger_images_names_the_option() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'alexnet' cannot process images of 32x32 px .*--data\.size"
    ):
        method(network="alexnet")(torch.rand(2, 3, 32, 32))


def test_the_first_epochs_have_the_cross_entropy(tmp_path: Path) -> None:
    """In training only: validation uses the same loss throughout, so that its curve is comparable."""
    seen: list[tuple[str, int, list[str]]] = []

    class Watched(AnchorClassifier):
        def terms(self, batch: ClassifiedImages) -> dict[str, Tensor]:
            found = super().terms(batch)
            seen.append(("train" if self.training else "val", self.current_epoch, list(found)))
            return found

    model = Watched("cifar_resnet8", ["red", "green", "blue"], warmup_epochs=2)
    data = loader(batch())
    trainer(tmp_path, max_epochs=3).fit(model, data, data)
    expected = [("train", epoch, ["warmup" if epoch < 2 else "classification"]) for epoch in range(3)]
    assert [each for each in seen if each[0] == "train"] == [each for each in expected for _ in range(2)]
    assert {each[2][0] for each in seen if each[0] == "val"} == {"classification"}


def test_warmup_is_the_softmax_cross_entropy() -> None:
    model, data = method(warmup_epochs=1), batch()
    plain = method(loss="ce")
    assert model.terms(data)["warmup"].item() == pytest.approx(plain.terms(data)["classification"].item())


def test_errors_are_logged_for_validation_and_test(tmp_path: Path) -> None:
    """A network that always predicts red is right once in three."""
    model, data = method(), batch()
    head = model.network.network.head  # type: ignore[union-attr]
    torch.nn.init.zeros_(head.weight)  # type: ignore[union-attr, arg-type]
    head.bias.data = torch.tensor([1.0, 0.0, -1.0])  # type: ignore[union-attr]
    runner = trainer(tmp_path)
    (validated,) = runner.validate(model, loader(data), verbose=False)
    (tested,) = runner.test(model, loader(ClassifiedImages(data.image[:4], data.label[:4])), verbose=False)
    assert validated["val/error"] == pytest.approx(100 * 2 / 3)
    assert validated["val/error_top5"] == 0
    assert tested["test/error"] == pytest.approx(50)  # red, green, blue, red


def test_the_papers_optimiser_and_schedule(tmp_path: Path) -> None:
    found = method().configure_optimizers()
    optimiser, schedule = found["optimizer"], found["lr_scheduler"]
    group = optimiser.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    rates = []
    for _ in range(200):
        rates.append(group["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([0.1] * 160 + [0.01] * 20 + [0.001] * 20)
    own = method(optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.3)).configure_optimizers()
    assert isinstance(own, torch.optim.Adam)


@pytest.mark.parametrize(("name", "total"), [("ce", 1.0), ("ohem", 1.0), ("bce", None), ("anchor", None)])
def test_probabilities_are_those_of_the_loss(name: ClassLossName, total: float | None) -> None:
    """Softmax or independent sigmoids."""
    model = method(loss=name).eval()
    with torch.no_grad():
        found = model.predict_step(batch())
        logits = model(batch().image)
    expected = logits.softmax(dim=1) if total else logits.sigmoid()
    torch.testing.assert_close(found.probability, expected)
    assert found.label.equal(batch().label)


def test_classes_come_from_the_data_and_must_be_its(tmp_path: Path) -> None:
    data = ClassFolders(root=str(write_folders(tmp_path / "a")), size=8, batch_size=4)
    model = AnchorClassifier("cifar_resnet8")
    trainer(tmp_path, max_steps=1).fit(model, datamodule=data)
    assert model.classes == ("ant", "bee")
    assert model(torch.rand(1, 3, 8, 8)).shape == (1, 2)
    with pytest.raises(
        ConfigurationError, match=r"has the classes red, green, blue; ClassFolders yields ant, bee"
    ):
        trainer(tmp_path, max_steps=1).fit(method(), datamodule=data)
    with pytest.raises(ConfigurationError, match="needs at least 2 classes, got 0"):
        trainer(tmp_path, max_steps=1).fit(AnchorClassifier("cifar_resnet8"), loader(batch()))


def test_a_trial_counts_what_the_test_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.chdir(tmp_path)
    folder = write_folders(tmp_path / "data")
    words = [
        "--model=AnchorClassifier", "--model.network=cifar_resnet8", "--data=ClassFolders", f"--data.root={folder}",
        "--data.size=8", "--data.batch_size=4", "--trainer.accelerator=cpu", "--trainer.max_epochs=1",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip
    assert main(["trial", "--out=a", *words]) == 0
    trial = json.loads(Path("a/trial.json").read_text())
    assert trial["state"] == "complete"
    assert {"val/error", "test/error", "test/error_top5", "test/loss"} <= trial["figures"].keys()
    assert 0 <= trial["figures"]["test/error"] <= 100
    loaded = load_method("a")
    assert isinstance(loaded, AnchorClassifier)
    assert loaded.classes == ("ant", "bee")
