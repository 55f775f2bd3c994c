"""Weakly supervised discovery: which terms train when, one pass of the encoder, and what the terms teach."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from cub_folders import write_cub
from torch import Tensor

from lightning_kp.batches import ClassifiedImages
from lightning_kp.cli import main
from lightning_kp.datamodules import CUB
from lightning_kp.errors import ConfigurationError
from lightning_kp.methods import WeakDiscovery
from lightning_kp.methods.weak_discovery import WeakDiscoveryWeights
from lightning_kp.warps import MixedSplines

CLASSES = ("hen", "owl", "tit")


def small(**options: Any) -> WeakDiscovery:
    given: dict[str, Any] = {
        "keypoints": 4, "class_keypoints": 2, "classes": CLASSES, "encoder": "tiny", "pretrained": False,
        "reconstruction": "structural", "pose_width": 8, "sharpness": 5.0, "class_width": 8,
        "decoder_widths": (8, 8, 8, 8, 8), "unit_amplitude": True, "wide": 0.5, "mirrored": 0.25,
    }  # fmt: skip
    return WeakDiscovery(**given | options)


def batch(number: int = 8, side: int = 32) -> ClassifiedImages:
    return ClassifiedImages(torch.rand(number, 3, side, side), torch.arange(number) % len(CLASSES))


def images_passed(method: WeakDiscovery, run: Callable[[], object]) -> list[tuple[int, bool]]:
    """How many images passed the encoder in each call, and whether it was training."""
    passed: list[tuple[int, bool]] = []
    handle = method.encoder.register_forward_pre_hook(
        lambda module, inputs: passed.append((len(inputs[0]), module.training))
    )
    run()
    handle.remove()
    return passed


def test_all_terms_from_one_pass_of_the_encoder() -> None:
    method, images = small(), batch()
    passed = images_passed(method, lambda: method.terms(images))
    # Eight sources, eight warped, and a quarter of the batch mirrored; before that the choice, without training.
    assert passed == [(8, False), (18, True)]
    terms = method.terms(images)
    assert terms.keys() == {"reconstruction", "classification", "viewpoint"}
    assert all(term.isfinite() and term > 0 for term in terms.values())
    assert method.encoder.training
    assert method.pose_decoder.training


@pytest.mark.parametrize(
    ("options", "expected", "passed"),
    [
        ({"weights": WeakDiscoveryWeights(viewpoint=0.0)}, {"reconstruction", "classification"}, [16]),
        ({"weights": WeakDiscoveryWeights(reconstruction=0.0, viewpoint=0.0)}, {"classification"}, [8]),
        ({"classes": ()}, {"reconstruction"}, [16]),
        ({"classes": ("one",)}, {"reconstruction"}, [16]),
    ],
)
def test_nothing_is_computed_that_no_loss_reads(
    options: dict[str, Any], expected: set[str], passed: list[int]
) -> None:
    method, images = small(**options), batch()
    assert [number for number, _ in images_passed(method, lambda: method.terms(images))] == passed
    assert method.terms(images).keys() == expected


def test_without_classes_keypoints_of_the_source_are_not_computed() -> None:
    method, seen = small(classes=()), []
    method.pose_decoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0][0])))
    method.terms(batch())
    assert seen == [8]  # the warped images alone


def test_few_images_choose_none() -> None:
    assert "viewpoint" in small().terms(batch(4))
    assert "viewpoint" not in small().terms(batch(3))


def test_the_statistics_of_training_come_from_training_images_alone() -> None:
    """Choosing images leaves the running statistics as they are."""
    method, images = small(), batch()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method._chosen(images.image)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_heatmaps_have_half_the_side_of_the_image() -> None:
    for encoder, widths in (("tiny", 5), ("fine", 4)):  # strides 4 and 2
        method = small(encoder=encoder, decoder_widths=(8,) * widths, variances=(0.1,) * widths)
        assert method.heatmaps(torch.rand(2, 3, 32, 32)).shape == (2, 4, 16, 16)
        terms = method.terms(batch(side=48))
        assert terms["reconstruction"].isfinite()


def test_validation_repeats_itself() -> None:
    method, images = small(side="either").eval(), batch()
    with torch.no_grad():
        first, second = method.terms(images), method.terms(images)
    assert {name: value.item() for name, value in first.items()} == {n: v.item() for n, v in second.items()}


@pytest.mark.parametrize(
    ("term", "reached"), [("reconstruction", 0.8), ("classification", 0.6), ("viewpoint", 0.7)]
)
def test_some_steps_lower_each_term(term: str, reached: float) -> None:
    torch.manual_seed(1)
    method = small(sharpness=10.0)
    colours = torch.rand(3, 3, 1, 1)[torch.arange(8) % 3]
    blocks = torch.rand(8, 3, 4, 4).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    images = ClassifiedImages(0.5 * colours + 0.5 * blocks, torch.arange(8) % 3)
    optimizer = torch.optim.Adam(method.parameters(), lr=5e-3)
    held = method._chosen(images.image)  # which images are chosen changes as the network learns
    method._chosen = lambda image: held  # type: ignore[method-assign]
    losses: list[float] = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = method.terms(images)[term]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < reached * losses[0]


def test_parts_of_the_source_classify_and_the_first_of_them_alone() -> None:
    method = small()
    logits: list[Tensor] = []
    assert method.classifier is not None
    method.classifier.register_forward_pre_hook(lambda _, inputs: logits.append(inputs[1]))
    method.terms(batch())
    assert logits[0].shape == (8, 2, 16, 16)
    torch.testing.assert_close(logits[0].sum(dim=(2, 3)), torch.ones(8, 2))


def test_the_border_of_the_warp_can_be_left_out() -> None:
    images = batch()
    masked, plain = small(masked_border=True).eval(), small().eval()
    plain.load_state_dict(masked.state_dict())
    splines = MixedSplines(4, 0.0, 0.0, 0.0).draw(8, torch.Generator())
    rebuilt, target = torch.rand(8, 3, 32, 32), images.image.clone()
    inside = masked._reconstruction(rebuilt, target, splines)
    rebuilt[..., :2, :] = 9.0  # at the border only
    torch.testing.assert_close(masked._reconstruction(rebuilt, target, splines), inside)
    assert plain._reconstruction(rebuilt, target, splines) > inside


def test_perceptual_loss_of_photographs_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    method = small(reconstruction="perceptual", perceptual_weights=False)
    seen: list[Tensor] = []
    assert method.perceptual is not None
    monkeypatch.setattr(method.perceptual, "forward", lambda image: seen.append(image) or [image])
    monkeypatch.setattr("lightning_kp.methods.weak_discovery.perceptual_loss", lambda errors: errors.sum())
    target = torch.full((1, 3, 32, 32), 0.5)
    method._reconstruction(target.clone(), target, MixedSplines(2, 0, 0, 0).draw(1, torch.Generator()))
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(
        [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    )


def fit(method: WeakDiscovery, data: CUB, folder: Path) -> dict[str, Any]:
    trainer = L.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, max_epochs=1, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(method, datamodule=data)
    trainer.save_checkpoint(folder / "last.ckpt")
    return dict(trainer.logged_metrics)


def birds(folder: Path, **options: Any) -> CUB:
    return CUB(**{"root": str(folder), "size": 32, "batch_size": 4, "val_fraction": 0.5} | options)


def test_classes_come_from_the_data_and_stay_in_the_checkpoint(tmp_path: Path) -> None:
    write_cub(tmp_path, birds=8)
    method = small(classes=())
    logged = fit(method, birds(tmp_path), tmp_path)
    assert 0 <= logged["val/error"] <= 100
    loaded = WeakDiscovery.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True, map_location="cpu")
    assert loaded.classes == ("001.Black_footed_Albatross", "004.Groove_billed_Ani", "009.Brewer_Blackbird")
    assert loaded.classifier is not None
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    assert "test/error" in trainer.test(loaded, birds(tmp_path), verbose=False)[0]
    with pytest.raises(ConfigurationError, match=r"has the classes 001.*yields 004.*, 009"):
        trainer.test(loaded, birds(tmp_path, classes=[4, 9]), verbose=False)


def test_the_command_resumes_and_tests_with_the_classes_of_the_data(tmp_path: Path) -> None:
    options = [
        "--model=WeakDiscovery", "--model.keypoints=2", "--model.class_keypoints=1", "--model.encoder=tiny",
        "--model.pretrained=false", "--model.reconstruction=structural", "--model.pose_width=8",
        "--model.class_width=4", "--model.decoder_widths=[8,8,8,8,8]", "--data=CUB", "--data.size=32",
        f"--data.root={write_cub(tmp_path / 'cub')}", "--data.batch_size=4", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0",
    ]  # fmt: skip
    run = tmp_path / "run"
    folder = f"--trainer.default_root_dir={run}"
    assert main(["fit", *options, folder, "--trainer.max_epochs=1"]) == 0
    assert main(["fit", *options, folder, "--trainer.max_epochs=2", f"--ckpt_path={run}"]) == 0
    assert main(["test", *options, f"--ckpt_path={run}"]) == 0
    assert "test/error" in json.loads((run / "metrics.json").read_text())
    assert main(["test", *options, "--data.classes=[4,9]", f"--ckpt_path={run}"]) == 2


def test_the_restricted_mode_needs_no_classes_and_trains_no_classifier(tmp_path: Path) -> None:
    write_cub(tmp_path, birds=8)
    method = small(classes=(), weights=WeakDiscoveryWeights(classification=0.0))
    logged = fit(method, birds(tmp_path), tmp_path)
    assert "val/error" not in logged
    assert logged.keys() >= {"val/reconstruction", "val/loss"}
    loaded = WeakDiscovery.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True, map_location="cpu")
    assert loaded.classifier is None  # the default weights would have one


def test_the_released_schedule_belongs_to_the_papers_optimiser() -> None:
    made = small().configure_optimizers()
    group = made["optimizer"].param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-3, 0.9, 1e-4)
    assert (made["lr_scheduler"].step_size, made["lr_scheduler"].gamma) == (50, 0.1)


def test_the_papers_network() -> None:
    """Tables 4.3 to 4.5 at 128 px: heatmaps of 64 px, 256 channels, and C4 of ResNet-50 with one set of maps."""
    with torch.device("meta"):
        method = WeakDiscovery(classes=CLASSES, pretrained=False, perceptual_weights=False)
        assert method.heatmaps(torch.zeros(1, 3, 128, 128)).shape == (1, 15, 64, 64)
    assert method.decoder.get_parameter("blocks.0.0.weight").shape == (1024, 2048 + 15, 3, 3)
    assert method.classifier is not None
    assert method.classifier.output.in_features == 5 * 4 * 256
    assert [block.reduce[0].in_channels for block in method.classifier.blocks] == [256, 512, 1024, 2048]  # type: ignore[union-attr, index]
    assert method.pose_decoder.laterals[0][0].out_channels == 256  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"class_keypoints": 5}, "keypoints is 4 and class_keypoints 5"), ({"keypoints": 1}, "keypoints is 1"),
        ({"wide": 1.5}, r"shares of a batch, got 1\.5"), ({"mirrored": 0.0}, "mirrored must be above 0"),
        ({"side": "up"}, "side must be one of right, left, either"), ({"distance": "l1"}, "distance must be one of"),
        ({"variances": (0.1,)}, "decoder_widths has 5 entries and variances 1"),
        ({"warp_controls": 1}, "at least 2 control points a side"), ({"warp_shift": -0.1}, "shift=-0.1"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        small(**options)
