"""Undo the camera's motion: each frame is aligned to a still picture of the scene (000, 5.8, Vegetation).

The paper aligns drone videos before it takes differences.  Here phase correlation finds the shift
to about a pixel, however large it is, and kornia's ``ImageRegistrator`` refines it.  All frames of
a batch are refined at once, each by its own transform, and by a robust difference, so that animals,
which do not move with the scene, do not pull the alignment with them.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Motion = Literal["none", "translation", "similarity"]
DIFFERENCE = 0.06
"""Grey difference (of 1) from which a pixel is taken to belong to an animal rather than to the scene."""
ENOUGH_PX = 96
"""Pictures are aligned at this size; the shift is found to about a tenth of such a pixel."""
CONTRAST = 0.1
FINEST = 0.15
"""Cycles per pixel: standard deviation of the Gaussian that weighs frequencies in phase correlation."""
STEPS = ((0.004, 12, 2), (0.001, 12, 1))
"""Learning rate, iterations per level of the pyramid, and levels: half size and whole, then whole only."""
FARTHEST, STRONGEST = 0.5, 0.3
"""Beyond this shift (half sides) or change of scale or angle (rad) the estimate is no camera's motion."""


class BatchedSimilarity(nn.Module):
    """Shift (B, 2), rotation and scale of each picture, as kornia's registrator asks for them.

    ``aspect`` is height by width: rotation and scale act on pixels, the shift is in half sides.
    """

    def __init__(self, shift: Tensor, aspect: float, *, rigid: bool) -> None:
        super().__init__()
        self.shift = nn.Parameter(shift.clone())
        self.turn = nn.Parameter(torch.zeros_like(shift), requires_grad=not rigid)  # (log scale, angle)
        self.aspect = aspect

    def reset_model(self) -> None:
        """Keep what was found: a second, finer pass starts where the first ended."""

    def forward(self) -> Tensor:
        """Where the aligned picture's points (normalised, of -1 to 1) lie in the frame: (B, 3, 3)."""
        scale, (sine, cosine) = self.turn[:, 0].exp(), (self.turn[:, 1].sin(), self.turn[:, 1].cos())
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        across = (scale * cosine, -scale * sine * self.aspect, self.shift[:, 0])
        down = (scale * sine / self.aspect, scale * cosine, self.shift[:, 1])
        return torch.stack([torch.stack(row, -1) for row in (across, down, (zero, zero, one))], dim=1)

    def forward_inverse(self) -> Tensor:
        """The other way round."""
        inverse: Tensor = torch.linalg.inv(self())
        return inverse


def align(frames: Tensor, scene: Tensor, motion: Motion) -> Tensor:
    """Frames (B, 3, H, W) in [0, 1] to a scene (3, H, W): (B, 3, 3), normalised points of the scene -> frame.

    A frame that matches nowhere near (see ``FARTHEST``) keeps its place.
    """
    from kornia.geometry.transform import HomographyWarper, ImageRegistrator

    identity = torch.eye(3, dtype=frames.dtype, device=frames.device).expand(len(frames), 3, 3)
    if motion == "none" or not len(frames):
        return identity
    with torch.inference_mode(False), torch.enable_grad():
        grey = _small(frames.detach().clone().mean(dim=1, keepdim=True))
        still = _small(scene.detach().clone().mean(dim=0)[None, None]).expand_as(grey)
        start = shift_between(grey[:, 0], still[:1, 0])
        model = BatchedSimilarity(start, grey.shape[-2] / grey.shape[-1], rigid=motion == "translation")
        asked_for: Any = (
            model  # kornia's own base class would be imported with the module, and takes a second
        )
        for rate, iterations, levels in STEPS:
            registrator = ImageRegistrator(
                asked_for, loss_fn=robust_difference, pyramid_levels=levels, lr=rate,
                num_iterations=iterations, tolerance=0.0, warper=HomographyWarper,
            )  # fmt: skip
            registrator.register(grey, still)
        found = model().detach()
        is_sane = (model.shift.abs().amax(1) < FARTHEST) & (model.turn.abs().amax(1) < STRONGEST)
    return torch.where(is_sane[:, None, None], found, identity)


def _small(images: Tensor) -> Tensor:
    """Images (B, 1, H, W) with at most ``ENOUGH_PX`` on the longer side; normalised coordinates stay what they are."""
    scale = ENOUGH_PX / max(images.shape[-2:])
    if scale >= 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def shift_between(frames: Tensor, still: Tensor) -> Tensor:
    """Shift (B, 2) as (x, y) in half sides by which frames (B, H, W) lie beside ``still`` (1, H, W), in whole pixels.

    Phase correlation (Kuglin and Hines 1975), of which only the coarser half counts, for noise is
    all that is left in the finer.  What stands out more than ``CONTRAST`` is limited to that, since
    an animal that is much darker than the floor would otherwise outweigh the whole scene.
    """
    height, width = still.shape[-2:]
    fade = _fade(height).outer(_fade(width)).to(still)
    limited = [
        ((part - part.mean((-2, -1), keepdim=True)) / CONTRAST).tanh() * fade for part in (frames, still)
    ]
    moved, unmoved = (torch.fft.rfft2(part) for part in limited)
    phase = moved * unmoved.conj()
    phase = phase / phase.abs().clamp(min=1e-9)
    rate = torch.fft.fftfreq(height).square()[:, None] + torch.fft.rfftfreq(width).square()
    phase = phase * torch.exp(-rate / (2 * FINEST**2)).to(still)
    peak = torch.fft.irfft2(phase, s=(height, width)).flatten(1).argmax(dim=1)
    down, across = peak // width, peak % width
    down, across = (
        torch.where(by > side // 2, by - side, by) for by, side in ((down, height), (across, width))
    )
    return torch.stack((2 * across / width, 2 * down / height), dim=1).to(frames)


def _fade(side: int) -> Tensor:
    """Weights (side,) that rise from 0 at both borders to 1 within a tenth of the side."""
    place = (torch.arange(side) + 0.5) / side
    return (torch.minimum(place, 1 - place) / 0.1).clamp(max=1).mul(torch.pi / 2).sin().square()


def robust_difference(a: Tensor, b: Tensor, reduction: str = "none") -> Tensor:
    """Geman and McClure's d² / (d² + c²): 0 for equal pixels, near 1 for those that have nothing in common."""
    square = (a - b).square()
    loss = square / (square + DIFFERENCE**2)
    return loss.mean() if reduction == "mean" else loss


def warp(images: Tensor, transforms: Tensor, outside: Tensor) -> Tensor:
    """Move images (B, C, H, W) by (B, 3, 3) as from :func:`align`; ``outside`` (C, H, W) where nothing is known."""
    grid = F.affine_grid(transforms[:, :2], list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    is_inside = (grid.abs() <= 1).all(dim=-1).unsqueeze(1)
    return torch.where(is_inside, moved, outside)
