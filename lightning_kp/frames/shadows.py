"""Three ways to take cast shadows out of frames before differences are taken (report 002, section 5).

A shadow moves with its animal, so that a difference of frames shows both.  Each function takes
frames (B, 3, H, W) in [0, 1] and ``scene`` (3, H, W), the temporal median of the video: the empty,
lit scene.  Deviations from the report, which took each frame (or two neighbours) by itself: with a
scene at hand the HSV rule needs no colour range chosen by hand (it is still there, ``keep_hsv``),
similarity is asked per pixel rather than per frame, and the temporal filter is the median.
"""

import math

import torch
from torch import Tensor

from lightning_kp.images.differences import ssim_difference

NOISE = 0.06
"""Difference from the scene (largest over the channels, of 1) below which a pixel belongs to it; ours."""
DARKEST, BRIGHTEST = 0.5, 0.97
"""A shadow leaves between these shares of the light; ours, for lamps above an arena."""
COLOUR = 0.12
"""Distance in the plane of hue and saturation up to which two colours are the same under less light."""


def is_object_by_hsv(frames: Tensor, scene: Tensor, darkest: float = DARKEST) -> Tensor:
    """Mask (B, 1, H, W): what differs from the scene, and not only by less light of the same colour.

    The shadow rule is that of Cucchiara et al. (2003): value between ``darkest`` and 97 % of the
    scene's, hue and saturation close to it.  Hue has no meaning without saturation, so both are
    compared as one point in the plane (ours).
    """
    from kornia.filters import gaussian_blur2d, median_blur

    smooth, still = (gaussian_blur2d(part, (3, 3), (0.8, 0.8)) for part in (frames, scene.unsqueeze(0)))
    differs = (smooth - still).abs().amax(dim=1, keepdim=True) > NOISE
    value, colour = _value_and_colour(smooth)
    value_there, colour_there = _value_and_colour(still)
    share = value / value_there.clamp(min=1e-3)
    same_colour = (colour - colour_there).norm(dim=1, keepdim=True) < COLOUR
    shadow = (share > darkest) & (share < BRIGHTEST) & same_colour
    # Single pixels are noise; holes of single pixels are fur that looks like floor.
    return median_blur((differs & ~shadow).to(frames), (5, 5)) > 0.5


def is_in_hsv_range(frames: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Mask (B, 1, H, W) of hue (degrees), saturation and value between ``low`` (3,) and ``high`` (3,).

    A low hue above the high one means the range through red (0).
    """
    from kornia.color import rgb_to_hsv

    hsv = rgb_to_hsv(frames)
    hue = torch.rad2deg(hsv[:, :1])
    hue_fits = (hue >= low[0]) & (hue <= high[0])
    if low[0] > high[0]:
        hue_fits = (hue >= low[0]) | (hue <= high[0])
    bounds = (low[1:].view(1, 2, 1, 1), high[1:].view(1, 2, 1, 1))
    rest_fits = ((hsv[:, 1:] >= bounds[0]) & (hsv[:, 1:] <= bounds[1])).all(dim=1, keepdim=True)
    return hue_fits & rest_fits


def is_object_by_ssim(frames: Tensor, scene: Tensor, threshold: float = 0.5) -> Tensor:
    """Mask (B, 1, H, W): where structure (contrast and correlation, not brightness) differs from the scene's.

    Less light changes the structure little, an animal much, but a plain part of an animal on plain
    ground has none and is lost, as the report found.
    """
    from kornia.filters import median_blur

    difference = ssim_difference(frames, scene.expand_as(frames), luminance=False, window=7)
    return median_blur((difference > threshold).to(frames), (3, 3)) > 0.5


def lit_evenly(frames: Tensor, scene: Tensor, darkest: float = DARKEST) -> Tensor:
    """Frames with the light of the scene, by filters: no mask, so that also animals become paler and blurred.

    The share of light is that of frame and scene after a Gaussian of a fiftieth of the picture; it is
    divided out where it is missing (at most down to ``darkest``), and a bilateral filter smooths the rest.
    """
    from kornia.filters import bilateral_blur, gaussian_blur2d

    sigma = max(0.8, min(frames.shape[-2:]) / 50)
    taps = 2 * math.ceil(2 * sigma) + 1
    still = scene.unsqueeze(0)
    light, light_there = (
        gaussian_blur2d(part.mean(dim=1, keepdim=True), (taps, taps), (sigma, sigma))
        for part in (frames, still)
    )
    share = (light / light_there.clamp(min=1e-3)).clamp(darkest, 1.0)
    return bilateral_blur(frames / share, (5, 5), 0.1, (1.0, 1.0)).clamp(0, 1)


def bitwise_and(frames: Tensor, mask: Tensor, elsewhere: Tensor) -> Tensor:
    """Frames where the mask (B, 1, H, W) holds, ``elsewhere`` (3, H, W) in its place (0: the report's AND)."""
    return torch.where(mask, frames, elsewhere)


def _value_and_colour(images: Tensor) -> tuple[Tensor, Tensor]:
    """Value (B, 1, H, W) in [0, 1], and saturation times (cos, sin) of the hue (B, 2, H, W)."""
    from kornia.color import rgb_to_hsv

    hue, saturation, value = rgb_to_hsv(images).split(1, dim=1)
    return value, torch.cat((saturation * hue.cos(), saturation * hue.sin()), dim=1)
