"""Random changes of a pair of frames that leave the question the same (ours; 000 uses none).

Without them a network trained on one recording may fail on the next: it has seen one light and, where
an arena is long, few headings near its walls.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import full_precision, rotate_image, widened
from lightning_kp.turns import FreeTurn, turn_image


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
