"""Perceptual features: their maps, frozen weights, and weights that cannot be downloaded.

Their values are compared with the reference in tests/losses/test_reconstruction.py.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg

from lightning_kp.errors import CheckpointError
from lightning_kp.nn import perceptual
from lightning_kp.nn.perceptual import VGG19_TAPS, PerceptualFeatures

NARROW: list[str | int] = [c if isinstance(c, str) else c // 64 for c in vgg.cfgs["E"]]


def narrow() -> nn.Sequential:
    layers: nn.Sequential = vgg.make_layers(NARROW)
    return layers


def test_the_image_and_five_maps() -> None:
    image = torch.rand(2, 3, 32, 32)
    found = PerceptualFeatures(features=narrow())(image)
    assert torch.equal(found[0], image)
    assert [tuple(features.shape[1:]) for features in found[1:]] == [
        (1, 32, 32), (2, 16, 16), (4, 8, 8), (8, 4, 4), (8, 2, 2),
    ]  # fmt: skip
    assert all((features >= 0).all() for features in found)  # each tap is a relu


def test_nothing_runs_after_the_last_tap() -> None:
    assert len(PerceptualFeatures(features=narrow()).features) == VGG19_TAPS[-1] + 1


def test_frozen_and_always_in_evaluation_mode() -> None:
    owner = nn.Module()
    owner.perceptual = PerceptualFeatures(features=narrow())
    owner.train()
    assert not any(module.training for module in owner.perceptual.modules())
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    torch.stack([features.sum() for features in owner.perceptual(image)]).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in owner.perceptual.parameters())


def test_taps_are_not_overwritten_by_later_layers() -> None:
    features = PerceptualFeatures(features=narrow())
    image = torch.rand(1, 3, 32, 32)
    held = features(image)
    alone = image
    for position, layer in enumerate(features.features):
        alone = layer(alone)
        if position in VGG19_TAPS:
            torch.testing.assert_close(held[1 + VGG19_TAPS.index(position)], alone)


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_: str) -> dict[str, Tensor]:
        raise TimeoutError

    monkeypatch.setattr(perceptual, "torchvision_weights", unreachable)
    with pytest.raises(CheckpointError) as caught:
        PerceptualFeatures(True)
    for part in ("vgg19", "--model.perceptual_weights=PATH", "--model.reconstruction=structural"):
        assert part in str(caught.value)


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_weights_from_a_file(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both a state dict of the whole network and one of its convolutions alone are accepted."""
    monkeypatch.setitem(vgg.cfgs, "E", NARROW)
    source, path = narrow(), tmp_path / "vgg.pt"
    state = {prefix + name: value for name, value in source.state_dict().items()}
    if prefix:
        state["classifier.0.weight"] = torch.zeros(3)
    torch.save(state, path)
    found = PerceptualFeatures(str(path)).features.state_dict()
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in found.items())


def test_weights_of_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vgg.cfgs, "E", NARROW)
    path = tmp_path / "linear.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(CheckpointError, match="do not fit torchvision's vgg19"):
        PerceptualFeatures(str(path))
    with pytest.raises(CheckpointError, match=r"no weight file.*--model\.perceptual_weights"):
        PerceptualFeatures(str(tmp_path / "nowhere.pt"))


def test_random_filters_keep_the_signal() -> None:
    """Without weights the deepest map still differs from image to image."""
    features = PerceptualFeatures(False)
    deep = features(torch.rand(2, 3, 32, 32))[-1]
    assert 0.01 < (deep[0] - deep[1]).abs().mean() / deep.abs().mean() < 10
