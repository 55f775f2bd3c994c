"""Layers that turn with the image: equivariance for any weights, the equivalent plain layers, errors."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import rotate_image, rotate_points
from lightning_kp.heatmaps import expectation, spatial_softmax
from lightning_kp.methods.bkind import BKinD, BKinDWeights
from lightning_kp.nn.encoders import build_encoder
from lightning_kp.nn.pose_decoder import GlobalNet
from lightning_kp.nn.turning import TurningBatchNorm2d, TurningConv2d, mean_over_turns

TURNS = (1, 2, 3)


def small() -> BKinD:
    torch.manual_seed(0)
    return BKinD(
        keypoints=5, encoder="turning", pretrained=False, target="absolute", reconstruction="structural",
        pose_width=16, sharpness=5.0, decoder_widths=(16, 8, 8), variances=(0.1, 0.03, 0.005),
        weights=BKinDWeights(rotation=1.0, mean_separation=0.1),
    )  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("training", [True, False])
def test_heatmaps_turn_with_the_image(turn: int, training: bool) -> None:
    method = small().train(training)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(turn))
    with torch.no_grad():
        upright, turned = method.heatmaps(image), method.heatmaps(rotate_image(image, turn))
        points = expectation(upright)
    assert upright.std(dim=(-2, -1)).min() > 1e-5  # flat maps would be equivariant as well
    torch.testing.assert_close(turned, rotate_image(upright, turn), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(expectation(turned), rotate_points(points, turn), rtol=0, atol=1e-4)


def test_a_plain_encoder_does_not_turn() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("fine")
    decoder = GlobalNet(encoder.channels, 5, 16, 5.0)
    image = torch.rand(2, 3, 64, 64)
    upright, turned = (
        spatial_softmax(decoder(encoder(image))),
        spatial_softmax(decoder(encoder(rotate_image(image, 1)))),
    )
    assert (turned - rotate_image(upright, 1)).abs().max() > 0.1 * upright.max()


@pytest.mark.parametrize("turn", TURNS)
def test_fields_change_places(turn: int) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        TurningConv2d(3, 8, 4, 2, 1, lift=True),
        TurningBatchNorm2d(8),
        nn.ReLU(),
        TurningConv2d(8, 12, 3, padding=1),
    )
    image = torch.rand(2, 3, 16, 16)
    upright, turned = network(image), network(rotate_image(image, turn))
    expected = rotate_image(upright, turn).unflatten(1, (3, 4)).roll(turn, dims=2).flatten(1, 2)
    torch.testing.assert_close(turned, expected, rtol=1e-4, atol=1e-5)


def test_the_convolution_is_the_plain_one_with_turned_kernels() -> None:
    convolution = TurningConv2d(3, 4, 3, padding=1, lift=True)
    image = torch.rand(1, 3, 8, 8)
    for turn in range(4):
        kernel = torch.rot90(convolution.weight, turn, dims=(-2, -1))
        expected = F.conv2d(image, kernel, padding=1)
        torch.testing.assert_close(convolution(image)[:, turn : turn + 1], expected)


def test_normalisation_is_per_field() -> None:
    norm = TurningBatchNorm2d(8)
    features = torch.randn(4, 8, 6, 6) * 3 + 2
    normalised: Tensor = norm(features)
    per_field = normalised.unflatten(1, (2, 4)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(per_field.mean(dim=1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(per_field.std(dim=1), torch.ones(2), rtol=0, atol=1e-2)
    assert norm.weight.shape == (2,)


def test_mean_over_turns() -> None:
    features = torch.arange(8.0).view(1, 8, 1, 1)
    assert mean_over_turns(features).flatten().tolist() == [1.5, 5.5]


def test_gradients_reach_every_parameter() -> None:
    method = small()
    image = torch.rand(2, 3, 64, 64)
    (expectation(method.heatmaps(image)) ** 2).sum().backward()
    used = [*method.encoder.parameters(), *method.pose_decoder.parameters()]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in used)


@pytest.mark.parametrize("channels", [6, 2, 0])
def test_channels_that_are_no_fields(channels: int) -> None:
    with pytest.raises(ConfigurationError, match="multiple of 4"):
        TurningConv2d(3, channels, 3, lift=True)
