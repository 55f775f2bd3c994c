"""Image encoders: any torchvision or timm network, or a small one of ours, as a pyramid of features.

An encoder returns its feature maps from fine to coarse, one per stride in ``strides``.  The paper
(000, 5.8) uses ResNet-50 at strides 4, 8, 16, 32.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
import torchvision
from torch import Tensor, nn

from lightning_kp.errors import CheckpointError, ConfigurationError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PYRAMID_STRIDES = (4, 8, 16, 32)

Pretrained = bool | str


class Encoder(Protocol):
    """Images (B, 3, H, W), normalised -> features (B, channels[i], H / strides[i], W / strides[i])."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, image: Tensor) -> list[Tensor]: ...


class ImageNetNormalise(nn.Module):
    """Images in [0, 1] -> zero mean and unit variance over ImageNet, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut (He et al. 2016, basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.body(features) + self.shortcut(features))


class SmallResNet(nn.Module):
    """A ResNet of 10 layers that learns from scratch on two CPU cores (ours).

    One basic block per stage; ``widths`` are the channels at strides 4, 8, 16 and 32.
    """

    strides = PYRAMID_STRIDES

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        self.channels = tuple(widths)
        stem = widths[0] // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        inputs = (stem, *widths[:-1])
        self.stages = nn.ModuleList(
            ResidualBlock(narrow, wide, 2) for narrow, wide in zip(inputs, widths, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features, pyramid = self.stem(image), []
        for stage in self.stages:
            features = stage(features)
            pyramid.append(features)
        return pyramid


class StagedEncoder(nn.Module):
    """A network given as stages in order; the output after the stages in ``taps`` makes the pyramid."""

    def __init__(self, stages: nn.ModuleList, taps: dict[int, int]) -> None:
        super().__init__()
        self.stages = stages
        self.taps = taps
        self.channels, self.strides = _measure(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        features, pyramid = image, []
        for position, stage in enumerate(self.stages):
            features = stage(features)
            if position in self.taps:
                pyramid.append(features)
        return pyramid


SMALL_ENCODERS = {
    "small": (64, 128, 256, 512),
    "tiny": (32, 64, 128, 256),
}


def build_encoder(name: str, pretrained: Pretrained = False) -> nn.Module:
    """An encoder by name: ``small``, ``tiny``, a torchvision model (``resnet50``) or ``timm/NAME``.

    ``pretrained`` is False, True (ImageNet weights, downloaded by the library that owns them) or
    the path of a state dict.  Raises ConfigurationError for an unknown name and CheckpointError
    where weights cannot be had, saying what to do offline.
    """
    if name in SMALL_ENCODERS:
        encoder: nn.Module = SmallResNet(SMALL_ENCODERS[name])
        if pretrained is True:
            raise ConfigurationError(
                f"There are no ImageNet weights for the encoder '{name}'.",
                remedy="Use --model.pretrained=false, or --model.encoder=resnet50.",
            )
        if pretrained:
            encoder.load_state_dict(_read_state_dict(str(pretrained)))
        return encoder
    if name.startswith("timm/"):
        return _timm_encoder(name.removeprefix("timm/"), pretrained)
    return _torchvision_encoder(name, pretrained)


def _torchvision_encoder(name: str, pretrained: Pretrained) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, [*SMALL_ENCODERS, *known], n=3)
        raise ConfigurationError(
            f"Unknown encoder '{name}'.",
            remedy=f"Did you mean {', '.join(near)}?" if near else "Try small, tiny, resnet18 or resnet50.",
        )
    model = torchvision.models.get_model(name, weights=None)
    load_pretrained(model, name, pretrained, lambda: torchvision_weights(name))
    if hasattr(model, "layer4"):
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        stages = nn.ModuleList([stem, model.layer1, model.layer2, model.layer3, model.layer4])
        return StagedEncoder(stages, {1: 4, 2: 8, 3: 16, 4: 32})
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential):
        raise ConfigurationError(
            f"The torchvision model '{name}' has no feature stages to build a pyramid from.",
            remedy="Use a ResNet, ConvNeXt, EfficientNet, MobileNet, RegNet-like or timm/NAME encoder.",
        )
    stages = nn.ModuleList(features.children())
    return StagedEncoder(stages, _last_stage_per_stride(stages))


def _timm_encoder(name: str, pretrained: Pretrained) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ConfigurationError(
            f"The encoder 'timm/{name}' needs the timm package.", remedy="pip install 'lightning-kp[timm]'"
        ) from error
    if name not in timm.list_models():
        raise ConfigurationError(f"timm has no model '{name}'.", remedy="Look names up with timm.list_models().")
    from_file = isinstance(pretrained, str)
    try:
        model = timm.create_model(
            name,
            features_only=True,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay={"file": str(pretrained)} if from_file else None,
        )
    except Exception as error:
        raise _no_weights(f"timm/{name}", error) from error
    keep = [i for i, r in enumerate(model.feature_info.reduction()) if r in PYRAMID_STRIDES]
    return _TimmPyramid(model, keep)


class _TimmPyramid(nn.Module):
    def __init__(self, model: nn.Module, keep: list[int]) -> None:
        super().__init__()
        self.model, self.keep = model, keep
        self.channels, self.strides = _measure(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.model(image)
        return [maps[position] for position in self.keep]


def _last_stage_per_stride(stages: nn.ModuleList) -> dict[int, int]:
    """Position of the last stage at each stride of the pyramid, found by running a small image."""
    taps: dict[int, int] = {}
    features = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        for position, stage in enumerate(stages.eval()):
            features = stage(features)
            taps[64 // features.shape[-1]] = position
    stages.train()
    return {position: stride for stride, position in taps.items() if stride in PYRAMID_STRIDES}


def _measure(encoder: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    encoder.eval()
    with torch.no_grad():
        maps = encoder(torch.zeros(1, 3, 64, 64))
    encoder.train()
    return tuple(m.shape[1] for m in maps), tuple(64 // m.shape[-1] for m in maps)


def load_pretrained(
    model: nn.Module, name: str, pretrained: Pretrained, fetch: "StateDictSource", option: str = "pretrained"
) -> None:
    """Fill ``model`` with ImageNet weights (True), a local state dict (a path) or leave it (False).

    ``option`` is the name of the setting that an error tells the user to change.
    """
    if pretrained is False:
        return
    if pretrained is True:
        try:
            state = fetch()
        except Exception as error:
            raise _no_weights(name, error, option) from error
    else:
        state = _read_state_dict(str(pretrained), option)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"The weights '{pretrained}' do not fit {name}: {str(error).splitlines()[-1].strip()}",
            remedy=f"Give a state dict of torchvision's {name}.",
        ) from error


class StateDictSource(Protocol):
    """Something that fetches a state dict, or raises."""

    def __call__(self) -> dict[str, Tensor]: ...


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of a torchvision model, from its cache or by download."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    return cast(dict[str, Tensor], weights.get_state_dict(progress=True, check_hash=True))


def _read_state_dict(path: str, option: str = "pretrained") -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise CheckpointError(f"There is no weight file '{path}'.", remedy=f"Check --model.{option}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"'{path}' is not a plain state dict ({type(error).__name__}).",
            remedy="Save one with torch.save(model.state_dict(), PATH).",
        ) from error
    return cast(dict[str, Tensor], state)


def _no_weights(name: str, error: Exception, option: str = "pretrained") -> CheckpointError:
    scratch = "--model.reconstruction=structural" if option == "perceptual_weights" else "--model.pretrained=false"
    return CheckpointError(
        f"The ImageNet weights of {name} could not be downloaded ({type(error).__name__}).",
        remedy=f"Offline: download them elsewhere and give --model.{option}=PATH, or train from scratch "
        f"with {scratch} (experiments/bkind_openfield.yaml has settings that do).",
    )
