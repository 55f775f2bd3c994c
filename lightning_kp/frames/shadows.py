"""Three ways to remove cast shadows from frames before differences are taken (report 002, section 5).

A shadow moves with its animal, so that a difference of frames shows both.  The functions take frames (B, 3, H, W) and
``scene`` (3, H, W), both RGB in [0, 1]; the scene is the temporal median of the video, which shows it empty and lit.

Deviations from the report, which used single frames or two neighbouring ones: with a scene to compare with, the HSV
rule needs no colour range chosen by hand (though ``keep_hsv`` still offers one), similarity is computed per pixel
rather than per frame, and the temporal filter is the median.
"""

import math

import torch
from torch import Tensor

from lightning_kp.images.differences import ssim_difference

MAX_NOISE = 0.06
"""Largest difference over the channels, of 1, up to which a pixel is the same as in the scene (ours)."""
DARKEST, BRIGHTEST = 0.5, 0.97
"""A shadow leaves a share of the light between these two (ours, for lamps above an arena)."""
MAX_COLOUR_DISTANCE = 0.12
"""Distance in the plane of hue and saturation up to which two pixels have the same colour under different light."""


def is_object_by_hsv(frames: Tensor, scene: Tensor, darkest: float = DARKEST) -> Tensor:
    """Mask (B, 1, H, W), bool, of pixels that differ from the scene and are not in a shadow.

    The shadow rule is that of Cucchiara et al. (2003): the value is between ``darkest`` and 97 % of the scene's, hue
    and saturation are close to the scene's.  Since hue has no meaning without saturation, both are compared as one
    point in a plane (ours).
    """
    from kornia.filters import gaussian_blur2d, median_blur

    smooth, still = (gaussian_blur2d(images, (3, 3), (0.8, 0.8)) for images in (frames, scene.unsqueeze(0)))
    differs = (smooth - still).abs().amax(dim=1, keepdim=True) > MAX_NOISE
    value, colour = _value_and_colour(smooth)
    scene_value, scene_colour = _value_and_colour(still)
    share = value / scene_value.clamp(min=1e-3)
    same_colour = (colour - scene_colour).norm(dim=1, keepdim=True) < MAX_COLOUR_DISTANCE
    shadow = (share > darkest) & (share < BRIGHTEST) & same_colour
    # Single pixels are noise, and single-pixel holes are fur that looks like the floor.
    return median_blur((differs & ~shadow).to(frames), (5, 5)) > 0.5


def is_in_hsv_range(frames: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Mask (B, 1, H, W), bool, of pixels of frames (B, 3, H, W) whose colour is between ``low`` (3,) and ``high`` (3,).

    Both hold hue in degrees, and saturation and value in [0, 1].  A low hue above the high one means the range through
    red (0 degrees).
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
    """Mask (B, 1, H, W), bool, of pixels whose structure (contrast and correlation, not brightness) is not the scene's.

    A shadow hardly changes the structure, and an animal does.  A uniform part of an animal on uniform ground has no
    structure and is lost, as the report found.  ``threshold`` is the difference in structure, 0 to 2.
    """
    from kornia.filters import median_blur

    difference = ssim_difference(frames, scene.expand_as(frames), luminance=False, window=7)
    return median_blur((difference > threshold).to(frames), (3, 3)) > 0.5


def equalise_light(frames: Tensor, scene: Tensor, darkest: float = DARKEST) -> Tensor:
    """Give frames (B, 3, H, W) the light of the scene with filters, without a mask; animals become paler and blurred.

    The share of light is the ratio of frame to scene after a Gaussian of a fiftieth of the shorter side.  Frames are
    divided by it where light is missing (but not by less than ``darkest``), and a bilateral filter smooths the result,
    (B, 3, H, W) in [0, 1].
    """
    from kornia.filters import bilateral_blur, gaussian_blur2d

    sigma = max(0.8, min(frames.shape[-2:]) / 50)
    taps = 2 * math.ceil(2 * sigma) + 1
    still = scene.unsqueeze(0)
    light, scene_light = (
        gaussian_blur2d(images.mean(dim=1, keepdim=True), (taps, taps), (sigma, sigma))
        for images in (frames, still)
    )
    share = (light / scene_light.clamp(min=1e-3)).clamp(darkest, 1.0)
    return bilateral_blur(frames / share, (5, 5), 0.1, (1.0, 1.0)).clamp(0, 1)


def bitwise_and(frames: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
    """Frames (B, 3, H, W) inside the mask (B, 1, H, W), bool, and ``fill`` (3, H, W) outside; 0 is the report's AND."""
    return torch.where(mask, frames, fill)


def _value_and_colour(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) -> value (B, 1, H, W) in [0, 1], and saturation times (cos, sin) of the hue (B, 2, H, W)."""
    from kornia.color import rgb_to_hsv

    hue, saturation, value = rgb_to_hsv(images).split(1, dim=1)
    return value, torch.cat((saturation * hue.cos(), saturation * hue.sin()), dim=1)
