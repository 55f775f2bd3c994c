"""Random augmentation of pairs of frames and of labelled images (ours; 000 uses none).

Without augmentation, a network trained on one recording may fail on the next: it knows one illumination and, where
an arena is long, few headings near its walls.

:func:`transplant` separates animals from their surroundings.  A small body beside a wall offers two cues to its
orientation.  Turning the whole image turns both, so a network may learn "the end nearer to the wall" instead of "the
head" and satisfy eq. 5.2 all the same; it then exchanges head and tail wherever the wall is on the opposite side.
Here the moving foreground is cut out, turned by any angle and pasted elsewhere on the background, so that the body
itself is the only cue.  The background is the median over the batch's frames of the same video, which requires a fixed
camera.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import at_least_float32, full_precision, pixel_centres, rotate_image
from lightning_kp.warps import FreeTurn, turn_image

MIN_FRAMES_FOR_BACKGROUND = 6
"""Frames of one video in a batch; with fewer, a resting animal would be part of the median."""
_BACKGROUND_CHANGE, _FOREGROUND_CHANGE = (
    0.05,
    0.12,
)  # of the grey range: at most background, at least foreground
_MAX_CENTRE = 0.75  # normalised; pasted animals have their centre no nearer to the border


def augment_pair(
    frame: Tensor, future: Tensor, generator: torch.Generator, *, any_angle: bool = False
) -> tuple[Tensor, Tensor]:
    """Turn, swap and re-light two frames (B, 3, S, S) in [0, 1] at random; both frames of a pair change alike.

    Quarter turns and order are drawn once per batch, contrast (up to a fifth) and brightness (up to 0.15) per pair.
    With ``any_angle`` each pair is also turned by an angle of its own; regions outside the image repeat its border.
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
    """Turn, scale, shift and re-light images (B, 3, S, S) in [0, 1] together with their points (B, ..., 2), normalised.

    Each image has its own draw: turned by up to ``turn_deg`` degrees, scaled by up to a fifth, shifted by up to a
    tenth of its side; light as in :func:`augment_pair`.  Points that leave the image lie outside [-1, 1].
    """
    draws = (2 * torch.rand(6, len(image), generator=generator) - 1).to(image.device)
    angle, scale = torch.deg2rad(turn_deg * draws[0]), 1.2 ** draws[1]
    cosine, sine = angle.cos(), angle.sin()
    # Maps points of the old image to points of the new one; sampling needs the inverse.
    forward = scale[:, None, None] * torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)
    shift = 0.2 * draws[2:4].T
    with full_precision(image):
        inverse = torch.linalg.inv(forward)
        back = torch.cat((inverse, -inverse @ shift.unsqueeze(-1)), dim=-1)
        grid = F.affine_grid(back, list(image.shape), align_corners=False)
        moved = F.grid_sample(at_least_float32(image), grid, padding_mode="border", align_corners=False)
        flat = points.flatten(1, -2)
        placed = flat @ forward.to(flat).transpose(1, 2) + shift.to(flat).unsqueeze(1)
    contrast, brightness = (1 + 0.2 * draws[4]).view(-1, 1, 1, 1), 0.15 * draws[5].view(-1, 1, 1, 1)
    return (moved * contrast + brightness).clamp(0, 1), placed.view_as(points)


def transplant(
    frame: Tensor, future: Tensor, video: Tensor, generator: torch.Generator, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Turn the foreground of two frames (B, 3, S, S) in [0, 1] and paste it elsewhere, in a ``share`` of the pairs.

    ``video`` (B,) is the number of each pair's video, whose background is used; pairs of videos with fewer than three
    pairs in the batch stay unchanged.  Both frames of a pair change alike, so that their motion is preserved.
    """
    chosen = torch.rand(len(frame), generator=generator) < share
    angle = 2 * math.pi * torch.rand(len(frame), generator=generator)
    shift = torch.rand(len(frame), 2, generator=generator) - 0.5
    result = torch.cat((frame, future), dim=1)
    for number in video.unique().tolist():
        of_video = (video == number).cpu()
        rows = torch.where(of_video & chosen)[0].to(frame.device)
        if 2 * int(of_video.sum()) < MIN_FRAMES_FOR_BACKGROUND or not len(rows):
            continue
        background = torch.cat((frame[of_video], future[of_video])).median(dim=0).values
        pairs = torch.stack((frame[rows], future[rows]), dim=1)
        with full_precision(frame):
            turned = _put_elsewhere(pairs, background, angle.to(frame)[rows], shift.to(frame)[rows])
        result[rows] = turned.flatten(1, 2)
    return result[:, :3], result[:, 3:]


def foreground(images: Tensor, background: Tensor) -> Tensor:
    """Opacity (..., 1, S, S) in [0, 1] of the foreground in images (..., 3, S, S) over a ``background`` (3, S, S)."""
    change = (images - background).abs().mean(dim=-3, keepdim=True).flatten(0, -4)
    opacity = ((change - _BACKGROUND_CHANGE) / (_FOREGROUND_CHANGE - _BACKGROUND_CHANGE)).clamp(0, 1)
    # One pixel wider to include the edge of the coat, and soft, since a network could see a sharp cut.
    opacity = F.avg_pool2d(F.max_pool2d(opacity, 3, stride=1, padding=1), 3, stride=1, padding=1)
    return opacity.view(*images.shape[:-3], 1, *images.shape[-2:])


def _put_elsewhere(pairs: Tensor, background: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """Pairs (B, 2, 3, S, S) -> pairs whose foreground is turned about its centre by ``angle`` (B,) and shifted."""
    opacity = foreground(pairs, background)
    centre = _centre(opacity.sum(dim=(1, 2)))
    wanted = (centre + shift).clamp(-_MAX_CENTRE, _MAX_CENTRE)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)
    back = torch.cat((turn, centre.unsqueeze(-1) - turn @ wanted.unsqueeze(-1)), dim=-1)
    layers = torch.cat((pairs * opacity, opacity), dim=2).flatten(1, 2)
    grid = F.affine_grid(back, list(layers.shape), align_corners=False)
    moved: Tensor = F.grid_sample(layers, grid, align_corners=False).unflatten(1, (2, 4))
    result: Tensor = background * (1 - moved[:, :, 3:]) + moved[:, :, :3]
    return result


def _centre(weight: Tensor) -> Tensor:
    """Centre of mass (B, 2), normalised, of weights (B, S, S); the image centre where all weights are 0."""
    x = pixel_centres(weight.shape[-1], like=weight)
    y = pixel_centres(weight.shape[-2], like=weight)
    total = weight.sum(dim=(1, 2)).clamp_min(1e-6)
    return torch.stack(
        ((weight * x).sum(dim=(1, 2)) / total, (weight * y.view(-1, 1)).sum(dim=(1, 2)) / total), dim=-1
    )
