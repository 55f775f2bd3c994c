"""Encoders: shapes and strides of each family, weights from files, failed downloads, unknown names."""

import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_kp.errors import CheckpointError, ConfigurationError
from lightning_kp.nn import encoders
from lightning_kp.nn.encoders import IMAGENET_MEAN, IMAGENET_STD, ImageNetNormalise, build_encoder

WIDTHS = {
    "tiny": (32, 64, 128, 256),
    "small": (64, 128, 256, 512),
    "resnet18": (64, 128, 256, 512),
    "mobilenet_v3_small": (16, 24, 48, 576),
    "regnet_y_400mf": (48, 104, 208, 440),
    "swin_t": (96, 192, 384, 768),  # its stages pass on channels last
}


@pytest.mark.parametrize("name", WIDTHS)
def test_pyramid(name: str) -> None:
    encoder = build_encoder(name)
    assert encoder.channels == WIDTHS[name]
    assert encoder.strides == (4, 8, 16, 32)
    pyramid = encoder(torch.zeros(2, 3, 96, 64))
    assert [tuple(features.shape) for features in pyramid] == [
        (2, channels, 96 // stride, 64 // stride)
        for channels, stride in zip(WIDTHS[name], (4, 8, 16, 32), strict=True)
    ]
    assert encoder.training  # measuring the shapes has restored the mode


def test_torchvision_features_are_those_of_the_library() -> None:
    torch.manual_seed(1)
    model = torchvision.models.resnet18(weights=None).eval()
    torch.manual_seed(1)
    encoder = build_encoder("resnet18").eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        stem = model.maxpool(model.relu(model.bn1(model.conv1(image))))
        expected = model.layer2(model.layer1(stem))
        found = encoder(image)[1]
    torch.testing.assert_close(found, expected)


def test_every_parameter_is_used() -> None:
    """A stage after the last map would have parameters without gradient, and plain DDP would stop."""
    for name in ("tiny", "mobilenet_v3_small"):
        encoder = build_encoder(name)
        torch.stack([features.mean() for features in encoder(torch.rand(2, 3, 64, 64))]).sum().backward()
        assert all(parameter.grad is not None for parameter in encoder.parameters()), name


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_networks_without_such_a_pyramid_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"'{name}' has no feature maps.*Use a ResNet"):
        build_encoder(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet5", "resnet50"), ("smal", "small"), ("mobilenet_v3_smal", "mobilenet_v3_small")],
)
def test_a_misspelt_name_gets_the_right_one(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no encoder '{name}'.*Did you mean .*{hint}"):
        build_encoder(name)


def test_a_name_like_no_other() -> None:
    with pytest.raises(ConfigurationError, match="Try small, tiny, resnet18"):
        build_encoder("xqzw")


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v3_small", "timm/resnet10t"])
def test_weights_from_a_file(name: str, tmp_path: Path) -> None:
    if name.startswith("timm/"):
        timm = pytest.importorskip("timm")
        source = timm.create_model("resnet10t")
    else:
        source = (
            build_encoder(name) if name == "tiny" else torchvision.models.mobilenet_v3_small(weights=None)
        )
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    state = build_encoder(name, str(path)).state_dict()
    assert all(
        any(torch.equal(value, other) for other in source.state_dict().values()) for value in state.values()
    )


@pytest.mark.parametrize("name", ["tiny", "mobilenet_v3_small", "timm/resnet10t"])
def test_weights_of_another_network(name: str, tmp_path: Path) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    path = tmp_path / "weights.pt"
    torch.save(build_encoder("resnet18").state_dict(), path)
    with pytest.raises(CheckpointError, match=r"do not fit .*(tiny|net).*Give a state dict of"):
        build_encoder(name, str(path))


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weight file.*--model\.pretrained"):
        build_encoder("resnet18", str(tmp_path / "missing.pt"))
    text, module, numbers = (tmp_path / name for name in ("text.pt", "module.pt", "numbers.pt"))
    text.write_text("not a checkpoint")
    torch.save(nn.Linear(2, 2), module)  # a pickled module could execute code
    torch.save([1, 2], numbers)
    for path in (text, module, numbers):
        with pytest.raises(CheckpointError, match=r"not a plain state dict.*torch.save"):
            build_encoder("tiny", str(path))


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet10t"])
def test_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks the download, the error explains what to type."""

    def unreachable(*_: object, **__: object) -> dict[str, Tensor]:
        raise OSError("Name or service not known")

    if name.startswith("timm/"):
        monkeypatch.setattr(pytest.importorskip("timm"), "create_model", unreachable)
    else:
        monkeypatch.setattr(encoders, "torchvision_weights", unreachable)
    with pytest.raises(CheckpointError) as caught:
        build_encoder(name, True)
    message = str(caught.value)
    assert name in message
    assert "could not be downloaded (OSError)" in message
    assert "--model.pretrained=PATH" in message
    assert "--model.pretrained=false" in message
    assert "\n" not in message


def test_small_encoders_have_no_imagenet_weights() -> None:
    with pytest.raises(ConfigurationError, match=r"no ImageNet weights.*--model\.pretrained=false"):
        build_encoder("tiny", True)


def test_timm_pyramid() -> None:
    pytest.importorskip("timm")
    encoder = build_encoder("timm/resnet10t")
    assert encoder.channels == (64, 128, 256, 512)
    assert [features.shape[-1] for features in encoder(torch.zeros(1, 3, 64, 64))] == [16, 8, 4, 2]


def test_timm_names_and_shapes_that_do_not_do() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ConfigurationError, match=r"Did you mean .*timm/resnet10t"):
        build_encoder("timm/resnet10")
    with pytest.raises(ConfigurationError, match=r"strides.*timm/resnet10t"):
        build_encoder("timm/vit_tiny_patch16_224")


def test_timm_networks_for_one_size_of_image() -> None:
    """They refuse other sizes with a bare assertion."""
    pytest.importorskip("timm")
    with pytest.raises(
        ConfigurationError, match=r"swin_tiny\S+ provides no.*\(224\)\)\. Use a convolutional"
    ):
        build_encoder("timm/swin_tiny_patch4_window7_224")


def test_timm_maps_in_another_layout() -> None:
    """Confusing heights with channels would go unnoticed until the decoder, or forever."""
    pytest.importorskip("timm")
    with pytest.raises(
        ConfigurationError, match=r"mambaout_femto provides no.*\(16, 48\).*Use a convolutional"
    ):
        build_encoder("timm/mambaout_femto")


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigurationError, match=r"needs the timm package.*pip install"):
        build_encoder("timm/resnet10t")


def test_normalisation_by_hand() -> None:
    normalise = ImageNetNormalise()
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(mean), torch.zeros(1, 3, 1, 1))
    white = normalise(torch.ones(1, 3, 1, 1)).flatten().tolist()
    assert white == pytest.approx([(1 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)])
    assert not normalise.state_dict()  # constants do not belong in a checkpoint
