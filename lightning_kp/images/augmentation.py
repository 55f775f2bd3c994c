"""Random changes of a pair of frames that leave the question the same (ours; 000 uses none).

Without them a network trained on one recording may fail on the next: it has seen one light and, where
an arena is long, few headings near its walls.

Augmentation that parts animals from their surroundings (ours; 000 uses none).

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

from lightning_kp.geometry import full_precision, pixel_centres, rotate_image, widened
from lightning_kp.warps import FreeTurn, turn_image

LEAST_FRAMES = 6  # of one video in a batch: with fewer, an animal that rests is part of the median
_FAINT, _CLEAR = 0.05, 0.12  # of the grey range: below is background, above is foreground
_INSIDE = 0.75  # normalised; centres are put down no nearer to the border than this


def augment_pair(
    frame: Tensor, future: Tensor, generator: torch.Generator, *, any_angle: bool = False
) -> tuple[Tensor, Tensor]:
    """Turn both frames (B, 3, S, S) in [0, 1] by quarter turns, swap them at random, change their light alike.

    One turn and one order per batch; contrast (by up to a fifth) and brightness (by up to 0.15) per pair.
    With ``any_angle`` each pair is turned by an angle of its own as well; what the image does not show is
    filled with its border.
    """
    turns = int(torch.randint(4, (), generator=generator))
    frame, future = rotate_image(frame, turns), rotate_image(future, turns)
    if bool(torch.rand((), generator=generator) < 0.5):
        frame, future = future, frame
    if any_angle:
        angles = FreeTurn(2 * math.pi * torch.rand(len(frame), generator=generator))
        frame, future = turn_image(frame, angles), turn_image(future, angles)
    draws = torch.rand(2, len(frame), 1, 1, 1, generator=generator).to(frame.device) - 0.5
    contrast, brightness = 1 + 0.4 * draws[0], 0.3 * draws[1]
    return (frame * contrast + brightness).clamp(0, 1), (future * contrast + brightness).clamp(0, 1)


def augment_labelled(
    image: Tensor, points: Tensor, generator: torch.Generator, turn_deg: float = 30.0
) -> tuple[Tensor, Tensor]:
    """Turn, scale, shift and re-light images (B, 3, S, S) in [0, 1], each by its own draw, with their points.

    ``points`` (B, ..., 2) normalised; those that leave the image lie outside [-1, 1] then.  Turned by up
    to ``turn_deg`` degrees, scaled by up to a fifth, shifted by up to a tenth of the side; light as in
    :func:`augment_pair`.
    """
    draws = (2 * torch.rand(6, len(image), generator=generator) - 1).to(image.device)
    angle, scale = torch.deg2rad(turn_deg * draws[0]), 1.2 ** draws[1]
    cosine, sine = angle.cos(), angle.sin()
    # How the new image's points arise from the old ones'; sampling needs the inverse.
    forward = scale[:, None, None] * torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)
    shift = 0.2 * draws[2:4].T
    with full_precision(image):
        inverse = torch.linalg.inv(forward)
        back = torch.cat((inverse, -inverse @ shift.unsqueeze(-1)), dim=-1)
        grid = F.affine_grid(back, list(image.shape), align_corners=False)
        moved = F.grid_sample(widened(image), grid, padding_mode="border", align_corners=False)
        flat = points.flatten(1, -2)
        placed = flat @ forward.to(flat).transpose(1, 2) + shift.to(flat).unsqueeze(1)
    contrast, brightness = (1 + 0.2 * draws[4]).view(-1, 1, 1, 1), 0.15 * draws[5].view(-1, 1, 1, 1)
    return (moved * contrast + brightness).clamp(0, 1), placed.view_as(points)


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
