"""Pre-trained weights: ImageNet weights from the library that owns them, or a local state dict."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torchvision
from torch import Tensor, nn

from lightning_kp.errors import CheckpointError, ConfigurationError

Pretrained = bool | str


class StateDictSource(Protocol):
    """Something that fetches a state dict, or raises."""

    def __call__(self) -> dict[str, Tensor]: ...


def load_pretrained(
    model: nn.Module,
    name: str,
    pretrained: Pretrained,
    fetch: StateDictSource,
    *,
    option: str = "pretrained",
    part: str = "",
) -> None:
    """Fill ``model`` with ImageNet weights (True), a local state dict (a path) or leave it (False).

    ``option`` is the name of the setting that an error tells the user to change.  ``part`` is the
    prefix under which the weights of ``model`` stand in a state dict of the whole network.
    """
    if pretrained is False:
        return
    if pretrained is True:
        try:
            state = fetch()
        except Exception as error:
            raise no_weights(name, error, option) from error
    else:
        state = read_state_dict(str(pretrained), option)
    ours = {key.removeprefix(part): value for key, value in state.items() if key.startswith(part)}
    try:
        model.load_state_dict(ours or state)
    except RuntimeError as error:
        raise does_not_fit(name, pretrained, error) from error


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of a torchvision model, from its cache or by download."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return cast(dict[str, Tensor], weights.get_state_dict(progress=True, check_hash=True))


def read_state_dict(path: str, option: str = "pretrained") -> dict[str, Tensor]:
    """The tensors by name in a file; nothing in it is executed."""
    if not Path(path).is_file():
        raise CheckpointError(f"There is no weight file '{path}'.", remedy=f"Check --model.{option}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _no_state_dict(path, type(error).__name__) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _no_state_dict(path, f"it holds a {type(state).__name__}")
    return cast(dict[str, Tensor], state)


def _no_state_dict(path: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"'{path}' is not a plain state dict ({reason}).",
        remedy="Save one with torch.save(model.state_dict(), PATH).",
    )


def does_not_fit(name: str, pretrained: Pretrained, error: Exception) -> CheckpointError:
    """The error for weights of another network."""
    return CheckpointError(
        f"The weights '{pretrained}' do not fit {name}: {str(error).splitlines()[-1].strip()}",
        remedy=f"Give a state dict of {name}.",
    )


def no_weights(name: str, error: Exception, option: str = "pretrained") -> CheckpointError:
    """The error for ImageNet weights that cannot be fetched, saying what to do offline."""
    scratch = "reconstruction=structural" if option == "perceptual_weights" else "pretrained=false"
    return CheckpointError(
        f"The ImageNet weights of {name} could not be downloaded ({type(error).__name__}).",
        remedy=f"Offline: download them elsewhere and give --model.{option}=PATH, or train from scratch "
        f"with --model.{scratch} (experiments/bkind_openfield.yaml has settings that do).",
    )


def timm_with(name: str, role: str) -> Any:
    """The timm package, which knows a network of that ``name``; ``role`` is what the user calls it.

    Raises ConfigurationError where the package or the network is not there.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigurationError(
            f"The {role} 'timm/{name}' needs the timm package.", remedy="pip install 'lightning-kp[timm]'"
        ) from error
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        hint = f"Did you mean {', '.join(f'timm/{other}' for other in near)}?"
        raise ConfigurationError(
            f"There is no {role} 'timm/{name}'.",
            remedy=hint if near else "Look names up with timm.list_models().",
        )
    return timm
