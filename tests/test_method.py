"""The contract of a method: terms, weights, logging, and errors that name the term at fault."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn, tensor
from torch.utils.data import Dataset

from lightning_kp.batches import FramePairs, Frames, Images
from lightning_kp.datamodule import KeypointDataModule
from lightning_kp.errors import ConfigurationError, DivergenceError
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.method import KeypointMethod, Prediction


@dataclass(frozen=True)
class ToyWeights:
    bright: float = 1.0
    small: float = 0.5


class Toy(KeypointMethod):
    """Keypoints from one convolution; its losses are simple enough to compute by hand."""

    batch_type = Images
    weights_type = ToyWeights

    def __init__(self, weights: ToyWeights | None = None, **kwargs: Any) -> None:
        super().__init__(weights, **kwargs)
        self.net = nn.Conv2d(3, 2, 1)
        self.seen: list[Tensor] = []

    def heatmaps(self, image: Tensor) -> Tensor:
        return spatial_softmax(self.net(image))

    def terms(self, batch: Images) -> dict[str, Tensor]:
        self.seen.append(batch.image)
        terms = {"bright": (self.points(batch.image) - 0.5).square().mean() + 2 * batch.image.mean()}
        if self.is_active("small"):
            terms["small"] = self.net.weight.square().sum()
        return terms


class Bytes(Dataset[Images]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Images:
        return Images(self.images[index])


class ToyData(KeypointDataModule):
    """Eight noise images as bytes."""

    batch_type = Images

    def setup(self, stage: str) -> None:
        images = torch.randint(
            256, (8, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
        )
        self.datasets = {name: Bytes(images) for name in ("train", "val", "test")}


def trainer(**kwargs: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(**{"accelerator": "cpu", "enable_model_summary": False, **quiet, **kwargs})


def images(value: float = 0.5) -> Images:
    return Images(torch.full((2, 3, 6, 6), value))


def step(method: Toy, batch: Any, stage: str = "training") -> Any:
    """One step outside a trainer, so that nothing is logged."""
    method.log = method.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign,assignment]
    return getattr(method, f"{stage}_step")(batch, 0)


# Weights


def test_loss_is_the_weighted_sum() -> None:
    method = Toy(ToyWeights(bright=3.0, small=0.25))
    terms = method.terms(images())
    expected = 3 * terms["bright"] + 0.25 * terms["small"]
    torch.testing.assert_close(step(method, images()), expected)


def test_default_weights_come_from_the_dataclass() -> None:
    method = Toy()
    assert method.loss_weights == {"bright": 1.0, "small": 0.5}
    method.loss_weights["small"] = 7.0  # what a curriculum does
    assert method.base_weights["small"] == 0.5
    terms = method.terms(images())
    torch.testing.assert_close(step(method, images()), terms["bright"] + 7 * terms["small"])


def test_weight_zero_skips_the_work() -> None:
    method = Toy(ToyWeights(small=0.0))
    assert not method.is_active("small")
    assert method.is_active("bright")
    assert method.terms(images()).keys() == {"bright"}
    torch.testing.assert_close(step(method, images()), method.terms(images())["bright"])


def test_unknown_term_is_refused() -> None:
    class Misspelt(Toy):
        def terms(self, batch: Images) -> dict[str, Tensor]:
            return {"brigth": batch.image.mean()}

    for stage in ("training", "validation", "test"):
        with pytest.raises(
            ConfigurationError, match=r"Misspelt.*\['brigth'\].*\['bright', 'small'\].*ToyWeights"
        ):
            step(Misspelt(), images(), stage)


def test_no_active_term_is_refused() -> None:
    class Idle(Toy):
        def terms(self, batch: Images) -> dict[str, Tensor]:
            return {}

    with pytest.raises(ConfigurationError, match=r"Idle.*every weight is 0"):
        step(Idle(ToyWeights(0.0, 0.0)), images())


# NaN


def test_nan_names_the_term_and_the_place() -> None:
    class Broken(Toy):
        def terms(self, batch: Any) -> dict[str, Tensor]:
            return {"bright": self.net.weight.sum(), "small": self.net.weight.sum() * torch.nan}

    pairs = FramePairs(torch.zeros(2, 3, 6, 6), torch.zeros(2, 3, 6, 6), tensor([0, 3]), tensor([17, 5]))
    message = r"became nan in epoch 0, batch 0: term small \(video:frame 0:17, 3:5\)\."
    with pytest.raises(DivergenceError, match=message):
        step(Broken(), pairs)
    with pytest.raises(DivergenceError, match=r"term small\. No checkpoint has been written yet"):
        step(Broken(), images())


def test_infinity_is_caught_and_long_batches_are_cut() -> None:
    class Broken(Toy):
        def terms(self, batch: Any) -> dict[str, Tensor]:
            return {"bright": self.net.weight.sum() + torch.inf}

    many = FramePairs(
        torch.zeros(9, 3, 2, 2), torch.zeros(9, 3, 2, 2), torch.zeros(9, dtype=int), torch.arange(9)
    )
    with pytest.raises(DivergenceError, match=r"became inf.*term bright \(video:frame 0:0, .*0:7, \.\.\.\)"):
        step(Broken(), many)


def test_overflow_of_the_sum_is_not_blamed_on_a_term() -> None:
    class Huge(Toy):
        def terms(self, batch: Any) -> dict[str, Tensor]:
            return {"bright": tensor(3e38), "small": tensor(3e38)}

    with pytest.raises(DivergenceError, match="their weighted sum"):
        step(Huge(ToyWeights(1.0, 1.0)), images())


def test_nan_stops_a_real_fit() -> None:
    class Broken(Toy):
        def terms(self, batch: Any) -> dict[str, Tensor]:
            terms = super().terms(batch)
            return {**terms, "bright": terms["bright"] * (torch.nan if len(self.seen) == 3 else 1)}

    with pytest.raises(DivergenceError, match="epoch 1, batch 0: term bright"):
        trainer(max_epochs=2, limit_val_batches=0).fit(Broken(), datamodule=ToyData(batch_size=4))


# Pairing


class PairData(ToyData):
    batch_type = FramePairs


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_impossible_pair_is_refused(stage: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Toy reads Images; PairData yields FramePairs\. Choose"):
        getattr(trainer(max_epochs=1), stage)(Toy(), datamodule=PairData())


# Images


def test_bytes_become_floats_once() -> None:
    method = Toy()
    batch = FramePairs(
        torch.full((1, 3, 2, 2), 51, dtype=torch.uint8), torch.rand(1, 3, 2, 2), tensor([0]), tensor([9])
    )
    moved = method.on_after_batch_transfer(batch, 0)
    assert type(moved) is FramePairs
    torch.testing.assert_close(moved.frame, torch.full((1, 3, 2, 2), 0.2))
    assert moved.future is batch.future
    assert moved.index.dtype == torch.long
    again = method.on_after_batch_transfer(moved, 0)
    assert again.frame is moved.frame


def test_terms_see_floats_in_unit_range() -> None:
    method = Toy()
    trainer(fast_dev_run=True).fit(method, datamodule=ToyData(batch_size=4))
    assert len(method.seen) == 2  # one training, one validation batch
    for image in method.seen:
        assert image.dtype == torch.float32
        assert 0.9 < image.max() <= 1


# In a trainer


def test_fit_logs_every_term_and_lowers_the_loss() -> None:
    method = Toy(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    fit = trainer(max_epochs=5)
    data = ToyData(batch_size=4)
    before = fit.validate(method, datamodule=data, verbose=False)[0]
    fit.fit(method, datamodule=data)
    logged = {name: value.item() for name, value in fit.callback_metrics.items()}
    for stage in ("train", "val"):
        expected = logged[f"{stage}/bright"] + 0.5 * logged[f"{stage}/small"]
        assert logged[f"{stage}/loss"] == pytest.approx(expected, rel=1e-5)
    assert logged["val/loss"] < before["val/loss"]
    assert set(fit.test(method, datamodule=data, verbose=False)[0]) == {
        "test/loss",
        "test/bright",
        "test/small",
    }


def test_validation_counts_images_and_not_batches() -> None:
    """Eight images in batches of three: the last batch of two images has less weight."""
    method = Toy(ToyWeights(small=0.0))
    found = trainer().validate(method, datamodule=ToyData(batch_size=3), verbose=False)[0]["val/bright"]
    batches = [image.clone() for image in method.seen]  # made in inference mode
    sizes = [len(image) for image in batches]
    values = [method.terms(Images(image))["bright"].item() for image in batches]
    assert sizes == [3, 3, 2]
    assert found == pytest.approx(sum(n * v for n, v in zip(sizes, values, strict=True)) / 8, rel=1e-5)


def test_optimiser_and_scheduler_come_from_the_configuration() -> None:
    def optimizer(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.3)

    assert isinstance(Toy().configure_optimizers(), torch.optim.AdamW)
    assert Toy(optimizer=optimizer).configure_optimizers().defaults["lr"] == 0.3
    both = Toy(optimizer=optimizer, scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 7))
    assert both.configure_optimizers()["lr_scheduler"].step_size == 7
    assert both.configure_optimizers()["optimizer"].defaults["lr"] == 0.3


# Keypoints


def test_forward_is_the_same_type_in_training_and_evaluation() -> None:
    method, image = Toy(), torch.rand(2, 3, 6, 6)
    train, evaluated = method.train()(image), method.eval()(image)
    assert type(train) is type(evaluated)
    torch.testing.assert_close(train.points, evaluated.points)
    assert train.points.shape == (2, 1, 2, 2)
    torch.testing.assert_close(method.points(image), train.points[:, 0])


def test_prediction_by_hand() -> None:
    """A black image has flat heatmaps: the mean is the centre, the peak 1/36, the variance (1 - 1/36) / 3."""
    batch = Frames(torch.zeros(1, 3, 6, 6), tensor([2]), tensor([40]))
    found = Toy().predict_step(batch)
    assert isinstance(found, Prediction)
    assert found.keypoints.points.abs().max() < 1e-6
    torch.testing.assert_close(found.keypoints.confidence, torch.full((1, 1, 2), 1 / 36))
    torch.testing.assert_close(
        found.covariance, tensor([35 / 108, 35 / 108, 0.0]).expand(1, 1, 2, 3), atol=1e-6, rtol=0
    )
    assert (found.video.tolist(), found.index.tolist()) == ([2], [40])


# Random draws


class Draws(Toy):
    def terms(self, batch: Images) -> dict[str, Tensor]:
        if self.training:
            self.drawn = [
                *getattr(self, "drawn", []),
                float(torch.rand((), generator=self.batch_generator())),
            ]
        return super().terms(batch)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_every_batch_draws_for_itself_however_many_make_a_step(accumulated: int) -> None:
    """Seeded by the step alone, all accumulated batches would be turned and augmented alike."""
    method, data = Draws(), ToyData(batch_size=2)
    trainer(max_epochs=2, accumulate_grad_batches=accumulated).fit(method, data)
    assert len(set(method.drawn)) == len(method.drawn) == 8
    assert method.drawn == [float(torch.rand((), generator=seeded(2 * batch))) for batch in range(8)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_processes_and_purposes_draw_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    method, drawn = Toy(), set()
    for rank in (0, 1, 2):
        monkeypatch.setattr(Toy, "global_rank", rank)
        drawn |= {method.batch_generator(purpose).initial_seed() for purpose in (0, 1)}
    assert len(drawn) == 6


def test_a_resumed_run_draws_what_the_undisturbed_one_would(tmp_path: Path) -> None:
    """Also from a checkpoint in the middle of an epoch, as a killed run leaves it."""
    whole = Draws()
    saved = ModelCheckpoint(
        tmp_path, "mid-{step}", every_n_train_steps=6, save_top_k=-1
    )  # four batches an epoch
    trainer(max_epochs=3, enable_checkpointing=True, callbacks=[saved]).fit(whole, ToyData(batch_size=2))
    resumed = Draws()
    trainer(max_epochs=3).fit(
        resumed, ToyData(batch_size=2), ckpt_path=tmp_path / "mid-step=6.ckpt", weights_only=True
    )
    assert len(whole.drawn) == 12
    assert resumed.drawn == whole.drawn[6:]


def test_a_buffer_that_is_infinite_by_design_is_saved(tmp_path: Path) -> None:
    method = Toy()
    method.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    fitted = trainer(max_steps=1, default_root_dir=tmp_path)
    fitted.fit(method, ToyData(batch_size=2))
    fitted.save_checkpoint(tmp_path / "masked.ckpt")
    method.mask[0] = torch.nan  # type: ignore[index,operator]
    with pytest.raises(DivergenceError, match="mask is not finite"):
        fitted.save_checkpoint(tmp_path / "broken.ckpt")
    assert not (tmp_path / "broken.ckpt").exists()


def test_a_running_variance_that_is_infinite_is_not_saved(tmp_path: Path) -> None:
    method = Toy()
    method.norm = nn.BatchNorm2d(2)
    fitted = trainer(max_steps=1, default_root_dir=tmp_path)
    fitted.fit(method, ToyData(batch_size=2))
    method.norm.running_var[1] = torch.inf  # type: ignore[index]
    with pytest.raises(DivergenceError, match=r"norm\.running_var is not finite"):
        fitted.save_checkpoint(tmp_path / "broken.ckpt")
