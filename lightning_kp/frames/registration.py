"""Registration: undoes the camera's motion by aligning each frame to a still image of the scene (000, 5.8, Vegetation).

The paper aligns drone videos before it takes differences of frames.  Here phase correlation finds the shift to about
one pixel, however large it is, and Kornia's ``ImageRegistrator`` refines it.  All frames of a batch are refined at
once, each with its own transform, by a robust difference, so that animals, which do not move with the scene, do not
bias the alignment.
"""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import pixel_centres

Motion = Literal["none", "translation", "similarity"]
ROBUST_SCALE = 0.06
"""Grey difference, with white = 1, above which a pixel counts as part of an animal rather than of the scene."""
ALIGNMENT_PX = 96
"""Longest side in pixels at which images are aligned; the shift is found to about a tenth of such a pixel."""
MAX_CONTRAST = 0.1
"""Limit on the grey difference from the mean in phase correlation, with white = 1."""
FREQUENCY_SCALE = 0.15
"""Standard deviation, in cycles per pixel, of the Gaussian that weights frequencies in phase correlation."""
FADED_SHARE = 0.1
"""Share of each side over which images fade out at both borders in phase correlation."""
STEPS = ((0.004, 12, 2), (0.001, 12, 1))
"""Learning rate, iterations per pyramid level, and number of levels: half and full size first, then full size only."""
MAX_SHIFT, MAX_SCALE_OR_ANGLE = 0.5, 0.3
"""An estimate beyond this shift (half sides), or this log scale or angle (rad), is not a motion of the camera."""


class BatchedSimilarity(nn.Module):
    """Shift, rotation and scale of each image of a batch, with the interface that Kornia's registrator needs.

    ``shift`` (B, 2) is the initial (x, y) in half sides.  ``aspect`` is height / width, since rotation and scale act on
    pixels.  ``rigid`` allows a shift only.
    """

    def __init__(self, shift: Tensor, aspect: float, *, rigid: bool) -> None:
        super().__init__()
        self.shift = nn.Parameter(shift.clone())
        self.turn = nn.Parameter(torch.zeros_like(shift), requires_grad=not rigid)  # (log scale, angle)
        self.aspect = aspect

    def reset_model(self) -> None:
        """Do not reset: the second, finer pass starts where the first one ended."""

    def forward(self) -> Tensor:
        """Transforms (B, 3, 3) that map normalised points of the scene to normalised points of the frame."""
        scale, (sine, cosine) = self.turn[:, 0].exp(), (self.turn[:, 1].sin(), self.turn[:, 1].cos())
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        across = (scale * cosine, -scale * sine * self.aspect, self.shift[:, 0])
        down = (scale * sine / self.aspect, scale * cosine, self.shift[:, 1])
        return torch.stack([torch.stack(row, -1) for row in (across, down, (zero, zero, one))], dim=1)

    def forward_inverse(self) -> Tensor:
        """Transforms (B, 3, 3) that map normalised points of the frame to normalised points of the scene."""
        inverse: Tensor = torch.linalg.inv(self())
        return inverse


def align(frames: Tensor, scene: Tensor, motion: Motion) -> Tensor:
    """Align frames (B, 3, H, W) to a scene (3, H, W), both in [0, 1].

    Returns transforms (B, 3, 3) that map normalised points of the scene to normalised points of the frame.  A frame
    whose estimate is implausible (see ``MAX_SHIFT``) gets the identity.  Raises ConfigurationError for an unknown
    motion.
    """
    if motion not in get_args(Motion):
        raise ConfigurationError(
            f"There is no registration '{motion}'.", remedy=f"Choose one of: {', '.join(get_args(Motion))}."
        )
    from kornia.geometry.transform import HomographyWarper, ImageRegistrator

    identity = torch.eye(3, dtype=frames.dtype, device=frames.device).expand(len(frames), 3, 3)
    if motion == "none" or not len(frames):
        return identity
    with torch.inference_mode(False), torch.enable_grad():
        grey = _small(frames.detach().clone().mean(dim=1, keepdim=True))
        still = _small(scene.detach().clone().mean(dim=0)[None, None]).expand_as(grey)
        start = shift_between(grey[:, 0], still[:1, 0])
        model = BatchedSimilarity(start, grey.shape[-2] / grey.shape[-1], rigid=motion == "translation")
        # Not a subclass of Kornia's base class, which would have to be imported with this module and takes a second.
        kornia_model: Any = model
        for rate, iterations, levels in STEPS:
            registrator = ImageRegistrator(
                kornia_model, loss_fn=robust_difference, pyramid_levels=levels, lr=rate,
                num_iterations=iterations, tolerance=0.0, warper=HomographyWarper,
            )  # fmt: skip
            registrator.register(grey, still)
        found = model().detach()
        is_plausible = (model.shift.abs().amax(1) < MAX_SHIFT) & (
            model.turn.abs().amax(1) < MAX_SCALE_OR_ANGLE
        )
    return torch.where(is_plausible[:, None, None], found, identity)


def _small(images: Tensor) -> Tensor:
    """Reduce images (B, 1, H, W) to ``ALIGNMENT_PX`` on the longer side; normalised coordinates stay the same."""
    scale = ALIGNMENT_PX / max(images.shape[-2:])
    if scale >= 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def shift_between(frames: Tensor, still: Tensor) -> Tensor:
    """Shift of grey frames (B, H, W) relative to ``still`` (1, H, W): (B, 2) as (x, y) in half sides, whole pixels.

    Phase correlation (Kuglin and Hines 1975).  Low frequencies count most, since high ones contain little but noise.
    Contrasts are limited to ``MAX_CONTRAST``, since an animal that is much darker than the floor would otherwise
    outweigh the whole scene.
    """
    height, width = still.shape[-2:]
    window = _fade(height).outer(_fade(width)).to(still)
    limited = [
        ((images - images.mean((-2, -1), keepdim=True)) / MAX_CONTRAST).tanh() * window
        for images in (frames, still)
    ]
    moved, unmoved = (torch.fft.rfft2(images) for images in limited)
    phase = moved * unmoved.conj()
    phase = phase / phase.abs().clamp(min=1e-9)
    squared_frequency = torch.fft.fftfreq(height).square()[:, None] + torch.fft.rfftfreq(width).square()
    phase = phase * torch.exp(-squared_frequency / (2 * FREQUENCY_SCALE**2)).to(still)
    peak = torch.fft.irfft2(phase, s=(height, width)).flatten(1).argmax(dim=1)
    down, across = peak // width, peak % width
    down, across = (
        torch.where(shift > side // 2, shift - side, shift)
        for shift, side in ((down, height), (across, width))
    )
    return torch.stack((2 * across / width, 2 * down / height), dim=1).to(frames)


def _fade(side: int) -> Tensor:
    """Weights (side,) that rise from 0 at both borders to 1 within FADED_SHARE of the side."""
    inwards = 1 - pixel_centres(side, like=torch.ones(())).abs()  # 0 at the borders, 1 in the middle
    return (inwards / (2 * FADED_SHARE)).clamp(max=1).mul(torch.pi / 2).sin().square()


def robust_difference(a: Tensor, b: Tensor, reduction: str = "none") -> Tensor:
    """Geman and McClure's d² / (d² + c²) per pixel, with c = ROBUST_SCALE: 0 for equal pixels, near 1 for others.

    ``a`` and ``b`` have the same shape, which is also that of the result; ``reduction="mean"`` returns a scalar.
    """
    square = (a - b).square()
    loss = square / (square + ROBUST_SCALE**2)
    return loss.mean() if reduction == "mean" else loss


def warp(images: Tensor, transforms: Tensor, fill: Tensor) -> Tensor:
    """Warp images (B, C, H, W) onto the scene with transforms (B, 3, 3) of :func:`align`.

    ``fill`` (C, H, W) is shown where an image has no pixels.
    """
    grid = F.affine_grid(transforms[:, :2], list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    is_inside = (grid.abs() <= 1).all(dim=-1).unsqueeze(1)
    return torch.where(is_inside, moved, fill)
