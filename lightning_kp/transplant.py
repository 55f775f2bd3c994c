"""Augmentation that parts animals from their surroundings (ours; 000 uses none).

A small body beside a wall has two things to be oriented by.  Turning the whole image turns both, so a
network may learn "the end nearer to the wall" for "the head" and satisfy eq. 5.2 all the same; it then
exchanges head and tail wherever the wall is on the other side.  Here what moves is cut out, turned by
any angle and put down elsewhere on the background: nothing but the body itself is left to go by.

The background is the median over the batch's frames of the same video, which the fixed camera allows.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import full_precision, pixel_centres

LEAST_FRAMES = 6  # of one video in a batch: with fewer, an animal that rests is part of the median
_FAINT, _CLEAR = 0.05, 0.12  # of the grey range: below is background, above is foreground
_INSIDE = 0.75  # normalised; centres are put down no nearer to the border than this


def transplant(
    frame: Tensor, future: Tensor, video: Tensor, generator: torch.Generator, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Put the foreground of both frames (B, 3, S, S) in [0, 1] elsewhere, turned, in a ``share`` of the pairs.

    ``video`` (B,) tells whose background a pair has; pairs of videos with fewer than three pairs in the
    batch stay as they are.  Both frames of a pair are changed alike, so that their motion stays what it was.
    """
    chosen = torch.rand(len(frame), generator=generator) < share
    angle = 2 * math.pi * torch.rand(len(frame), generator=generator)
    shift = torch.rand(len(frame), 2, generator=generator) - 0.5
    result = torch.cat((frame, future), dim=1)
    for number in video.unique().tolist():
        of_video = (video == number).cpu()
        rows = torch.where(of_video & chosen)[0].to(frame.device)
        if 2 * int(of_video.sum()) < LEAST_FRAMES or not len(rows):
            continue
        background = torch.cat((frame[of_video], future[of_video])).median(dim=0).values
        pairs = torch.stack((frame[rows], future[rows]), dim=1)
        with full_precision(frame):
            turned = _put_elsewhere(pairs, background, angle.to(frame)[rows], shift.to(frame)[rows])
        result[rows] = turned.flatten(1, 2)
    return result[:, :3], result[:, 3:]


def foreground(images: Tensor, background: Tensor) -> Tensor:
    """How much of each pixel of (..., 3, S, S) is not ``background`` (3, S, S): (..., 1, S, S) in [0, 1]."""
    change = (images - background).abs().mean(dim=-3, keepdim=True).flatten(0, -4)
    opacity = ((change - _FAINT) / (_CLEAR - _FAINT)).clamp(0, 1)
    # A pixel wider, and soft: the coat's rim belongs to it, and a cut edge would be a mark of its own.
    opacity = F.avg_pool2d(F.max_pool2d(opacity, 3, stride=1, padding=1), 3, stride=1, padding=1)
    return opacity.view(*images.shape[:-3], 1, *images.shape[-2:])


def _put_elsewhere(pairs: Tensor, background: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """Pairs (B, 2, 3, S, S) -> the same with their foreground turned about its centre and shifted."""
    opacity = foreground(pairs, background)
    centre = _centre(opacity.sum(dim=(1, 2)))
    wanted = (centre + shift).clamp(-_INSIDE, _INSIDE)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)
    back = torch.cat((turn, centre.unsqueeze(-1) - turn @ wanted.unsqueeze(-1)), dim=-1)
    layers = torch.cat((pairs * opacity, opacity), dim=2).flatten(1, 2)
    grid = F.affine_grid(back, list(layers.shape), align_corners=False)
    moved: Tensor = F.grid_sample(layers, grid, align_corners=False).unflatten(1, (2, 4))
    result: Tensor = background * (1 - moved[:, :, 3:]) + moved[:, :, :3]
    return result


def _centre(weight: Tensor) -> Tensor:
    """Centre of mass (B, 2), normalised, of weights (B, S, S); the middle where nothing weighs."""
    x = pixel_centres(weight.shape[-1], like=weight)
    y = pixel_centres(weight.shape[-2], like=weight)
    total = weight.sum(dim=(1, 2)).clamp_min(1e-6)
    return torch.stack(
        ((weight * x).sum(dim=(1, 2)) / total, (weight * y.view(-1, 1)).sum(dim=(1, 2)) / total), dim=-1
    )
