"""VGG-19 features for the perceptual loss (000, 5.4; Johnson et al. 2016)."""

from torch import Tensor, nn
from torchvision.models import vgg

from lightning_kp.nn.weights import Pretrained, load_pretrained, torchvision_weights

# relu1_2, relu2_2, relu3_2, relu4_2, relu5_2 of torchvision's vgg19.features
VGG19_TAPS = (3, 8, 13, 22, 31)


class PerceptualFeatures(nn.Module):
    """Images (B, 3, H, W) -> the image itself and five feature maps; frozen, always in evaluation mode.

    The maps are (B, 64, H, W), (B, 128, H / 2, W / 2), (B, 256, H / 4, W / 4), (B, 512, H / 8, W / 8) and
    (B, 512, H / 16, W / 16). As in the reference code the input is not normalised by ImageNet statistics, because
    it is a difference image and not a photograph.

    Args:
        pretrained: True (ImageNet weights), the path of a state dict, or False (random weights).
        features: The layers themselves, in place of VGG-19.
    """

    def __init__(self, pretrained: Pretrained = True, features: nn.Sequential | None = None) -> None:
        super().__init__()
        if features is None:
            features = _vgg19(pretrained)
        self.features = features[: VGG19_TAPS[-1] + 1]
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # autograd may still need the map before it
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "PerceptualFeatures":
        """Stay in evaluation mode, whatever ``mode``."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) -> [image, relu1_2, relu2_2, relu3_2, relu4_2, relu5_2]."""
        maps = [image]
        features = image
        for position, layer in enumerate(self.features):
            features = layer(features)
            if position in VGG19_TAPS:
                maps.append(features)
        return maps


def _vgg19(pretrained: Pretrained) -> nn.Sequential:
    """Convolutions of VGG-19 without its classifier, which holds six sevenths of the weights."""
    features: nn.Sequential = vgg.make_layers(vgg.cfgs["E"])
    for layer in features:
        if isinstance(layer, nn.Conv2d):  # torchvision's initialisation, for features of random filters
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # make_layers gives every convolution one
    load_pretrained(
        features, "torchvision's vgg19", pretrained, lambda: torchvision_weights("vgg19"),
        option="perceptual_weights", part="features.",
    )  # fmt: skip
    return features
