"""The reconstruction decoder of 000: from one set of points (4.8, Table 4.4) or from two (B-KinD, 5.8, Table 5.10).

Paper: upsample, concatenate the Gaussian maps of the points at that resolution, one convolution per block.
Reference code: concatenate, upsample, two convolutions per block. Both are available as options.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import reference_amplitude, render_gaussians

PAPER_WIDTHS = (1024, 512, 256, 128, 64)
# 000 calls these values sigma in 4.8 and "variance sigma" in 5.4, and the reference code uses them as
# variances. As standard deviations the finest would be narrower than a pixel.
PAPER_VARIANCES = (0.1, 0.1, 0.01, 0.01, 0.001)


class ReconstructionDecoder(nn.Module):
    """Appearance (B, C, h, w) of one image and sets of points (B, K, 2) -> image (B, out, 2^n h, 2^n w).

    It has n = len(widths) blocks, each of which doubles the resolution.

    Args:
        appearance: Channels C of the appearance features.
        keypoints: Number of keypoints K.
        widths: Channels of the blocks, coarse to fine.
        variances: Variance, in normalised units squared, of the Gaussian maps that each block gets.
        out_channels: Channels of the image.
        convolutions: Convolutions per block.
        unit_amplitude: Draw the maps with peak 1 in place of the normaliser of eq. 4.1; this scale suits
            training from scratch better.
        concatenate_first: Concatenate the maps before upsampling, as the reference code does.
        point_sets: Number of sets of K points: 1, those of the image to be made, or 2, also those of the image
            that the appearance comes from.

    Raises:
        ConfigurationError: ``widths`` and ``variances`` differ in number.
    """

    def __init__(
        self,
        appearance: int,
        keypoints: int,
        widths: Sequence[int] = PAPER_WIDTHS,
        variances: Sequence[float] = PAPER_VARIANCES,
        out_channels: int = 3,
        convolutions: int = 1,
        unit_amplitude: bool = False,
        concatenate_first: bool = False,
        point_sets: int = 2,
    ) -> None:
        super().__init__()
        if len(widths) != len(variances):
            raise ConfigurationError(
                f"decoder_widths has {len(widths)} entries and variances {len(variances)}.",
                remedy="Give one width and one variance per doubling of the resolution.",
            )
        self.variances = tuple(variances)
        self.unit_amplitude = unit_amplitude
        self.concatenate_first = concatenate_first
        inputs = (appearance, *widths[:-1])
        self.blocks = nn.ModuleList(
            _conv_block(narrow + point_sets * keypoints, wide, convolutions)
            for narrow, wide in zip(inputs, widths, strict=True)
        )
        self.output = nn.Conv2d(widths[-1], out_channels, 1)

    def forward(self, appearance: Tensor, *points: Tensor) -> Tensor:
        """Appearance (B, C, h, w) and one set of points (B, K, 2) after another -> image (B, out, 2^n h, 2^n w).

        The maps of the last set, that of the image to be made, come first, as in the reference code.
        """
        joined = torch.cat(points[::-1], dim=1)
        return self.decode(appearance, self.maps(joined, (appearance.shape[-2], appearance.shape[-1])))

    def maps(self, points: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Points (..., K, 2), normalised -> Gaussian maps (..., K, h_i, w_i), one per block, coarse to fine.

        ``size`` (h, w) is that of the appearance features.
        """
        maps = []
        for level, variance in enumerate(self.variances):
            factor = 2 ** (level if self.concatenate_first else level + 1)
            amplitude = 1.0 if self.unit_amplitude else reference_amplitude(variance)
            grid = (size[0] * factor, size[1] * factor)
            maps.append(render_gaussians(points, grid, variance**0.5, amplitude=amplitude))
        return maps

    def decode(self, appearance: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Appearance (B, C, h, w) and Gaussian maps (B, sets * K, h_i, w_i) -> image (B, out, 2^n h, 2^n w)."""
        features = appearance
        for block, gaussians in zip(self.blocks, maps, strict=True):
            # Concatenating two memory formats would lose channels-last for all layers that follow.
            gaussians = gaussians.to(features.dtype).contiguous(memory_format=_layout(features))
            if self.concatenate_first:
                features = _double(torch.cat((features, gaussians), dim=1))
            else:
                features = torch.cat((_double(features), gaussians), dim=1)
            features = block(features)
        return self.output(features)  # type: ignore[no-any-return]


def _layout(features: Tensor) -> torch.memory_format:
    last = features.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _double(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _conv_block(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for position in range(convolutions):
        source = inputs if position == 0 else outputs
        layers += [
            nn.Conv2d(source, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers)
