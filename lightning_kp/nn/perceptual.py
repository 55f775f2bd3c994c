"""VGG-19 features for the perceptual loss (000, 5.4; Johnson et al. 2016)."""

from torch import Tensor, nn
from torchvision.models import vgg

from lightning_kp.nn.weights import Pretrained, load_pretrained, torchvision_weights

# relu1_2, relu2_2, relu3_2, relu4_2, relu5_2 of torchvision's vgg19.features
VGG19_TAPS = (3, 8, 13, 22, 31)


class PerceptualFeatures(nn.Module):
    """Images (B, 3, H, W) -> [the image itself, then five feature maps]; frozen, always in evaluation mode.

    As in the reference code the input is not normalised to ImageNet statistics: it is a difference
    image, not a photograph.
    """

    def __init__(self, pretrained: Pretrained = True, features: nn.Sequential | None = None) -> None:
        super().__init__()
        if features is None:
            features = _vgg19(pretrained)
        self.features = features[: VGG19_TAPS[-1] + 1]
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the map before it may be a tap's input that autograd still needs
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "PerceptualFeatures":
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [image]
        features = image
        for position, layer in enumerate(self.features):
            features = layer(features)
            if position in VGG19_TAPS:
                maps.append(features)
        return maps


def _vgg19(pretrained: Pretrained) -> nn.Sequential:
    """The convolutions of VGG-19 without its classifier, which is six sevenths of it."""
    features: nn.Sequential = vgg.make_layers(vgg.cfgs["E"])
    for layer in features:
        if isinstance(layer, nn.Conv2d):  # as torchvision initialises it; features of random filters
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # make_layers gives every convolution one
    load_pretrained(
        features, "torchvision's vgg19", pretrained, lambda: torchvision_weights("vgg19"),
        option="perceptual_weights", part="features.",
    )  # fmt: skip
    return features
