from pathlib import Path

import pytest
import torch
from golden_values import Goldens
from torch import Tensor

from lightning_kp.errors import CheckpointError, ConfigurationError
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.nn.cifar_resnet import CifarResNet
from lightning_kp.nn.classifiers import PartClassifier, build_classifier, part_features

SMALL = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def layers(network: torch.nn.Module) -> int:
    return sum(isinstance(each, (torch.nn.Conv2d, torch.nn.Linear)) for each in network.modules())


@pytest.mark.parametrize(("depth", "parameters"), [(8, 75_290), (20, 269_722), (110, 1_727_962)])
def test_depth_and_size_are_those_of_he_et_al(depth: int, parameters: int) -> None:
    """Table 6 of He et al. (2016): 0.27 million parameters at 20 layers, 1.7 million at 110."""
    network = CifarResNet(depth, 10)
    assert layers(network) == depth
    # By hand: stem 3x16x9, two norms of 16; blocks of two convolutions; the linear layer.
    blocks = (depth - 2) // 6
    inner = sum(2 * blocks * (9 * w * w + 2 * w) for w in (16, 32, 64)) - 9 * (16 * 32 + 32 * 64)
    assert sum(each.numel() for each in network.parameters()) == 3 * 16 * 9 + 32 + inner + 650 == parameters


def test_a_block_that_learnt_nothing_hands_on_every_second_pixel_and_zeros() -> None:
    """Option A: the channels double, with eight channels of zeros on either side of the sixteen."""
    block = CifarResNet(8, 10).blocks[1]
    for each in block.body.modules():  # type: ignore[union-attr]
        if isinstance(each, torch.nn.Conv2d):
            torch.nn.init.zeros_(each.weight)
    features = torch.rand(1, 16, 6, 6)
    found = block(features)
    assert found.shape == (1, 32, 3, 3)
    torch.testing.assert_close(found[:, 8:24], features[..., ::2, ::2])
    assert not found[:, :8].any()
    assert not found[:, 24:].any()


@pytest.mark.parametrize("size", [32, 48])
def test_any_size_and_number_of_classes(size: int) -> None:
    assert CifarResNet(14, 7)(torch.rand(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize(("depth", "near"), [(2, 8), (9, 8), (48, 50)])
def test_other_depths_are_refused(depth: int, near: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"6n \+ 2 layers, got {depth}\. Use cifar_resnet{near}\."):
        build_classifier(f"cifar_resnet{depth}", 10)


@pytest.mark.parametrize("name", ["cifar_resnet8", "squeezenet1_1", "timm/resnet10t"])
def test_any_network_has_the_classes(name: str) -> None:
    network = build_classifier(name, 7)
    for training in (True, False):
        assert network.train(training)(SMALL).shape == (2, 7)


@pytest.mark.parametrize("name", ["cifar_resnet8", "squeezenet1_1"])
def test_a_state_dict_of_another_number_of_classes(name: str, tmp_path: Path) -> None:
    other = build_classifier(name, 9).network.state_dict()
    torch.save(other, tmp_path / "weights.pt")
    found: dict[str, Tensor] = build_classifier(name, 7, str(tmp_path / "weights.pt")).network.state_dict()
    shared = {key for key, value in found.items() if value.shape == other[key].shape}
    assert {key.split(".")[0] for key in found.keys() - shared} == {
        "head" if "cifar" in name else "classifier"
    }
    assert all(torch.equal(found[key], other[key]) for key in shared)
    again = build_classifier(name, 9, str(tmp_path / "weights.pt")).network.state_dict()
    assert all(torch.equal(again[key], other[key]) for key in other)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(CifarResNet(14, 10).state_dict(), path)
    with pytest.raises(CheckpointError, match="do not fit cifar_resnet8"):
        build_classifier("cifar_resnet8", 10, str(path))
    torch.save({"head.weight": torch.zeros(10, 64)}, path)
    with pytest.raises(CheckpointError, match=r"do not fit cifar_resnet8: .*it lacks blocks"):
        build_classifier("cifar_resnet8", 10, str(path))
    with pytest.raises(CheckpointError, match="no weight file"):
        build_classifier("cifar_resnet8", 10, str(tmp_path / "none.pt"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "no classifier 'resnet5'. Did you mean .*resnet50"),
        ("timm/resnet10", "no classifier 'timm/resnet10'. Did you mean .*timm/resnet10t"),
    ],
)
def test_unknown_networks_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_classifier(name, 10)


def test_there_are_no_imagenet_weights_for_small_images() -> None:
    with pytest.raises(ConfigurationError, match=r"no ImageNet weights for 'cifar_resnet8'"):
        build_classifier("cifar_resnet8", 10, pretrained=True)


def test_features_of_parts_have_the_golden_values(goldens: Goldens) -> None:
    values = {name: torch.from_numpy(value) for name, value in goldens("stills/viewpoint_and_parts").items()
              if value.dtype.kind == "f"}  # fmt: skip
    heatmaps = spatial_softmax(values["part_logits"])
    torch.testing.assert_close(heatmaps, values["part_heatmaps"])
    found = part_features(heatmaps, values["base_features"])
    torch.testing.assert_close(found, values["part_features"], rtol=1e-9, atol=1e-12)


def test_a_classifier_of_parts_sees_the_joined_features_of_all_levels() -> None:
    """Level by level it gives what equation 4.3 gives for the concatenation that Table 4.5 speaks of."""
    classifier = PartClassifier((4, 6), parts=3, classes=5, width=7).eval()
    pyramid = [torch.rand(2, 4, 8, 8), torch.rand(2, 6, 4, 4)]
    heatmaps = spatial_softmax(torch.randn(2, 3, 16, 16))
    joined = torch.cat(
        [block(each, (16, 16)) for block, each in zip(classifier.blocks, pyramid, strict=True)], dim=1
    )
    assert joined.shape == (2, 14, 16, 16)
    expected = classifier.output(part_features(heatmaps, joined).flatten(1))
    torch.testing.assert_close(classifier(pyramid, heatmaps), expected)
