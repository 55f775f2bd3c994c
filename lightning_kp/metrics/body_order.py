"""Whether keypoints keep their order along a body, whichever way the animal heads.

Without the rotation term a keypoint may stand for the animal's upper end in the image and not for its
head; the figure tells the two apart.
"""

import math

import torch
from torch import Tensor

FRONT, BACK = ("snout", "nose"), ("tail_base", "tailbase")
SECTORS = 8
ON_BODY = 0.3  # body lengths from the axis' points: farther away a keypoint is another animal's
APART = 0.25  # body lengths: keypoints nearer than this along the axis have no order to keep
LEAST_FRAMES = 5  # in a sector, for a statement about it


def order_kept(discovered: Tensor, labelled: Tensor, names: tuple[str, ...]) -> float:
    """Share of frames of the second half in which pairs of keypoints keep the first half's order.

    Discovered (N, K, 2), labelled (N, L, 2) normalised; of ``names`` a front and a back end per animal
    are used (``snout``, ``tail_base``, with a suffix where there are several).  The least over all
    animals and eight headings; NaN where no animal has two keypoints that are apart.
    """
    shares = [
        share
        for front, back in _axes(names)
        for share in _per_heading(discovered, labelled[:, front], labelled[:, back])
    ]
    return min(shares) if shares else math.nan


def _axes(names: tuple[str, ...]) -> list[tuple[int, int]]:
    def ends(stems: tuple[str, ...]) -> dict[str, int]:
        return {
            name.removeprefix(stem): i
            for i, name in enumerate(names)
            for stem in stems
            if name.startswith(stem)
        }

    fronts, backs = ends(FRONT), ends(BACK)
    return [(fronts[suffix], backs[suffix]) for suffix in fronts if suffix in backs]


def _per_heading(points: Tensor, front: Tensor, back: Tensor) -> list[float]:
    axis = front - back
    length = axis.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    relative = points - back.unsqueeze(1)
    along = (relative * (axis / length**2).unsqueeze(1)).sum(dim=-1)
    across = (relative - along.unsqueeze(-1) * axis.unsqueeze(1)).norm(dim=-1) / length
    half = len(points) // 2
    inside = (across < ON_BODY) & (along > -ON_BODY) & (along < 1 + ON_BODY)
    mine = torch.where(inside[:half].double().mean(dim=0) > 0.9)[0]
    mean = along[:half, mine].median(dim=0).values
    gap = mean.unsqueeze(1) - mean.unsqueeze(0)
    ahead, behind = torch.where(gap > APART)
    if not len(ahead):
        return []
    kept = (along[half:, mine[ahead]] > along[half:, mine[behind]]).double().mean(dim=1)
    sector = (
        (torch.atan2(axis[half:, 1], axis[half:, 0]) / (2 * math.pi) * SECTORS).floor() % SECTORS
    ).long()
    return [
        kept[sector == number].mean().item()
        for number in range(SECTORS)
        if int((sector == number).sum()) >= LEAST_FRAMES
    ]
