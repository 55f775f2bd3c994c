"""LossBalance: weights in force, learned uncertainties that resume, and methods that it refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import toy
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from lightning_kp.batches import Images
from lightning_kp.callbacks import Curriculum, LossBalance
from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import expectation, spatial_softmax
from lightning_kp.losses.balance import Kind, Pareto, min_norm_weights


class Shared(toy.Toy):
    """A toy whose terms all pass through its logits."""

    shared_by_terms = "the logits"

    def terms(self, batch: Images) -> dict[str, Tensor]:
        points = expectation(spatial_softmax(self.share(self.net(batch.image))))
        return {
            "reconstruction": (points - 0.3).square().mean(),
            "rotation": self.head(points).square().mean(),
        }


class Record(L.Callback):
    """Records the effective weights (reconstruction, rotation) of every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, ...]] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.seen.append(tuple(found.get(f"balance/{name}", 0.0) for name in ("reconstruction", "rotation")))


def trainer(folder: Path, *callbacks: L.Callback, epochs: int = 1, **options: Any) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
        num_sanity_val_steps=0, **options,
    )  # fmt: skip


def fit(folder: Path, kind: Kind, *others: L.Callback, **options: Any) -> tuple[toy.Toy, Record]:
    torch.manual_seed(0)
    record, method = Record(), Shared(weights=toy.ToyWeights(1.0, 0.5))
    trainer(folder, LossBalance(kind), *others, record, **options).fit(
        method, toy.NoiseData(size=8, length=4)
    )
    return method, record


def test_every_kind_trains_and_tells_its_weights(tmp_path: Path) -> None:
    seen = {
        kind: fit(tmp_path, kind)[1].seen for kind in ("fixed", "exponential", "logarithmic", "uncertainty")
    }
    assert seen["fixed"] == [(1.0, 0.5)] * 2
    for reconstruction, rotation in seen["exponential"]:
        assert reconstruction == pytest.approx(1 / 50, rel=0.08)  # e^(l / 50) hardly tells small losses apart
        assert rotation == pytest.approx(0.5 / 50, rel=0.08)
    assert all(0 < rotation < 0.5 for _, rotation in seen["logarithmic"])
    assert seen["uncertainty"][0] == (0.5, 0.25)
    assert seen["uncertainty"][1] != (0.5, 0.25)  # Adam has moved s
    assert all(sum(shares) <= 1 + 1e-6 for shares in fit(tmp_path, "pareto")[1].seen)


def test_equal_fixed_weights_train_like_no_balance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = Shared(weights=toy.ToyWeights(1.0, 0.5))
    trainer(tmp_path).fit(plain, toy.NoiseData(size=8, length=4))
    balanced, _ = fit(tmp_path, "fixed")
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in balanced.state_dict().items())


def test_pareto_of_a_method_is_the_min_norm_point() -> None:
    method, batch = Shared(), Images(torch.rand(2, 3, 8, 8))
    logits: list[Tensor] = []
    method.net.register_forward_hook(lambda _, __, output: logits.append(output))
    terms = method.terms(batch)
    gradients = torch.stack(
        [torch.autograd.grad(term, logits[0], retain_graph=True)[0].flatten() for term in terms.values()]
    )
    method.balance = Pareto(tuple(terms))
    _, effective = method.balance(method.terms(batch), dict.fromkeys(terms, 1.0))
    expected = min_norm_weights(gradients).tolist()
    assert [float(each) for each in effective.values()] == pytest.approx(expected, abs=1e-5)


def test_a_term_that_starts_later_is_balanced_then(tmp_path: Path) -> None:
    class Late(Shared):
        def terms(self, batch: Images) -> dict[str, Tensor]:
            return {name: term for name, term in super().terms(batch).items() if self.is_active(name)}

    record = Record()
    callbacks = [LossBalance("uncertainty"), Curriculum({"rotation": 1}), record]
    trainer(tmp_path, *callbacks, epochs=2).fit(Late(), toy.NoiseData(size=8, length=2))
    assert record.seen[0][1] == 0
    assert record.seen[1][1] > 0


def test_uncertainties_resume_and_are_left_out_where_no_callback_wants_them(tmp_path: Path) -> None:
    data, path = toy.NoiseData(size=8, length=4), tmp_path / "x.ckpt"
    torch.manual_seed(0)
    first = Shared()
    runner = trainer(tmp_path, LossBalance("uncertainty"), Save(path))
    runner.fit(first, data)
    saved = torch.load(path, weights_only=True)["state_dict"]
    learned = {name: value for name, value in saved.items() if name.startswith("balance.")}
    assert len(learned) == 2
    assert all(value != 0 for value in learned.values())

    record = Record()
    trainer(tmp_path, LossBalance("uncertainty"), record, epochs=2).fit(
        Shared(), data, ckpt_path=path, weights_only=True
    )
    s = learned["balance.log_variance.reconstruction"].item()
    assert record.seen[0][0] == pytest.approx(2.718281828 ** (-s) / 2, rel=1e-5)
    Shared.load_from_checkpoint(path, weights_only=True)  # for prediction
    assert first.balance is None


class Save(L.Callback):
    """Saves a checkpoint at the end of training, while the balance is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"accumulate_grad_batches": 2}, "gradients of several batches are accumulated"),
        (
            {"callbacks": [GradientAccumulationScheduler({1: 2})]},
            "gradients of several batches are accumulated",
        ),
        ({"precision": "16-mixed"}, "16 bits scales the loss"),
        ({"world_size": 2}, "each of 2 processes has gradients of its own"),
    ],
)
def test_a_pareto_balance_that_would_not_be_exact(changed: dict[str, Any], message: str) -> None:
    usual = {"accumulate_grad_batches": 1, "callbacks": [], "precision": "32-true", "world_size": 1}
    fake: Any = SimpleNamespace(**usual | changed)
    with pytest.raises(ConfigurationError, match=message):
        LossBalance("pareto").setup(fake, Shared(), "fit")
    LossBalance("pareto").setup(SimpleNamespace(**usual), Shared(), "fit")  # type: ignore[arg-type]


def test_a_pareto_balance_of_one_term(tmp_path: Path) -> None:
    method = Shared(weights=toy.ToyWeights(1.0, 0.0))
    with pytest.raises(ConfigurationError, match="Shared has 1 term with a weight"):
        trainer(tmp_path, LossBalance("pareto")).fit(method, toy.NoiseData())


def test_a_method_whose_terms_share_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="all terms of Toy do not share one tensor"):
        trainer(tmp_path, LossBalance("pareto")).fit(toy.Toy(), toy.NoiseData())


def test_a_term_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"rotatoin, a term that Toy does not have\. Did you mean rotation"
    ):
        trainer(tmp_path, LossBalance(terms=["rotatoin"])).fit(toy.Toy(), toy.NoiseData())


def test_an_optimiser_that_would_not_learn_the_uncertainties(tmp_path: Path) -> None:
    class Partial(Shared):
        def default_optimizer(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.net.parameters())

    with pytest.raises(ConfigurationError, match="would not learn the uncertainties"):
        trainer(tmp_path, LossBalance("uncertainty")).fit(Partial(), toy.NoiseData())


def test_a_module_that_is_no_method(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="BoringModel is not a Method"):
        trainer(tmp_path, LossBalance()).fit(BoringModel())
