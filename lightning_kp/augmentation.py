"""Random changes of a pair of frames that leave the question the same (ours; 000 uses none).

Without them a network trained on one recording may fail on the next: it has seen one light and, where
an arena is long, few headings near its walls.
"""

import torch
from torch import Tensor

from lightning_kp.geometry import rotate_image


def augment_pair(frame: Tensor, future: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn both frames (B, 3, S, S) in [0, 1] by quarter turns, swap them at random, change their light alike.

    One turn and one order per batch; contrast (by up to a fifth) and brightness (by up to 0.15) per pair.
    """
    turns = int(torch.randint(4, (), generator=generator))
    frame, future = rotate_image(frame, turns), rotate_image(future, turns)
    if bool(torch.rand((), generator=generator) < 0.5):
        frame, future = future, frame
    draws = torch.rand(2, len(frame), 1, 1, 1, generator=generator).to(frame.device) - 0.5
    contrast, brightness = 1 + 0.4 * draws[0], 0.3 * draws[1]
    return (frame * contrast + brightness).clamp(0, 1), (future * contrast + brightness).clamp(0, 1)
