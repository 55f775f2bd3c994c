"""Image classifiers by name: CIFAR residual networks, and any classifier of torchvision or timm."""

import re
from difflib import get_close_matches

import torchvision
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.nn.cifar_resnet import CifarResNet
from lightning_kp.nn.encoders import ImageNetNormalise
from lightning_kp.nn.weights import (
    Pretrained,
    read_state_dict,
    timm_for,
    torchvision_weights,
    weights_mismatch,
    weights_unavailable,
)

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


def build_classifier(name: str, classes: int, pretrained: Pretrained = False) -> Classifier:
    """Build a classifier: images (B, 3, H, W) in [0, 1] -> logits (B, C).

    Args:
        name: ``cifar_resnet110`` (or any 6n + 2 layers), a torchvision model, or ``timm/NAME``.
        classes: Number of classes C.
        pretrained: False, True (ImageNet weights), or the path of a state dict. A last layer that was trained
            for another number of classes is not loaded.

    Raises:
        ConfigurationError: The name is unknown, or there are no ImageNet weights for it.
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
