"""B-KinD: every choice runs and learns, unused computation is skipped, and memory layouts agree.

The values of its losses and networks are compared with the reference in tests/losses and tests/nn. The networks here
are small, and VGG-19 has one channel in place of 64.
"""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg

from lightning_kp.batches import FramePairs, Frames
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import QUARTER_TURNS, rotate_image
from lightning_kp.images.differences import Target, ssim_difference
from lightning_kp.losses.reconstruction import feature_errors, perceptual_loss
from lightning_kp.methods import bkind
from lightning_kp.methods.bkind import BKinD, BKinDWeights, Reconstruction

SIZE, KEYPOINTS, PAIRS = 64, 3, 3
Rows = list[int]
TERMS = tuple(field.name for field in dataclasses.fields(BKinDWeights))
PAPER = BKinDWeights(reconstruction=1, rotation=1, mean_separation=0.1)
ALL_ON = BKinDWeights(**{name: getattr(PAPER, name) or 0.1 for name in TERMS})


@pytest.fixture(autouse=True)
def narrow_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vgg.cfgs, "E", [c if isinstance(c, str) else c // 32 for c in vgg.cfgs["E"]])


def build(weights: BKinDWeights = ALL_ON, **options: Any) -> BKinD:
    settings: dict[str, Any] = {
        "keypoints": KEYPOINTS, "encoder": "tiny", "pretrained": False, "target": "absolute",
        "reconstruction": "structural", "perceptual_weights": False, "pose_width": 8, "sharpness": 5.0,
        "decoder_widths": (16, 8, 8, 4), "variances": (0.1, 0.1, 0.05, 0.02), "unit_amplitude": True,
        "rotation_variance": 0.02,
    }  # fmt: skip
    torch.manual_seed(0)
    return BKinD(**settings | options, weights=weights)


def moving_blobs(pairs: int = PAIRS, size: int = SIZE) -> FramePairs:
    """A bright disc on a static, textured background, at another position in the later frame."""
    generator = torch.Generator().manual_seed(1)
    ground = 0.3 * torch.rand(1, 3, size, size, generator=generator)
    grid = torch.arange(size, dtype=torch.float32)

    def draw(centres: Tensor) -> Tensor:
        rows = (grid.view(1, size, 1) - centres[:, :1, None]) ** 2
        columns = (grid.view(1, 1, size) - centres[:, 1:, None]) ** 2
        return ground + 0.6 * ((rows + columns) < (size / 8) ** 2).float().unsqueeze(1)

    first, second = (size / 8 + 0.75 * size * torch.rand(2, pairs, 2, generator=generator)).unbind(0)
    return FramePairs(draw(first), draw(second), torch.zeros(pairs, dtype=torch.long), torch.arange(pairs))


def total(model: BKinD, batch: FramePairs) -> Tensor:
    terms = model.terms(batch)
    return torch.stack([model.loss_weights[name] * term for name, term in terms.items()]).sum()


def only(term: str) -> BKinDWeights:
    return BKinDWeights(**{name: float(name == term) for name in TERMS})


def encoder_rows(model: BKinD) -> Rows:
    """List that receives the number of images of each call of the encoder."""
    rows: Rows = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    return rows


# ---------------------------------------------------------------- every choice runs and learns


@pytest.mark.parametrize(
    ("target", "reconstruction"), itertools.product(get_args(Target), get_args(Reconstruction))
)
def test_every_target_with_every_reconstruction(target: Target, reconstruction: Reconstruction) -> None:
    model = build(target=target, reconstruction=reconstruction)
    terms = model.terms(moving_blobs(2))
    assert set(terms) == set(TERMS)
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("term", [*TERMS, "all"])
def test_twenty_steps_lower_each_term(term: str) -> None:
    # Flat heatmaps put all points at the centre, so that separation can lower its loss.
    sharpness = 0.5 if term == "mean_separation" else 5.0
    model = build(ALL_ON if term == "all" else only(term), sharpness=sharpness)
    batch = moving_blobs(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = total(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.01
    assert max(losses[-3:]) < 0.8 * losses[0], losses


def test_the_curriculums_first_epochs_have_no_rotation() -> None:
    """A term whose weight becomes 0 is left out, and returns when the weight does."""
    model = build()
    model.loss_weights["rotation"] = 0.0
    assert "rotation" not in model.terms(moving_blobs(2))
    model.loss_weights["rotation"] = 1.0
    assert "rotation" in model.terms(moving_blobs(2))


def test_defaults_of_the_reference_code() -> None:
    """Weights of eq. 5.4, which the paper does not state, and the optimiser: rate of Table 5.11, others not stated."""
    model = build(BKinDWeights())
    assert model.loss_weights == {
        "reconstruction": 1, "rotation": 1, "mean_separation": 0.2, "focus": 0, "coverage": 0,
    }  # fmt: skip
    optimizer = model.default_optimizer()
    assert isinstance(optimizer, torch.optim.SGD)
    assert {name: optimizer.defaults[name] for name in ("lr", "momentum", "weight_decay", "nesterov")} == {
        "lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": False,
    }  # fmt: skip


def test_reference_follows_the_reference_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """One switch: grid, order, convolutions, initialisation, target and divisor; the values of each have own tests."""
    ours, theirs = (
        build(reconstruction="perceptual", target="ssim", reference=flag) for flag in (False, True)
    )
    assert (ours.decoder.concatenate_first, theirs.decoder.concatenate_first) == (False, True)
    assert (ours.pose_decoder.align_corners, theirs.pose_decoder.align_corners) == (False, True)
    counts = [[len(block) // 3 for block in model.decoder.blocks] for model in (ours, theirs)]  # type: ignore[arg-type]
    assert counts == [[1] * 4, [2] * 4]
    drawn = torch.cat(
        [each.weight.flatten() for each in theirs.decoder.modules() if isinstance(each, nn.Conv2d)]
    )
    assert drawn.std().item() == pytest.approx(0.01, rel=0.05)
    batch = moving_blobs(2)
    prediction = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    target = ssim_difference(batch.frame, batch.future, luminance=False, blur_sigma=1.0).expand(-1, 3, -1, -1)
    assert theirs.perceptual is not None
    errors = feature_errors(theirs.perceptual(prediction), theirs.perceptual(target))
    expected = perceptual_loss(errors, saturate=True)
    torch.testing.assert_close(theirs._reconstruction(prediction, batch), expected)
    assert not torch.isclose(ours._reconstruction(prediction, batch), expected, rtol=1e-3)


def test_rotation_is_compared_at_half_the_side_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the reference code: maps of S / 2, twice the heatmaps of an encoder with stride 4."""
    sizes: list[tuple[int, int]] = []
    loss = bkind.rotation_loss

    def recorded(points: Tensor, rotated: Tensor, turn: Any, size: tuple[int, int], **options: Any) -> Tensor:
        sizes.append(size)
        return loss(points, rotated, turn, size, **options)

    monkeypatch.setattr(bkind, "rotation_loss", recorded)
    build().terms(moving_blobs(2))
    assert sizes == [(SIZE // 2, SIZE // 2)] * 3


# ---------------------------------------------------------------- no unused computation


@pytest.mark.parametrize(
    ("options", "weights", "sets"),
    [
        ({"rotations": "all"}, ALL_ON, 5),
        ({"rotations": "one"}, ALL_ON, 3),
        ({"rotations": "all"}, dataclasses.replace(ALL_ON, rotation=0), 2),
    ],
)
def test_one_pass_of_the_encoder(options: dict[str, Any], weights: BKinDWeights, sets: int) -> None:
    model = build(weights, **options)
    rows = encoder_rows(model)
    model.terms(moving_blobs())
    assert rows == [sets * PAIRS]


@pytest.mark.parametrize("term", TERMS)
def test_weight_zero_costs_no_work(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(BKinDWeights(**dataclasses.asdict(ALL_ON) | {term: 0.0}))
    calls: list[str] = []

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*arguments, **options)

        return counted

    for name in set(TERMS) - {"reconstruction"}:
        function = "separation_over_turns" if name == "mean_separation" else f"{name}_loss"
        monkeypatch.setattr(bkind, function, count(name, getattr(bkind, function)))
    monkeypatch.setattr(bkind, "difference_target", count("reconstruction", bkind.difference_target))
    model.decoder.register_forward_pre_hook(lambda *_: calls.append("reconstruction"))
    assert set(model.terms(moving_blobs(2))) == set(TERMS) - {term}
    assert set(calls) == set(TERMS) - {term}


def test_without_rotation_nothing_is_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bkind, "turn_image", lambda *_: pytest.fail("an image was turned"))
    build(dataclasses.replace(ALL_ON, rotation=0)).terms(moving_blobs(2))


@pytest.mark.parametrize("reconstruction", get_args(Reconstruction))
@pytest.mark.parametrize(
    "weights", [ALL_ON, only("reconstruction")], ids=["all terms", "reconstruction alone"]
)
@pytest.mark.parametrize("fuse", ["finest", "sum"])
def test_no_parameter_is_idle(reconstruction: str, weights: BKinDWeights, fuse: str) -> None:
    """Plain DDP stops at a parameter without gradient."""
    model = build(weights, reconstruction=reconstruction, fuse=fuse)
    total(model, moving_blobs(2)).backward()
    idle = [
        n for n, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert idle == []


def test_vgg_learns_nothing_and_stays_in_evaluation_mode() -> None:
    model = build(reconstruction="perceptual").train()
    assert model.perceptual is not None
    before = {name: value.clone() for name, value in model.perceptual.state_dict().items()}
    optimizer = model.default_optimizer()
    total(model, moving_blobs(2)).backward()
    optimizer.step()
    assert all(parameter.grad is None for parameter in model.perceptual.parameters())
    assert not any(module.training for module in model.perceptual.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.perceptual.state_dict().items())
    handed = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert handed.isdisjoint(id(parameter) for parameter in model.perceptual.parameters())


def test_the_targets_features_have_no_graph() -> None:
    model = build(reconstruction="perceptual")
    assert model.perceptual is not None
    seen: list[bool] = []
    model.perceptual.register_forward_hook(lambda _, __, maps: seen.append(maps[-1].requires_grad))
    model.terms(moving_blobs(2))
    assert sorted(seen) == [False, True]


# ---------------------------------------------------------------- rotation


def frozen_statistics(model: BKinD) -> BKinD:
    """Batch normalisation as in evaluation, everything else as in training."""
    model.eval()
    model.training = True
    return model


def test_one_turn_at_random_has_the_expectation_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = frozen_statistics(build(PAPER, rotations="one"))
    batch = moving_blobs()
    single = []
    for turn in QUARTER_TURNS:
        monkeypatch.setattr(model, "_turns", lambda _pairs, turn=turn: (turn,))
        single.append(total(model, batch))
    monkeypatch.setattr(model, "_turns", lambda _pairs: QUARTER_TURNS)
    torch.testing.assert_close(torch.stack(single).mean(), total(model, batch), rtol=1e-4, atol=1e-6)
    assert torch.stack(single).std() > 0  # the three differ


def test_turns_are_drawn_evenly_and_the_same_when_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(rotations="one").train()

    def turns(steps: range) -> list[int]:
        drawn = []
        for step in steps:
            monkeypatch.setattr(BKinD, "global_step", step)
            torch.rand(step % 7)  # other code may draw random numbers
            drawn += model._turns(2)
        return drawn

    drawn = turns(range(300))
    assert [drawn.count(turn) for turn in QUARTER_TURNS] == pytest.approx([100, 100, 100], abs=25)
    assert turns(range(120, 140)) == drawn[120:140]


def test_evaluation_reads_all_turns() -> None:
    model = build(rotations="one").eval()
    rows = encoder_rows(model)
    first, second = (model.terms(moving_blobs())["rotation"] for _ in range(2))
    assert rows == [5 * PAIRS] * 2
    assert torch.equal(first, second)


def test_the_upright_points_are_labels() -> None:
    model = build(only("rotation"))
    kept: list[Tensor] = []

    def keep(_: object, __: object, logits: Tensor) -> None:
        logits.retain_grad()
        kept.append(logits)

    model.pose_decoder.register_forward_hook(keep)
    model.terms(moving_blobs())["rotation"].backward()
    grad = kept[0].grad
    assert grad is not None
    assert torch.equal(grad[: 2 * PAIRS], torch.zeros_like(grad[: 2 * PAIRS]))
    assert (grad[2 * PAIRS :].flatten(1).abs().sum(dim=1) > 0).all()


def test_an_equivariant_detector_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heatmaps that follow the brightest pixels turn with the image exactly."""
    model = build(only("rotation"))

    def brightest(pyramid: list[Tensor]) -> Tensor:
        logits = 40 * torch.nn.functional.avg_pool2d(pyramid[0], 4)
        return logits.expand(-1, KEYPOINTS, -1, -1)

    monkeypatch.setattr(model.encoder, "forward", lambda image: [image[:, :1]])
    monkeypatch.setattr(model.pose_decoder, "forward", brightest)
    batch = moving_blobs()
    assert model.terms(batch)["rotation"].item() < 1e-8
    shifted = batch._replace(future=batch.future * torch.linspace(0.2, 1, SIZE))
    assert model.terms(shifted)["rotation"].item() < 1e-8  # at any position of the animal


# ---------------------------------------------------------------- precision and layout


@pytest.mark.parametrize("reconstruction", get_args(Reconstruction))
def test_sixteen_bits_give_the_loss_of_thirty_two(reconstruction: str) -> None:
    """Within 5 % per term; the target, the softmax and the maps are computed in 32 bits."""
    model, batch = build(reconstruction=reconstruction), moving_blobs()
    wide = model.terms(batch)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = model.terms(batch)
    for name, value in wide.items():
        assert narrow[name].dtype == torch.float32, name
        assert narrow[name].item() == pytest.approx(value.item(), rel=0.05), name


def _last_losses(start: int, *, enabled: bool) -> float:
    """Mean of the last five of fifteen losses, from weights moved by up to one rounding of bf16."""
    model, batch = build(PAPER), moving_blobs(2)
    generator = torch.Generator().manual_seed(start)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 2**-9 * (2 * torch.rand(weight.shape, generator=generator) - 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=2e-3, momentum=0.9)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = total(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return sum(losses[-5:]) / 5


@pytest.mark.slow
def test_sixteen_bits_learn_alike() -> None:
    """Over four starts the means agree within 10 %.

    Single runs are not comparable: changing the weights by one rounding of 16 bits makes runs of 32 bits end
    anywhere from 0.83 to 0.95, because batch normalisation of a batch of two amplifies the change.
    """
    narrow, wide = (sum(_last_losses(start, enabled=on) for start in range(4)) / 4 for on in (True, False))
    assert narrow == pytest.approx(wide, rel=0.1)


@pytest.mark.parametrize("weights_last", [True, False])
@pytest.mark.parametrize("images_last", [True, False])
def test_memory_layouts_agree(weights_last: bool, images_last: bool) -> None:
    batch = moving_blobs()
    expected = build().terms(batch)
    layouts = {True: torch.channels_last, False: torch.contiguous_format}
    model = build().to(memory_format=layouts[weights_last])  # type: ignore[call-overload]
    frame, future = (i.contiguous(memory_format=layouts[images_last]) for i in (batch.frame, batch.future))
    found = model.terms(batch._replace(frame=frame, future=future))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def test_channels_last_survives_the_turned_copies_and_the_maps() -> None:
    """One tensor in the default layout would convert all that follow back to it."""
    model = build()
    layouts: dict[str, bool] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: layouts.__setitem__(
                    name, inputs[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
    model.terms(moving_blobs())
    assert layouts
    assert [name for name, last in layouts.items() if not last] == []


def test_gradient_accumulation_adds_up() -> None:
    """With fixed statistics the mean of two half batches is the whole batch."""
    model = frozen_statistics(build(PAPER, reconstruction="perceptual"))
    batch = moving_blobs(4)
    halves = [FramePairs(*(field[part] for field in batch)) for part in (slice(0, 2), slice(2, 4))]
    accumulated = torch.stack([total(model, half) for half in halves]).mean()
    torch.testing.assert_close(accumulated, total(model, batch), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- prediction, checkpoints, options


def test_prediction() -> None:
    model = build().eval()
    batch = moving_blobs()
    frames = Frames(batch.future, torch.tensor([0, 0, 1]), torch.tensor([4, 5, 0]))
    with torch.no_grad():
        found = model.predict_step(frames)
        keypoints = model(batch.future)
    assert found.keypoints.points.shape == (PAIRS, 1, KEYPOINTS, 2)
    assert found.keypoints.points.abs().max() <= 1
    assert found.keypoints.confidence.shape == (PAIRS, 1, KEYPOINTS)
    assert found.keypoints.confidence.min() > 0
    assert found.keypoints.confidence.max() <= 1
    assert found.covariance.shape == (PAIRS, 1, KEYPOINTS, 3)
    var_x, var_y, cov = found.covariance.unbind(-1)
    assert (var_x * var_y >= cov**2).all()  # a covariance matrix
    assert found.video.tolist() == [0, 0, 1]
    assert found.index.tolist() == [4, 5, 0]
    torch.testing.assert_close(keypoints.points, found.keypoints.points)


def test_heatmaps_sum_to_one() -> None:
    heatmaps = build().heatmaps(moving_blobs().frame)
    assert heatmaps.shape == (PAIRS, KEYPOINTS, SIZE // 4, SIZE // 4)
    torch.testing.assert_close(heatmaps.sum(dim=(-2, -1)), torch.ones(PAIRS, KEYPOINTS))


def test_a_checkpoint_brings_its_options(tmp_path: Path) -> None:
    model = build(keypoints=4, sharpness=3.0, decoder_widths=(8, 4), variances=(0.1, 0.05))
    trainer = L.Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu", barebones=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    reloaded = BKinD.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True, map_location="cpu")
    assert reloaded.hparams == model.hparams
    assert {"weights", "optimizer", "scheduler"}.isdisjoint(model.hparams)
    image = moving_blobs().frame
    torch.testing.assert_close(reloaded.eval().heatmaps(image), model.eval().heatmaps(image))


def test_a_misspelt_weight_is_refused() -> None:
    with pytest.raises(TypeError, match="rotatoin"):
        BKinDWeights(rotatoin=1)  # type: ignore[call-arg]


def test_options_out_of_range() -> None:
    with pytest.raises(ConfigurationError, match=r"^keypoints must be above 0, got 0\. .*--model\.keypoints"):
        build(keypoints=0)
    with pytest.raises(
        ConfigurationError, match="reconstruction must be one of perceptual, structural, got 'vgg'"
    ):
        build(reconstruction="vgg")
    with pytest.raises(ConfigurationError, match="rotations must be one of all, one, any, got 'two'"):
        build(rotations="two")
    with pytest.raises(ConfigurationError, match="3 entries and variances 1"):
        build(decoder_widths=(8, 4, 4), variances=(0.1,))
    with pytest.raises(ConfigurationError, match=r"no encoder 'tinny'.*tiny"):
        build(encoder="tinny")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("pose_width", 0, "0"),
        ("sharpness", -1.0, "-1.0"),
        ("decoder_convolutions", 0, "0"),
        ("rotation_variance", 0.0, "0.0"),
        ("rotation_variance", float("nan"), "nan"),
        ("separation_sigma", 0.0, "0.0"),
        ("decoder_widths", (8, 0, 4), "0"),
        ("variances", (0.1, 0.01, 0.0), "0.0"),
    ],
)
def test_what_has_to_be_positive(name: str, value: Any, shown: str) -> None:
    own = {"decoder_widths": (8, 4, 4), "variances": (0.1, 0.1, 0.1)}
    with pytest.raises(
        ConfigurationError, match=rf"^{name} must be above 0, got {shown}\. .*--model\.{name}"
    ):
        build(**own | {name: value})


def test_oblong_images_are_refused() -> None:
    oblong = FramePairs(*(torch.rand(2, 3, 64, 96) for _ in range(2)), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ConfigurationError, match="square images, got 64x96"):
        build().terms(oblong)


def test_augmented_images_stay_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only training uses augmented pairs, and the same ones at the same step."""
    model, batch = build(augment=True), moving_blobs()
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    for step in (0, 0, 1):
        monkeypatch.setattr(BKinD, "global_step", step)
        model.terms(batch)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    model.eval().terms(batch)
    plain = model.normalise(torch.cat((batch.future, batch.frame, rotate_image(batch.future, 1))))
    torch.testing.assert_close(seen[3][: 3 * PAIRS], plain)
