"""MultiInstanceBKinD: two animals in one heatmap, losses invariant to their order, learning on look-alikes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT
from torch import Tensor

from lightning_kp.batches import FramePairs, Frames
from lightning_kp.datamodules import SyntheticArena
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import rotate_points
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.losses.rotation import rotation_loss, rotation_of_animals
from lightning_kp.losses.separation import separation_loss, separation_of_animals
from lightning_kp.methods import MultiInstanceBKinD
from lightning_kp.methods.bkind import BKinDWeights

KEYPOINTS = 3
TERMS = tuple(field.name for field in dataclasses.fields(BKinDWeights))
ALL_ON = BKinDWeights(reconstruction=1, rotation=1, mean_separation=1, focus=0.1, coverage=0.1)


def build(weights: BKinDWeights = ALL_ON, **options: Any) -> MultiInstanceBKinD:
    settings: dict[str, Any] = {
        "keypoints": KEYPOINTS, "encoder": "tiny", "pretrained": False, "target": "absolute",
        "reconstruction": "structural", "pose_width": 8, "sharpness": 5.0, "unit_amplitude": True,
        "decoder_widths": (16, 8, 8), "variances": (0.1, 0.05, 0.02), "rotation_variance": 0.02,
    }  # fmt: skip
    torch.manual_seed(0)
    return MultiInstanceBKinD(**settings | options, weights=weights)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> FramePairs:
    """Four pairs of two rendered animals with the same coat, floats."""
    folder = tmp_path_factory.mktemp("alike")
    data = SyntheticArena(
        frames=40, test_frames=10, frame_px=64, size=64, look_alike=True, root=str(folder),
        cache_dir=str(folder / "cache"), batch_size=4, val_fraction=0.3,
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    return FramePairs(batch.frame.float() / 255, batch.future.float() / 255, batch.video, batch.index)


# ---------------------------------------------------------------- two animals in one heatmap


def two_peaked(model: MultiInstanceBKinD, monkeypatch: pytest.MonkeyPatch, points: Tensor) -> None:
    """Replace the heatmaps of the network by Gaussian peaks at points (B, I, K, 2)."""
    maps = render_gaussians(points, (48, 48), 0.05).amax(dim=1)
    monkeypatch.setattr(model, "heatmaps", lambda image: maps / maps.sum(dim=(-2, -1), keepdim=True))


def animals(batch: int = 5) -> Tensor:
    """Two animals, the first one above the second, keypoints around each: (B, 2, K, 2)."""
    centre = torch.tensor([[-0.3, -0.4], [0.35, 0.4]]) + 0.1 * torch.rand(batch, 1, 2)
    return centre.unsqueeze(2) + 0.1 * torch.randn(batch, 2, KEYPOINTS, 2)


def test_both_animals_are_read_grouped_and_ordered_by_height(monkeypatch: pytest.MonkeyPatch) -> None:
    model, true = build(), animals()
    shuffled = torch.stack([true[:, [k % 2, 1 - k % 2], k] for k in range(KEYPOINTS)], dim=2)
    two_peaked(model, monkeypatch, shuffled)
    found = model(torch.zeros(5, 3, 48, 48))
    assert found.points.shape == (5, 2, KEYPOINTS, 2)
    torch.testing.assert_close(found.points, true, atol=0.01, rtol=0)
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    centre = found.points[..., 1].mean(dim=-1)
    assert (centre[:, 0] < centre[:, 1]).all()


def test_prediction_has_a_covariance_for_each_animal(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    two_peaked(model, monkeypatch, animals())
    where = torch.zeros(5, dtype=torch.long)
    found = model.predict_step(Frames(torch.zeros(5, 3, 48, 48), where, torch.arange(5)))
    assert found.covariance.shape == (5, 2, KEYPOINTS, 3)
    torch.testing.assert_close(found.covariance[..., :2].mean(), torch.tensor(0.05**2), rtol=0.2, atol=0)
    assert model.points(torch.zeros(5, 3, 48, 48)).shape == (5, 2 * KEYPOINTS, 2)


def test_an_animal_that_is_not_there_has_no_confidence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    two_peaked(model, monkeypatch, animals()[:, :1])
    found = model(torch.zeros(5, 3, 48, 48))
    present = found.confidence.sum(dim=-1) > 0
    assert found.points.isfinite().all()
    assert (present.sum(dim=1) == 1).all()


def test_refuses_what_reads_nothing() -> None:
    for wrong in ({"instances": 0}, {"region": 0.0}, {"apart": 1.5}):
        with pytest.raises(ConfigurationError, match="at most 1; got instances="):
            build(**wrong)
    with pytest.raises(ConfigurationError, match="join must be one of max, sum, got 'mean'"):
        build(join="mean")


# ---------------------------------------------------------------- losses are invariant to the order of animals


def test_rotation_loss_is_invariant_to_the_order_of_animals() -> None:
    upright, found = animals(), animals() + 0.03
    turned = rotate_points(found, 1)
    loss = rotation_of_animals(upright, turned, 1, (32, 32), variance=0.01, amplitude=1.0)
    for order in ([1, 0], [0, 1]):
        again = rotation_of_animals(upright[:, order], turned, 1, (32, 32), variance=0.01, amplitude=1.0)
        torch.testing.assert_close(again, loss)
    mixed = torch.stack([turned[:, [k % 2, 1 - k % 2], k] for k in range(KEYPOINTS)], dim=2)
    again = rotation_of_animals(upright, mixed, 1, (32, 32), variance=0.01, amplitude=1.0)
    torch.testing.assert_close(again, loss)
    assert loss > 1e-5
    exact = rotation_of_animals(upright, rotate_points(upright[:, [1, 0]], 3), 3, (32, 32), variance=0.01)
    assert exact < 1e-9


def test_one_animal_has_the_losses_of_bkind() -> None:
    upright, turned = animals()[:, :1], rotate_points(animals()[:, :1], 2)
    torch.testing.assert_close(
        rotation_of_animals(upright, turned, 2, (32, 32)),
        rotation_loss(upright[:, 0], turned[:, 0], 2, (32, 32)),
    )
    torch.testing.assert_close(separation_of_animals(upright), separation_loss(upright[:, 0]))


def test_separation_by_hand() -> None:
    """Two distant animals whose two keypoints are 0.08 apart: exp(-1/2), and each pair counts twice."""
    points = torch.tensor([[[[0.0, 0.0], [0.08, 0.0]], [[0.9, 0.9], [0.9, 0.98]]]])
    expected = 2 * torch.tensor(-0.5).exp() / 2**2  # mean over K^2 pairs, over both animals
    torch.testing.assert_close(separation_of_animals(points, 0.08), expected)
    same = torch.zeros(1, 2, 1, 2)  # the same keypoint on both: peaks of one heatmap do not count
    assert separation_of_animals(same) == 0


def test_the_separation_of_two_animals_in_the_upright_and_the_turned_frames() -> None:
    """All points together: 8 pairs of different keypoints / (2 animals x 2^2) = 1; with the turned ones apart: 1/4."""
    together, apart = torch.zeros(1, 2, 2, 2), torch.linspace(-1, 1, 8).view(1, 2, 2, 2)
    model = build(keypoints=2)
    assert model._separation(together, [together] * 3).item() == pytest.approx(1)
    assert model._separation(together, [apart] * 3).item() == pytest.approx(1 / 4)
    assert model._separation(together, [apart]).item() == pytest.approx(1 / 4)  # it stands for three


def test_maps_of_animals_are_joined_by_their_maximum_unless_told(pairs: FramePairs) -> None:
    chosen, maximum, total = (build(**options).eval() for options in ({}, {"join": "max"}, {"join": "sum"}))
    found = [model.terms(pairs)["reconstruction"].item() for model in (chosen, maximum, total)]
    assert found[0] == found[1] != found[2]


def test_the_decoder_sees_joined_maps(pairs: FramePairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the peaks of a heatmap changes no term."""
    model = build().eval()
    first = model.terms(pairs)
    points_of = model._points_of
    monkeypatch.setattr(model, "_points_of", lambda heatmaps: points_of(heatmaps).flip(1))
    for name, value in model.terms(pairs).items():
        torch.testing.assert_close(value, first[name], msg=name)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("join", ["max", "sum"])
def test_every_parameter_learns(join: str, pairs: FramePairs) -> None:
    model = build(join=join)
    terms = model.terms(pairs)
    assert set(terms) == set(TERMS)
    torch.stack([model.loss_weights[name] * term for name, term in terms.items()]).sum().backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("term", TERMS)
def test_twenty_steps_lower_each_term(term: str, pairs: FramePairs) -> None:
    # Nearly flat heatmaps have peaks anywhere; separation needs some that are near each other.
    weights = BKinDWeights(**{name: float(name == term) for name in TERMS})
    model = build(weights, separation_sigma=0.3, apart=0.2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model.terms(pairs)[term]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1e-3
    assert min(losses[-3:]) < 0.9 * losses[0], losses


@pytest.mark.slow
def test_both_look_alikes_are_found_on_the_arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes minutes: 9 of 10 animals of the unseen video, and fewer identity switches than by the order of height."""
    import json

    from lightning_kp.cli import main

    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))
    run = tmp_path / "run"
    assert main([
        "fit", f"--config={ROOT}/experiments/bkind_arena.yaml", "--model=MultiInstanceBKinD", "--model.keypoints=5",
        "--data.look_alike=true", f"--data.root={tmp_path}", "--trainer.max_epochs=10",
        "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={run}",
    ]) == 0  # fmt: skip
    truth = next((tmp_path / "arena").glob("arena_seed1_*.truth.npz"))
    assert main(["animals", str(run), "--labels", str(truth)]) == 0
    figures = json.loads((run / "metrics.json").read_text())
    trained, untrained = figures["animals_trained"], figures["animals_untrained"]
    assert trained["assignment"]["detection"] > 0.9
    assert trained["assignment"]["switches"] < trained["height"]["switches"]
    assert trained["nodes_own_px"] < untrained["nodes_own_px"]


def test_settings_of_bkind_hold_when_only_the_method_is_exchanged(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that do not fit the type of the new class would be dropped silently."""
    import yaml

    from lightning_kp.cli import main

    config = root / "experiments" / "bkind_arena.yaml"
    assert main(["fit", f"--config={config}", "--model=MultiInstanceBKinD", "--print_config"]) == 0
    kept = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    written = yaml.safe_load(config.read_text())["model"]["init_args"]
    assert {name: value for name, value in kept["weights"].items() if value is not None} == written["weights"]
    others = written.keys() - {"weights", "optimizer", "scheduler"}
    assert {name: kept[name] for name in others} == {name: written[name] for name in others}
