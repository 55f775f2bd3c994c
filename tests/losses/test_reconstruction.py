"""Reconstruction losses: total loss and gradients of the reference with a narrow VGG, numbers by hand, laws."""

import pytest
import torch
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import vgg

from lightning_kp.heatmaps import reference_amplitude
from lightning_kp.images.differences import ssim_difference
from lightning_kp.losses.reconstruction import (
    REFERENCE_SCALES,
    explained_error,
    feature_errors,
    perceptual_loss,
    structural_loss,
)
from lightning_kp.losses.rotation import rotation_loss
from lightning_kp.losses.separation import separation_loss
from lightning_kp.nn.encoders import IMAGENET_MEAN, IMAGENET_STD
from lightning_kp.nn.perceptual import VGG19_TAPS, PerceptualFeatures

POINT_SETS = ("tr", "u", "r90", "r180", "rm90")  # later frame, earlier frame, the later frame turned
TURNS = {"r90": 1, "r180": 2, "rm90": 3}
Values = dict[str, Tensor]


@pytest.fixture(scope="module")
def golden(goldens: Goldens) -> Values:
    return {name: torch.from_numpy(value) for name, value in goldens("total_loss_narrow_vgg").items()}


@pytest.fixture(scope="module")
def features(golden: Values) -> PerceptualFeatures:
    """VGG-19 with 4, 6, 8, 8, 8 channels and the random weights of the reference."""
    widths = {64: 4, 128: 6, 256: 8, 512: 8}
    layers: nn.Sequential = vgg.make_layers([c if isinstance(c, str) else widths[c] for c in vgg.cfgs["E"]])
    state = {
        name.removeprefix("vgg_").replace("_", "."): value
        for name, value in golden.items()
        if name.startswith("vgg_")
    }
    layers.load_state_dict(state)
    return PerceptualFeatures(features=layers)


@pytest.fixture(scope="module")
def target(golden: Values) -> Tensor:
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    frame, future = (golden[name] * std + mean for name in ("inputs", "tr_inputs"))
    return ssim_difference(frame, future, luminance=False, blur_sigma=1.0).expand(-1, 3, -1, -1)


def reconstruction(golden: Values, features: PerceptualFeatures, target: Tensor, recon: Tensor) -> Tensor:
    errors = feature_errors(features(recon), features(target))
    return perceptual_loss(errors, golden["perc_weight"].tolist(), saturate=True)


def point_terms(points: Values) -> Tensor:
    """Rotation with weight 1 and separation with weight 0.05 per set, on the reference's grid (size 32)."""
    shrink = 31 / 32
    rotation = torch.stack([
        rotation_loss(
            shrink * points["tr"], shrink * points[name], turns, (32, 32),
            variance=shrink**2 * 0.001, amplitude=reference_amplitude(0.001),
        )
        for name, turns in TURNS.items()
    ]).mean()  # fmt: skip
    sets = [points[name] for name in ("tr", *TURNS)]
    separation = 0.05 * torch.stack([separation_loss(each) for each in sets]).sum()
    return rotation + separation


def test_target_and_its_features(golden: Values, features: PerceptualFeatures, target: Tensor) -> None:
    torch.testing.assert_close(target[:, :1], golden["target"], rtol=1e-4, atol=2e-4)
    image, *maps = features(golden["target"].expand(-1, 3, -1, -1))
    torch.testing.assert_close(image[:, :1], golden["target"])
    assert len(maps) == len(VGG19_TAPS)
    for position, found in enumerate(maps):
        torch.testing.assert_close(found, golden[f"feat_target_{position}"], rtol=1e-4, atol=1e-5)


def test_errors_and_terms_per_level(golden: Values, features: PerceptualFeatures) -> None:
    expected = features(golden["target"].expand(-1, 3, -1, -1))
    errors = feature_errors(features(golden["recon"]), expected)
    torch.testing.assert_close(errors, golden["mse_per_layer"], rtol=1e-4, atol=1e-6)
    for position, term in enumerate(golden["term_per_layer"]):
        one = perceptual_loss(errors[position : position + 1], [REFERENCE_SCALES[position]], saturate=True)
        torch.testing.assert_close(one, term, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.tensor(REFERENCE_SCALES), golden["perc_weight"])


@pytest.mark.parametrize("epoch", [0, 4])
def test_total_loss_and_its_gradients(
    golden: Values, features: PerceptualFeatures, target: Tensor, epoch: int
) -> None:
    recon = golden["recon"].clone().requires_grad_()
    points = {
        name: torch.stack((golden[f"{name}_x"], golden[f"{name}_y"]), dim=-1).requires_grad_()
        for name in POINT_SETS
    }
    loss = reconstruction(golden, features, target, recon)
    if epoch == 4:  # the curriculum's first epoch with all terms
        loss = loss + point_terms(points)
    torch.testing.assert_close(loss.detach(), golden[f"loss_epoch{epoch}"], rtol=1e-4, atol=1e-6)
    loss.backward()
    expected = golden[f"grad_recon_epoch{epoch}"]
    assert recon.grad is not None
    torch.testing.assert_close(recon.grad, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    for name in POINT_SETS:
        found = points[name].grad if points[name].grad is not None else torch.zeros_like(points[name])
        expected = torch.stack([golden[f"grad_{name}_{axis}_epoch{epoch}"] for axis in "xy"], dim=-1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_feature_errors_by_hand() -> None:
    prediction = [torch.tensor([1.0, 2.0]), torch.tensor([0.0])]
    target = [torch.tensor([1.0, 4.0]), torch.tensor([3.0])]
    assert feature_errors(prediction, target).tolist() == [2.0, 9.0]


def test_feature_errors_are_taken_in_32_bits() -> None:
    """300^2 does not fit into float16, and bfloat16 has two decimal digits."""
    with torch.autocast("cpu", torch.bfloat16):
        errors = feature_errors([torch.full((8,), 300.0, dtype=torch.bfloat16)], [torch.zeros(8)])
    assert errors.dtype == torch.float32
    assert errors.item() == 300.0**2


def test_perceptual_loss_by_hand() -> None:
    errors = torch.tensor([2.0, 3.0])
    assert perceptual_loss(errors, [4.0, 1.0]).item() == pytest.approx(2 / 4 + 3 / 1)
    saturated = 2 / (0.99 * 4 + 0.02) + 3 / (0.99 + 0.03)
    assert perceptual_loss(errors, [4.0, 1.0], saturate=True).item() == pytest.approx(saturated)


@given(st.lists(st.floats(0, 1e12), min_size=6, max_size=6))
def test_saturated_terms_stay_below_a_hundred(errors: list[float]) -> None:
    loss = perceptual_loss(torch.tensor(errors, dtype=torch.float64), saturate=True)
    assert 0 <= loss < 6 * 100


def test_saturation_keeps_its_gradient() -> None:
    """d/dm m / (0.99 w + 0.01 m) = 0.99 w / (0.99 w + 0.01 m)^2, as in the reference."""
    error = torch.tensor([50.0], dtype=torch.float64, requires_grad=True)
    perceptual_loss(error, [2.0], saturate=True).backward()
    assert error.grad is not None
    assert error.grad.item() == pytest.approx(0.99 * 2 / (0.99 * 2 + 0.5) ** 2)


@given(st.integers(0, 1000), st.floats(0.05, 20))
def test_explained_error_has_no_unit(seed: int, scale: float) -> None:
    """Doubling prediction and target changes nothing; the mean of the target gives 1."""
    prediction, target = torch.rand(
        2, 400, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    error = explained_error(prediction, target)
    torch.testing.assert_close(explained_error(scale * prediction, scale * target), error)
    mean = target.mean().expand_as(target)
    assert explained_error(mean, target).item() == pytest.approx(1, abs=0.01)
    assert explained_error(target, target).item() == 0


def test_explained_error_of_a_black_target_is_finite() -> None:
    assert explained_error(torch.full((10,), 0.1), torch.zeros(10)).isfinite()


def test_structural_loss_by_hand() -> None:
    """An identical image gives 0; a flat grey one explains nothing and has no structure."""
    target = torch.rand(2, 3, 16, 16)
    assert structural_loss(target, target).item() == pytest.approx(0, abs=1e-6)
    grey = torch.full_like(target, float(target.mean()))
    assert structural_loss(grey, target).item() == pytest.approx(1 + 0.2, abs=0.02)
    assert structural_loss(0.9 * target + 0.1 * grey, target) < structural_loss(0.5 * (target + grey), target)


def test_gradients_are_those_of_the_formula() -> None:
    prediction = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: explained_error(p, target), (prediction,))
    assert torch.autograd.gradcheck(
        lambda p: perceptual_loss(feature_errors([p], [target]), [0.3], saturate=True), (prediction,)
    )


def test_lists_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        feature_errors([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])
