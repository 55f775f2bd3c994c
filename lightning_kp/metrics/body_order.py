"""Do discovered keypoints keep their order along the body, in whichever direction the animal heads?

Without the rotation term of the loss, a keypoint may follow the upper end of the animal in the image instead of its
head.  This metric distinguishes the two.  N frames, K discovered keypoints, L labelled points.
"""

import math

import torch
from torch import Tensor

FRONT, BACK = ("snout", "nose"), ("tail_base", "tailbase")
HEADINGS = 8
MAX_OFF_BODY = 0.3  # body lengths off the axis or its ends; a keypoint farther off is another animal's
MIN_GAP = 0.25  # body lengths: two keypoints nearer than this along the axis have no order to keep
MIN_FRAMES = 5  # frames of a heading that are needed to judge it


def order_kept(discovered: Tensor, labelled: Tensor, names: tuple[str, ...]) -> float:
    """Share of the second half's frames in which pairs of keypoints keep the order that they have in the first half.

    Args:
        discovered: Points (N, K, 2), normalised.
        labelled: Points (N, L, 2), normalised.
        names: Names of the L labelled points.  Each animal needs a front end (``snout``, ``nose``) and a back end
            (``tail_base``, ``tailbase``), with a suffix where there are several animals.

    Returns:
        The smallest share in [0, 1] over all animals and eight headings; NaN if no animal has two keypoints that are
        at least :data:`MIN_GAP` body lengths apart.
    """
    shares = [
        share
        for front, back in _axes(names)
        for share in _per_heading(discovered, labelled[:, front], labelled[:, back])
    ]
    return min(shares) if shares else math.nan


def _axes(names: tuple[str, ...]) -> list[tuple[int, int]]:
    """Positions of the front and back end of each animal among the labelled points."""

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
    """Shares of one animal, one per heading: points (N, K, 2), its ends (N, 2)."""
    axis = front - back
    length = axis.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    relative = points - back.unsqueeze(1)
    along = (relative * (axis / length**2).unsqueeze(1)).sum(dim=-1)
    across = (relative - along.unsqueeze(-1) * axis.unsqueeze(1)).norm(dim=-1) / length
    half = len(points) // 2
    inside = (across < MAX_OFF_BODY) & (along > -MAX_OFF_BODY) & (along < 1 + MAX_OFF_BODY)
    own = torch.where(inside[:half].double().mean(dim=0) > 0.9)[0]
    mean = along[:half, own].median(dim=0).values
    gap = mean.unsqueeze(1) - mean.unsqueeze(0)
    ahead, behind = torch.where(gap > MIN_GAP)
    if not len(ahead):
        return []
    kept = (along[half:, own[ahead]] > along[half:, own[behind]]).double().mean(dim=1)
    heading = (
        (torch.atan2(axis[half:, 1], axis[half:, 0]) / (2 * math.pi) * HEADINGS).floor() % HEADINGS
    ).long()
    return [
        kept[heading == number].mean().item()
        for number in range(HEADINGS)
        if int((heading == number).sum()) >= MIN_FRAMES
    ]
