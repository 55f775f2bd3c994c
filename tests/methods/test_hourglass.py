"""The stacked hourglass: its network, decoding of heatmaps, losses, and settings from the datamodule."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from people_sets import write_lsp, write_mpii_json
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.cli import main
from lightning_kp.datamodules import LSP, MPII
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import pixel_centres
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.losses.heatmap_losses import HeatmapLossName
from lightning_kp.methods import StackedHourglass
from lightning_kp.methods.hourglass import learning_rate_factor
from lightning_kp.nn.hourglass import StackedHourglassNet
from lightning_kp.skeleton import Skeleton

SMALL: dict[str, Any] = {"stacks": 2, "width": 8, "depth": 2, "sigma": 0.25}
LEFT_RIGHT: dict[str, Any] = {
    "names": ["left", "right", "top"], "mirror_pairs": [("left", "right")], **SMALL,
}  # fmt: skip


def test_the_papers_defaults() -> None:
    """The exponent of Table 2.7 in the loss, and the rate and optimiser of section 2.5."""
    method, steeper = (StackedHourglass(**LEFT_RIGHT | options) for options in ({}, {"gamma": 3.0}))
    told = StackedHourglass(**LEFT_RIGHT, loss="anchor", gamma=2.0, delta=0.0)
    batch = LabelledImages(torch.rand(2, 3, 32, 32), torch.rand(2, 1, 3, 2) - 0.5, torch.ones(2, 1, 3))
    for each in (steeper, told):
        each.load_state_dict(method.state_dict())
    losses = [each.eval().terms(batch)["heatmaps"].item() for each in (method, told, steeper)]
    assert losses[0] == losses[1] != losses[2]
    optimizer = method.configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert optimizer.param_groups[0]["lr"] == 1e-3


# Network


@pytest.mark.parametrize(("size", "heatmap"), [((32, 32), (8, 8)), ((36, 44), (9, 11)), ((30, 33), (8, 9))])
def test_every_stack_answers_at_a_quarter_of_the_side(
    size: tuple[int, int], heatmap: tuple[int, int]
) -> None:
    network = StackedHourglassNet(5, stacks=3, width=8, depth=2, from_prior=True)
    outputs = network(torch.rand(2, 3, *size))
    assert [tuple(each.shape) for each in outputs] == [(2, 5, *heatmap)] * 3


def test_later_stacks_read_the_heatmaps_before_them() -> None:
    network = StackedHourglassNet(2, stacks=2, width=8, depth=1, from_prior=False).eval()
    image = torch.rand(1, 3, 16, 16)
    before = network(image)
    with torch.no_grad():
        network.merge_heatmaps[0].weight.add_(1.0)
    after = network(image)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_sigmoids_begin_rare_and_linear_outputs_at_nothing() -> None:
    for rare, value in ((True, 0.01), (False, 0.5)):
        network = StackedHourglassNet(2, stacks=1, width=8, depth=1, from_prior=rare)
        assert network.heads[0].bias.sigmoid().tolist() == pytest.approx([value] * 2)


def test_a_network_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="stacks 0"):
        StackedHourglassNet(2, stacks=0, width=8, depth=1, from_prior=True)


def test_images_too_small_to_be_halved_so_often_are_refused() -> None:
    network = StackedHourglassNet(2, stacks=1, width=8, depth=3, from_prior=True)
    assert network(torch.rand(2, 3, 29, 40))[0].shape[-2:] == (8, 10)
    with pytest.raises(
        ConfigurationError, match=r"8 px; images of 28 px have 7\. Use --model\.depth=2, or .* of 32 or"
    ):
        network(torch.rand(2, 3, 28, 40))


# Decoding


class Drawn(torch.nn.Module):
    """Replaces the network: each colour of the image is a heatmap, at a quarter of the side."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [torch.nn.functional.avg_pool2d(image + 0.5, 4)]


def reader(**options: Any) -> StackedHourglass:
    method = StackedHourglass(**{**LEFT_RIGHT, "loss": "mse", **options}).eval()
    method.network = Drawn()  # type: ignore[assignment]
    return method


def drawn_points(points: Tensor) -> Tensor:
    """Images (B, 3, 64, 64) with a blob at each of three points."""
    return render_gaussians(points, (64, 64), 0.2)


def test_points_confidence_and_spread_are_those_of_the_blob() -> None:
    # At the centres of pixels (11, 4), (2, 8), (7, 7) of 16 x 16.
    points = torch.tensor([[[0.4375, -0.4375], [-0.6875, 0.0625], [-0.0625, -0.0625]]])
    method = reader(sigma=0.2)
    image = drawn_points(points)
    found = method.locate(image)
    torch.testing.assert_close(found.points[:, 0], points, atol=1e-5, rtol=0)
    assert (found.peak - 1).abs().max() < 0.1
    torch.testing.assert_close(found.covariance[0, 0, :, :2], torch.full((3, 2), 0.04), atol=0.008, rtol=0)
    maps = method.heatmaps(image)
    torch.testing.assert_close(maps.sum(dim=(-2, -1)), torch.ones(1, 3))
    torch.testing.assert_close(method(image).points, found.points)
    torch.testing.assert_close(method.points(image), found.points[:, 0])


def test_scales_agree_on_a_blob() -> None:
    points = torch.tensor([[[0.4, -0.45], [-0.7, 0.1], [-0.05, -0.1]]])
    found = reader(scales=[0.75, 1.0, 1.25], refinement="quadratic").points(drawn_points(points))
    torch.testing.assert_close(found, points, atol=0.03, rtol=0)


@pytest.mark.parametrize("side", [64, 100])
def test_no_scale_moves_a_blob(side: int) -> None:
    """For sides that are not multiples of the stride, the last cell would cover less than the others."""
    points = torch.tensor([[[0.5, 0.45], [-0.45, 0.1], [0.0, -0.5]]])
    image = render_gaussians(points, (side, side), 0.12)

    def centres(scale: float) -> Tensor:
        maps = reader(scales=[scale]).scores(image)[0]
        centre = pixel_centres(maps.shape[-1], like=maps)
        weight = maps / maps.sum(dim=(-2, -1), keepdim=True)
        return torch.stack(
            ((weight.sum(dim=-2) * centre).sum(-1), (weight.sum(dim=-1) * centre).sum(-1)), dim=-1
        )

    cell = 2 * 4 / side
    for scale in (0.7, 0.8, 0.9, 1.1, 1.2):
        assert (centres(scale) - centres(1.0)).abs().max() < 0.05 * cell


def test_flipping_averages_with_the_mirror_image_of_the_mirror_joint() -> None:
    class Lopsided(Drawn):
        """Finds the left hand in the first colour, and does not exchange hands in mirror images, as a network would."""

    method = reader(flip_test=True)
    method.network = Lopsided()  # type: ignore[assignment]
    points = torch.tensor([[[0.5, 0.0], [-0.5, 0.25], [0.0, -0.5]]])
    image = drawn_points(points)
    plain, averaged = reader().scores(image), method.scores(image)
    # Mirrored, the first colour's blob lies at x -0.5: it belongs to the other hand, mirrored back to 0.5.
    expected = (plain + plain[:, [1, 0, 2]]) / 2
    torch.testing.assert_close(averaged, expected)


def test_a_network_that_knows_left_from_right_is_as_good_on_mirrored_images() -> None:
    class Knowing(Drawn):
        """Heatmaps of the brightness of the left and of the right half: position alone decides which is left."""

        def forward(self, image: Tensor) -> list[Tensor]:
            blob = super().forward(image)[0][:, :1]
            x = torch.arange(blob.shape[-1]) < blob.shape[-1] / 2
            return [torch.cat((blob * x, blob * ~x, blob), dim=1)]

    points = torch.tensor([[[-0.5625, 0.0625], [0.0, 0.0], [0.0, 0.0]]])
    methods = [reader(), reader(flip_test=True)]
    for method in methods:
        method.network = Knowing()  # type: ignore[assignment]
    image = drawn_points(points)
    torch.testing.assert_close(methods[0].scores(image), methods[1].scores(image))


def test_no_confidence_is_zero() -> None:
    method = reader()
    found = method(torch.full((1, 3, 32, 32), -0.5))
    assert (found.confidence > 0).all()
    assert found.points.isfinite().all()
    assert method.locate(torch.full((1, 3, 32, 32), -0.5)).covariance.isfinite().all()


# Losses


def batch(number: int = 4) -> LabelledImages:
    random = torch.Generator().manual_seed(0)
    points = 1.2 * torch.rand(number, 1, 3, 2, generator=random) - 0.6
    return LabelledImages(render_gaussians(points[:, 0], (32, 32), 0.25), points, torch.ones(number, 1, 3))


@pytest.mark.parametrize("loss", ["mse", "bce", "focal", "anchor", "ohkm"])
def test_twenty_steps_lower_every_loss(loss: HeatmapLossName) -> None:
    torch.manual_seed(0)
    method = StackedHourglass(**LEFT_RIGHT, loss=loss)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    values = []
    for _ in range(20):
        value = method.terms(batch())["heatmaps"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


def test_what_is_not_labelled_or_outside_does_not_count() -> None:
    method = StackedHourglass(**LEFT_RIGHT, loss="bce").eval()
    good = batch(2)
    hidden = good._replace(
        points=good.points.clone(), confidence=good.confidence * torch.tensor([1.0, 1.0, 0.0])
    )
    hidden.points[:, :, 2] = 0.3
    outside = good._replace(points=good.points.clone())
    outside.points[:, :, 2] = 1.1
    first, second = (method.terms(each)["heatmaps"] for each in (hidden, outside))
    torch.testing.assert_close(first, second)
    assert not torch.equal(first, method.terms(good)["heatmaps"])
    nothing = good._replace(confidence=torch.zeros_like(good.confidence))
    assert method.terms(nothing)["heatmaps"] == 0


def test_animals_that_are_told_apart_are_points_one_after_another() -> None:
    one, two = (StackedHourglass(names, **SMALL, loss="bce").eval() for names in (["a", "b"], ["a_1", "a_2"]))
    two.load_state_dict(one.state_dict())
    joints = batch(2)
    single = LabelledImages(joints.image, joints.points[:, :, :2], joints.confidence[:, :, :2])
    pair = LabelledImages(single.image, single.points.transpose(1, 2), single.confidence.transpose(1, 2))
    torch.testing.assert_close(one.terms(single), two.terms(pair))
    assert one.plain.compute()["pck"] == two.plain.compute()["pck"]


def test_every_stack_is_supervised() -> None:
    method = StackedHourglass(**LEFT_RIGHT, loss="mse")
    assert method.network is not None
    method.terms(batch())["heatmaps"].backward()
    for head in method.network.heads:
        assert head.weight.grad.abs().sum() > 0


def test_augmented_images_differ_from_step_to_step_but_not_in_evaluation() -> None:
    method = StackedHourglass(**LEFT_RIGHT, loss="mse", augment=True).eval()
    plain = StackedHourglass(**LEFT_RIGHT, loss="mse").eval()
    plain.load_state_dict(method.state_dict())
    torch.testing.assert_close(method.terms(batch()), plain.terms(batch()))
    for each in (method, plain):
        each.train()
    assert not torch.equal(method.terms(batch())["heatmaps"], plain.terms(batch())["heatmaps"])


def test_the_papers_rates() -> None:
    epochs = (0, 99, 100, 119, 120, 139, 140, 160)
    expected = (1, 1, 0.5, 0.5, 0.1, 0.1, 0.05, 0.01)
    assert [learning_rate_factor(epoch) for epoch in epochs] == pytest.approx(list(expected))


# With data


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, **options,
    )  # fmt: skip


def test_joints_and_measures_come_with_the_data(tmp_path: Path) -> None:
    write_lsp(tmp_path, 8, extended=True)
    data = LSP(split="drawn", val_fraction=0.2, size=32, root=str(tmp_path), batch_size=2)
    method = StackedHourglass(stacks=1, width=8, depth=1, sigma=0.25, flip_test=True, scales=[0.75, 1])
    runner = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0)
    runner.fit(method, datamodule=data)
    assert "val/pck" in runner.logged_metrics
    (tested,) = runner.test(method, datamodule=data, verbose=False)
    assert {"test/pck", "test/pck_left_knee", "test/pcp_forearm", "test/confused", "test/doubled"} <= set(
        tested
    )
    path = tmp_path / "a.ckpt"
    runner.save_checkpoint(path)
    loaded = StackedHourglass.load_from_checkpoint(path, weights_only=True)
    assert loaded.keypoint_names == data.protocol.skeleton.names
    assert loaded.mirror == data.protocol.skeleton.mirror
    with pytest.raises(ConfigurationError, match="labels of LSP have no point called thorax"):
        trainer(tmp_path, max_steps=1).fit(StackedHourglass(["thorax"], **SMALL), datamodule=data)


@pytest.mark.parametrize(("depth", "scale"), [(9, 1.0), (3, 0.7)])
def test_a_scale_too_small_is_refused_before_training(tmp_path: Path, depth: int, scale: float) -> None:
    write_lsp(tmp_path, 8, extended=True)
    data = LSP(split="drawn", size=32, root=str(tmp_path), batch_size=2)
    method = StackedHourglass(stacks=1, width=8, depth=depth, sigma=0.25, scales=[scale, 1.2])
    with pytest.raises(ConfigurationError, match=r"--model\.depth=\d, or a --data\.size of \d+ or more"):
        trainer(tmp_path, max_epochs=1, num_sanity_val_steps=0).fit(method, datamodule=data)
    assert method.global_step == 0


@pytest.mark.parametrize("loss", ["anchor", "focal"])
def test_a_negative_gamma_is_refused_at_construction(loss: HeatmapLossName) -> None:
    with pytest.raises(ConfigurationError, match="gamma -1"):
        StackedHourglass(**SMALL, loss=loss, gamma=-1.0)


def test_head_boxes_measure_and_are_not_learnt(tmp_path: Path) -> None:
    write_mpii_json(tmp_path)
    data = MPII(".", root=str(tmp_path), size=32, batch_size=2)
    method = StackedHourglass(stacks=1, width=8, depth=1, sigma=0.25)
    (tested,) = trainer(tmp_path).test(method, datamodule=data, verbose=False)
    assert len(method.keypoint_names) == 16
    assert 0 <= tested["test/pck"] <= 1


def test_a_pair_of_unknown_names_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mirror_pairs names rihgt"):
        StackedHourglass(["left", "right"], [("left", "rihgt")], **SMALL)


def test_pairs_are_told_from_names_where_the_data_know_none(tmp_path: Path) -> None:
    method = StackedHourglass(["left_ear", "right_ear", "tail"], flip_test=True, **SMALL)
    method.setup("fit")
    assert method.mirror == (1, 0, 2)
    unknown = StackedHourglass(["ear1", "ear2"], flip_test=True, **SMALL)
    with pytest.warns(UserWarning, match="known as the mirror image"):
        unknown.setup("fit")


def test_the_mirror_follows_the_pairs() -> None:
    assert StackedHourglass(**LEFT_RIGHT).mirror == Skeleton(("l", "r", "t"), mirror_pairs=((0, 1),)).mirror


def test_the_command_tests_a_checkpoint_whose_names_came_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lsp(tmp_path / "lsp", 8, extended=True)
    options = [
        "--model=StackedHourglass", "--model.width=8", "--model.depth=1", "--data=LSP", "--data.split=drawn",
        f"--data.root={tmp_path / 'lsp'}", "--data.size=32", "--data.batch_size=2", "--trainer.accelerator=cpu",
        "--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip
    assert main(["fit", *options, "--trainer.max_steps=1", f"--trainer.default_root_dir={tmp_path}"]) == 0
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    assert main(["test", *options, f"--ckpt_path={checkpoint}"]) == 0
    run = checkpoint.parent.parent
    assert f"Run folder: {run}" in capsys.readouterr().err
    assert "test/pck" in json.loads((run / "metrics.json").read_text())
    assert not (tmp_path / "runs").exists()
    assert main(["predict", *options, f"--ckpt_path={checkpoint}"]) == 0
    assert "predict saves nothing" in capsys.readouterr().err


def test_every_stack_is_taught() -> None:
    class Two(torch.nn.Module):
        def __init__(self, outputs: list[Tensor]) -> None:
            super().__init__()
            self.outputs = outputs

        def forward(self, image: Tensor) -> list[Tensor]:
            return self.outputs

    def loss(*outputs: Tensor) -> float:
        method = StackedHourglass(**LEFT_RIGHT, loss="mse").eval()
        method.network = Two(list(outputs))  # type: ignore[assignment]
        return float(method.terms(batch(2))["heatmaps"])

    one, other = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    assert loss(one) != loss(other)
    assert loss(one, other) == pytest.approx(loss(one) + loss(other))


def test_joints_are_taken_by_name() -> None:
    """Two of three labelled joints, in another order."""
    method = StackedHourglass(
        **LEFT_RIGHT | {"names": ["top", "left"], "mirror_pairs": []}, loss="mse"
    ).eval()
    method.columns = [2, 0]
    good = batch(2)

    class Perfect(torch.nn.Module):
        def forward(self, image: Tensor) -> list[Tensor]:
            return [render_gaussians(good.points[:, 0, [2, 0]], (8, 8), 0.25)]

    method.network = Perfect()  # type: ignore[assignment]
    assert float(method.terms(good)["heatmaps"]) == pytest.approx(0, abs=1e-9)


def test_narrow_targets_are_told_once(recwarn: pytest.WarningsRecorder) -> None:
    method = StackedHourglass(**LEFT_RIGHT | {"sigma": 2 / 64}, loss="bce").eval()
    with pytest.warns(UserWarning, match=r"sigma of 0.12 px on heatmaps of 8 px; .* Set --model.sigma=0.150"):
        method.terms(batch(2))
    recwarn.clear()
    method.terms(batch(2))
    StackedHourglass(**LEFT_RIGHT, loss="bce").eval().terms(batch(2))
    assert not [each for each in recwarn if "have a sigma of" in str(each.message)]
