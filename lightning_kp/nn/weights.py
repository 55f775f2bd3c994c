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
    """A function that fetches a state dict or raises an error."""

    def __call__(self) -> dict[str, Tensor]:
        """Parameters by name."""
        ...


def load_pretrained(
    model: nn.Module,
    name: str,
    pretrained: Pretrained,
    fetch: StateDictSource,
    *,
    option: str = "pretrained",
    part: str = "",
) -> None:
    """Load weights into ``model``.

    Args:
        model: The network that gets the weights.
        name: What errors call the network.
        pretrained: True (ImageNet weights), the path of a state dict, or False (leave the model as it is).
        fetch: Fetches the ImageNet weights.
        option: Name of the setting that an error tells the user to change.
        part: Prefix of the model's parameters in a state dict of the whole network.

    Raises:
        CheckpointError: The weights cannot be downloaded or read, or do not fit the model.
    """
    if pretrained is False:
        return
    if pretrained is True:
        try:
            state = fetch()
        except Exception as error:
            raise weights_unavailable(name, error, option) from error
    else:
        state = read_state_dict(str(pretrained), option)
    ours = {key.removeprefix(part): value for key, value in state.items() if key.startswith(part)}
    try:
        model.load_state_dict(ours or state)
    except RuntimeError as error:
        raise weights_mismatch(name, pretrained, error) from error


def draw_convolutions(*modules: nn.Module, std: float = 0.01) -> None:
    """Draw the weights of all plain convolutions from N(0, std), as the reference code of B-KinD for its decoders."""
    for module in (each for parent in modules for each in parent.modules() if isinstance(each, nn.Conv2d)):
        nn.init.normal_(module.weight, std=std)


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of a torchvision model, from its cache or by download."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return cast(dict[str, Tensor], weights.get_state_dict(progress=True, check_hash=True))


def read_state_dict(path: str, option: str = "pretrained") -> dict[str, Tensor]:
    """Parameters by name from a file, without executing anything in it.

    Raises:
        CheckpointError: The file does not exist or holds anything but a state dict.
    """
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


def weights_mismatch(name: str, pretrained: Pretrained, error: Exception) -> CheckpointError:
    """Error for weights of another network."""
    return CheckpointError(
        f"The weights '{pretrained}' do not fit {name}: {str(error).splitlines()[-1].strip()}",
        remedy=f"Give a state dict of {name}.",
    )


def weights_unavailable(name: str, error: Exception, option: str = "pretrained") -> CheckpointError:
    """Error for ImageNet weights that cannot be downloaded; it explains what to do offline."""
    scratch = "reconstruction=structural" if option == "perceptual_weights" else "pretrained=false"
    return CheckpointError(
        f"The ImageNet weights of {name} could not be downloaded ({type(error).__name__}).",
        remedy=f"Offline, download them elsewhere and use --model.{option}=PATH, or train from scratch "
        f"with --model.{scratch} (experiments/bkind_openfield.yaml has settings for that).",
    )


def timm_for(name: str, role: str) -> Any:
    """Import timm and check that it has a network called ``name``.

    ``role`` is the word for the network in errors, such as "encoder".

    Raises:
        ConfigurationError: timm is not installed, or has no such network.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigurationError(
            f"The {role} 'timm/{name}' needs the timm package.",
            remedy="Install it with: pip install 'lightning-kp[timm]'",
        ) from error
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        hint = f"Did you mean {', '.join(f'timm/{other}' for other in near)}?"
        raise ConfigurationError(
            f"There is no {role} 'timm/{name}'.",
            remedy=hint if near else "timm.list_models() lists all names.",
        )
    return timm
