"""Image classifiers by name (CIFAR residual networks, any of torchvision or timm), and one that looks at parts."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.nn.cifar_resnet import CifarResNet
from lightning_kp.nn.encoders import ImageNetNormalise
from lightning_kp.nn.pooling import EPS, Pooling, replace_pooling
from lightning_kp.nn.weights import (
    Pretrained,
    read_state_dict,
    timm_for,
    torchvision_weights,
    weights_mismatch,
    weights_unavailable,
)

POINT_WIDTH = 256
_CIFAR = re.compile(r"cifar_resnet(\d+)")


class Classifier(nn.Module):
    """Wraps a network that expects ImageNet normalisation: images (B, 3, H, W) in [0, 1] -> logits (B, C)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalise = ImageNetNormalise()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> logits (B, C)."""
        outputs = self.network(self.normalise(image))
        # In training, torchvision's GoogLeNet and Inception also return the logits of auxiliary heads.
        logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits
        return logits


def part_features(heatmaps: Tensor, features: Tensor) -> Tensor:
    """Heatmaps (B, K, h, w) and features (B, C, h, w) -> features (B, K, C) of the parts (000, eq. 4.3).

    The features of part k are summed over the pixels with its heatmap as weights.

    >>> part_features(torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[1.0, 3.0]], [[0.0, 8.0]]]])).tolist()
    [[[2.0, 4.0]]]
    """
    return torch.einsum("bkhw,bchw->bkc", heatmaps, features)


class PartClassifier(nn.Module):
    """Feature pyramid and heatmaps (B, K_w, h, w) of some parts -> logits (B, classes) (000, 4.4, Table 4.5).

    Args:
        channels: Channels of the feature maps, fine to coarse.
        parts: Number of parts K_w.
        classes: Number of classes.
        width: Channels to which each feature map is reduced (Table 4.5: 256).
    """

    def __init__(self, channels: Sequence[int], parts: int, classes: int, width: int = 256) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_PartBlock(inputs, width) for inputs in channels)
        self.output = nn.Linear(parts * width * len(channels), classes)

    def forward(self, pyramid: Sequence[Tensor], heatmaps: Tensor) -> Tensor:
        """Feature maps (B, channels[i], h_i, w_i) and heatmaps (B, K_w, h, w) -> logits (B, classes)."""
        size = (heatmaps.shape[-2], heatmaps.shape[-1])
        # Level by level, which gives the features of their concatenation without making it.
        parts = [
            part_features(heatmaps.to(levelled.dtype), levelled)
            for levelled in (
                block(features, size) for block, features in zip(self.blocks, pyramid, strict=True)
            )
        ]
        logits: Tensor = self.output(torch.cat(parts, dim=2).flatten(1))
        return logits


class _PartBlock(nn.Module):
    """conv_block_w of Figure 4.26: 1x1 and 3x3 convolution, enlargement to ``size``, each normalised and rectified."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.mix = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.scale = nn.BatchNorm2d(width)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        mixed = self.mix(self.reduce(features))
        if mixed.shape[-2:] != size:
            mixed = F.interpolate(mixed, size, mode="bilinear", align_corners=False)
        return F.relu(self.scale(mixed), inplace=True)


class PointClassifier(nn.Module):
    """Two hidden layers on standardised features: features (B, F) -> logits (B, C).

    Mean and deviation of each feature are those of the training batches, as in batch normalisation.  Points (B, K, 2)
    are flattened to F = 2 K features.

    Args:
        features: Number of features F.
        classes: Number of classes C.
        width: Units of each hidden layer (ours; 003, 4.6.3.3, says "a simple neural network").
    """

    def __init__(self, features: int, classes: int, width: int = POINT_WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(features, affine=False), nn.Linear(features, width), nn.ReLU(inplace=True),
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, classes),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F), or points (B, K, 2) -> logits (B, C)."""
        logits: Tensor = self.layers(features)
        return logits


def build_classifier(
    name: str,
    classes: int,
    pretrained: Pretrained = False,
    pooling: Pooling = "average",
    eps: float = EPS,
) -> Classifier:
    """Build a classifier: images (B, 3, H, W) in [0, 1] -> logits (B, C).

    Args:
        name: ``cifar_resnet110`` (or any 6n + 2 layers), a torchvision model, or ``timm/NAME``.
        classes: Number of classes C.
        pretrained: False, True (ImageNet weights), or the path of a state dict. A last layer that was trained
            for another number of classes is not loaded.
        pooling: Global pooling before the last layer; see :mod:`lightning_kp.nn.pooling`.
        eps: That of leaky max pooling.

    Raises:
        ConfigurationError: The name is unknown, there are no ImageNet weights for it, or its pooling is fixed.
        CheckpointError: The weights cannot be downloaded or read, or do not fit the network.
    """
    if depth := _CIFAR.fullmatch(name):
        network: nn.Module = CifarResNet(int(depth[1]), classes)
        if pretrained is True:
            raise ConfigurationError(
                f"There are no ImageNet weights for '{name}'.", remedy="Use --model.pretrained=false."
            )
    elif name.startswith("timm/"):
        network = _timm(name.removeprefix("timm/"), classes, pretrained is True)
    else:
        network = _torchvision(name, classes)
    if pretrained is True and not name.startswith("timm/"):
        _load(network, classes, _download(name), name, pretrained)
    elif isinstance(pretrained, str):
        _load(network, classes, read_state_dict(pretrained), name, pretrained)
    replace_pooling(network, name, pooling, eps)
    return Classifier(network)


def _torchvision(name: str, classes: int) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = get_close_matches(name, ["cifar_resnet110", *known], n=3)
        raise ConfigurationError(
            f"There is no classifier '{name}'.",
            remedy=f"Did you mean {', '.join(near)}?" if near else "Try cifar_resnet110 or resnet50.",
        )
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes)
    return network


def _timm(name: str, classes: int, pretrained: bool) -> nn.Module:
    timm = timm_for(name, "classifier")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes)
    except Exception as error:
        raise weights_unavailable(f"timm/{name}", error) from error
    return network


def _download(name: str) -> dict[str, Tensor]:
    try:
        return torchvision_weights(name)
    except Exception as error:
        raise weights_unavailable(f"torchvision's {name}", error) from error


def _load(network: nn.Module, classes: int, state: dict[str, Tensor], name: str, given: Pretrained) -> None:
    """Load a state dict, except for output layers that were trained for another number of classes."""
    own = network.state_dict()
    needed = {
        key for key in own if not key.endswith("num_batches_tracked")
    }  # older files lack these counters
    if missing := needed - state.keys():
        raise weights_mismatch(name, given, KeyError(f"it lacks {min(missing)}"))
    heads = {key for key in needed if _is_head(own[key], state[key], classes)}
    kept = {key: value for key, value in state.items() if key not in heads}
    try:
        network.load_state_dict(kept | {key: own[key] for key in heads})
    except RuntimeError as error:
        raise weights_mismatch(name, given, error) from error


def _is_head(own: Tensor, other: Tensor, classes: int) -> bool:
    """Whether a parameter belongs to the output layer and differs only in the number of classes."""
    if not own.ndim or not other.ndim or own.shape[1:] != other.shape[1:]:
        return False
    return len(own) == classes != len(other)
