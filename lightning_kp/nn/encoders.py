"""Image encoders: torchvision and timm networks, or a small one of ours, as feature pyramids.

An encoder returns its feature maps from fine to coarse, one per stride in ``strides``. The paper
(000, 5.8) uses ResNet-50 at strides 4, 8, 16, 32.
"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError, KeypointError
from lightning_kp.nn.residual import ResidualBlock, convolution
from lightning_kp.nn.turning import TurningConv2d, batch_norm
from lightning_kp.nn.weights import (
    Pretrained,
    load_pretrained,
    read_state_dict,
    timm_for,
    torchvision_weights,
    weights_mismatch,
    weights_unavailable,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PYRAMID_STRIDES = (4, 8, 16, 32)
TORCHVISION_FAMILIES = "ResNet, RegNet, ConvNeXt, EfficientNet, MobileNet, DenseNet, VGG or Swin"


class Encoder(nn.Module):
    """Base of all encoders: normalised images (B, 3, H, W) -> a feature pyramid, fine to coarse.

    Map i has the shape (B, channels[i], H / strides[i], W / strides[i]).
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = PYRAMID_STRIDES
    turning: bool = False
    """Whether the features are fields of :mod:`lightning_kp.nn.turning`."""

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> maps (B, channels[i], H / strides[i], W / strides[i])."""
        features: list[Tensor] = super().__call__(image)
        return features


class ImageNetNormalise(nn.Module):
    """Normalises images (B, 3, H, W) in [0, 1] to zero mean and unit variance over ImageNet, per channel.

    The result is in channels-last memory format, and so are the features of the convolutions that follow.
    CPUs and tensor cores convolve fastest in this layout.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> normalised images (B, 3, H, W)."""
        image = image.contiguous(memory_format=torch.channels_last)
        return (image - self.mean) / self.std


class SmallResNet(Encoder):
    """A ResNet of 10 layers that learns from scratch on two CPU cores (ours).

    Normalised images (B, 3, H, W) -> maps (B, widths[i], H / s_i, W / s_i) at strides s_i = finest * 2^i. Small
    animals in small images need the finer pyramid: at stride 4 in a 96 px image a body of ten pixels covers two
    heatmap cells, too few to separate its ends.

    Args:
        widths: Channels of the stages; each stage is one basic block.
        finest: Stride of the first stage, 2 or 4.
        turning: Make the network equivariant to quarter turns (see :mod:`lightning_kp.nn.turning`). The
            equivariance is exact where the coarsest stride divides the image side.
    """

    def __init__(
        self, widths: Sequence[int] = (64, 128, 256, 512), finest: int = 4, turning: bool = False
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.strides = tuple(finest * 2**level for level in range(len(widths)))
        self.turning = turning
        stem = widths[0] // 2
        first = TurningConv2d(3, stem, 4, 2, 1, lift=True) if turning else convolution(3, stem, 3, 2, False)
        self.stem = nn.Sequential(first, batch_norm(stem, turning), nn.ReLU(inplace=True))
        inputs = (stem, *widths[:-1])
        self.stages = nn.ModuleList(
            ResidualBlock(narrow, wide, finest // 2 if level == 0 else 2, turning)
            for level, (narrow, wide) in enumerate(zip(inputs, widths, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> maps (B, channels[i], H / strides[i], W / strides[i])."""
        features, pyramid = self.stem(image), []
        for stage in self.stages:
            features = stage(features)
            pyramid.append(features)
        return pyramid


class StagedEncoder(Encoder):
    """A network given as a list of stages; the outputs of some stages make the pyramid.

    Normalised images (B, 3, H, W) -> maps (B, channels[i], H / strides[i], W / strides[i]).

    Args:
        stages: Stages, applied in order.
        taps: Positions of the stages whose outputs are returned.
        channels_last: Whether the stages pass on (B, H, W, channels), as those of a Swin Transformer do.
    """

    def __init__(self, stages: nn.ModuleList, taps: Collection[int], *, channels_last: bool = False) -> None:
        super().__init__()
        self.stages = stages
        self.taps = frozenset(taps)
        self.channels_last = channels_last
        self.channels = _measure(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> maps (B, channels[i], H / strides[i], W / strides[i])."""
        features, pyramid = image, []
        for position, stage in enumerate(self.stages):
            features = stage(features)
            if position in self.taps:
                pyramid.append(features.permute(0, 3, 1, 2) if self.channels_last else features)
        return pyramid


SMALL_ENCODERS = {
    "small": ((64, 128, 256, 512), 4, False),
    "tiny": ((32, 64, 128, 256), 4, False),
    "fine": ((24, 48, 96, 192), 2, False),
    "turning": ((24, 48, 96, 192), 2, True),
}


def build_encoder(name: str, pretrained: Pretrained = False) -> Encoder:
    """Build an encoder: normalised images (B, 3, H, W) -> feature maps from fine to coarse.

    Args:
        name: One of SMALL_ENCODERS, a torchvision model such as ``resnet50``, or ``timm/NAME``.
        pretrained: False, True (ImageNet weights, downloaded by the library that owns them), or the path of a
            state dict.

    Raises:
        ConfigurationError: The name is unknown, or the network has no feature maps at strides 4, 8, 16 and 32.
        CheckpointError: The weights cannot be downloaded or read, or do not fit; the message says what to do
            offline.
    """
    if name in SMALL_ENCODERS:
        return _small_encoder(name, pretrained)
    if name.startswith("timm/"):
        return _timm_encoder(name.removeprefix("timm/"), pretrained)
    return _torchvision_encoder(name, pretrained)


def _small_encoder(name: str, pretrained: Pretrained) -> Encoder:
    if pretrained is True:
        raise ConfigurationError(
            f"There are no ImageNet weights for the encoder '{name}'.",
            remedy="Use --model.pretrained=false, or --model.encoder=resnet50.",
        )
    encoder = SmallResNet(*SMALL_ENCODERS[name])
    load_pretrained(encoder, f"the encoder '{name}'", pretrained, dict)
    return encoder


def _torchvision_encoder(name: str, pretrained: Pretrained) -> Encoder:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = get_close_matches(name, [*SMALL_ENCODERS, *known], n=3)
        raise ConfigurationError(
            f"There is no encoder '{name}'.",
            remedy=f"Did you mean {', '.join(near)}?" if near else "Try small, tiny, resnet18 or resnet50.",
        )
    model = torchvision.models.get_model(name, weights=None)
    stages = _stages(model)
    channels_last = isinstance(model, torchvision.models.SwinTransformer)
    taps = _last_stage_per_stride(stages, channels_last)
    if sorted(taps) != sorted(PYRAMID_STRIDES):
        raise ConfigurationError(
            f"The torchvision model '{name}' has no feature maps at strides {PYRAMID_STRIDES}.",
            remedy=f"Use a {TORCHVISION_FAMILIES}, or timm/NAME.",
        )
    load_pretrained(model, f"torchvision's {name}", pretrained, lambda: torchvision_weights(name))
    return StagedEncoder(stages, taps.values(), channels_last=channels_last)


def _stages(model: Any) -> nn.ModuleList:
    """Sequential stages of a torchvision model; empty if the model has no such structure."""
    if hasattr(model, "layer4"):  # ResNet, ResNeXt, Wide ResNet
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return nn.ModuleList([stem, model.layer1, model.layer2, model.layer3, model.layer4])
    if hasattr(model, "trunk_output"):  # RegNet
        return nn.ModuleList([model.stem, *model.trunk_output.children()])
    features = getattr(model, "features", None)  # ConvNeXt, EfficientNet, MobileNet, VGG, DenseNet ...
    return nn.ModuleList(features.children() if isinstance(features, nn.Sequential) else ())


def _timm_encoder(name: str, pretrained: Pretrained) -> Encoder:
    timm = timm_for(name, "encoder")
    state = read_state_dict(pretrained) if isinstance(pretrained, str) else {}
    try:
        model = timm.create_model(
            name,
            features_only=True,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay={"file": pretrained} if state else None,
        )
        if state:
            _require_loaded(model, state)
    except Exception as error:
        raise _timm_error(f"timm/{name}", pretrained, error) from error
    try:
        return _TimmPyramid(model, f"timm/{name}")
    except KeypointError:
        raise
    except Exception as error:  # networks with a fixed input size raise errors of many types for other sizes
        raise _no_pyramid(f"timm/{name}", error) from error


def _require_loaded(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Raise unless at least half of the kernels were loaded, because timm silently skips unknown names."""
    parameters = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    found = sum(any(torch.equal(parameter, value) for value in state.values()) for parameter in parameters)
    if found < len(parameters) / 2:
        raise RuntimeError(f"only {found} of its {len(parameters)} kernels are in the file.")


def _timm_error(name: str, pretrained: Pretrained, error: Exception) -> KeypointError:
    if pretrained is False:
        return _no_pyramid(name, error)
    return (
        weights_unavailable(name, error) if pretrained is True else weights_mismatch(name, pretrained, error)
    )


class _TimmPyramid(Encoder):
    """Feature maps of a timm network at strides 4, 8, 16 and 32."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        strides = model.feature_info.reduction()
        if not set(PYRAMID_STRIDES) <= set(strides):
            raise _no_pyramid(name, f"strides {strides}")
        self.model = model
        self.keep = [strides.index(stride) for stride in PYRAMID_STRIDES]
        self.channels = _measure(self)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.model(image)
        return [maps[position] for position in self.keep]


def _no_pyramid(name: str, reason: object) -> ConfigurationError:
    return ConfigurationError(
        f"{name} provides no feature maps at strides {PYRAMID_STRIDES} ({str(reason).rstrip('.')}).",
        remedy="Use a convolutional network, which accepts images of any size, such as timm/resnet10t.",
    )


def _last_stage_per_stride(stages: nn.ModuleList, channels_last: bool) -> dict[int, int]:
    """Map each stride of the pyramid to the last stage that has it, measured on a 64 px image (1, 3, 64, 64)."""
    taps: dict[int, int] = {}
    features = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        for position, stage in enumerate(stages.eval()):
            features = stage(features)
            if features.ndim == 4:
                taps[64 // features.shape[2 if channels_last else 3]] = position
    stages.train()
    return {stride: taps[stride] for stride in PYRAMID_STRIDES if stride in taps}


def _measure(encoder: Encoder) -> tuple[int, ...]:
    """Channels of the encoder's maps, measured on a 64 px image; raises RuntimeError for unexpected sizes."""
    encoder.eval()
    with torch.no_grad():
        maps = encoder(torch.zeros(1, 3, 64, 64))
    encoder.train()
    sides = [tuple(features.shape[-2:]) for features in maps]
    if sides != [(64 // stride, 64 // stride) for stride in encoder.strides]:
        raise RuntimeError(f"a 64 px image gives maps of height and width {sides}")
    return tuple(features.shape[1] for features in maps)
