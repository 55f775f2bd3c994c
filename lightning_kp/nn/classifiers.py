"""Classifiers of images by name: residual networks for CIFAR, any of torchvision's, or any of timm's."""

import re
from difflib import get_close_matches

import torchvision
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.nn.cifar_resnet import CifarResNet
from lightning_kp.nn.encoders import ImageNetNormalise
from lightning_kp.nn.weights import (
    Pretrained,
    does_not_fit,
    no_weights,
    read_state_dict,
    timm_with,
    torchvision_weights,
)

_CIFAR = re.compile(r"cifar_resnet(\d+)")


class Classifier(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> logits (B, C) of a network that expects ImageNet's normalisation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalise = ImageNetNormalise()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        logits = self.network(self.normalise(image))
        # torchvision's GoogLeNet and Inception add the logits of helpers in training.
        found: Tensor = logits if isinstance(logits, Tensor) else logits.logits
        return found


def build_classifier(name: str, classes: int, pretrained: Pretrained = False) -> Classifier:
    """A classifier of ``classes`` classes: ``cifar_resnet110``, a torchvision model, or ``timm/NAME``.

    ``pretrained`` is False, True (ImageNet weights) or the path of a state dict; a last layer for another
    number of classes is left out of it.  Raises ConfigurationError for an unknown name and CheckpointError
    where weights cannot be had.
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
        _load(network, classes, _fetched(name), name, pretrained)
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
    timm = timm_with(name, "classifier")
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes)
    except Exception as error:
        raise no_weights(f"timm/{name}", error) from error
    return network


def _fetched(name: str) -> dict[str, Tensor]:
    try:
        return torchvision_weights(name)
    except Exception as error:
        raise no_weights(f"torchvision's {name}", error) from error


def _load(network: nn.Module, classes: int, state: dict[str, Tensor], name: str, given: Pretrained) -> None:
    """Everything but the layers whose outputs are the classes, where the state has another number of them."""
    own = network.state_dict()
    needed = {key for key in own if not key.endswith("num_batches_tracked")}  # older files lack those
    if missing := needed - state.keys():
        raise does_not_fit(name, given, KeyError(f"it lacks {min(missing)}"))
    heads = {key for key in needed if _is_head(own[key], state[key], classes)}
    kept = {key: value for key, value in state.items() if key not in heads}
    try:
        network.load_state_dict(kept | {key: own[key] for key in heads})
    except RuntimeError as error:
        raise does_not_fit(name, given, error) from error


def _is_head(own: Tensor, other: Tensor, classes: int) -> bool:
    """Whether two layers differ in the number of classes alone."""
    if not own.ndim or not other.ndim or own.shape[1:] != other.shape[1:]:
        return False
    return len(own) == classes != len(other)
