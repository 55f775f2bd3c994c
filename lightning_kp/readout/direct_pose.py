"""Outputs B2 and B3 of DirectPose -> animals with scores (001, section 3.3: score-weighted pseudo keypoints).

Every cell proposes the K keypoints that B3 points at from it, with the scores of B2.  The papers leave the rest open.
Here (ours):

* A cell in the middle of the animal that it proposes ranks before one at its end: by the centre-ness of
  Tian et al. 2019b, of the bounding box around the proposed keypoints.
* Cells that rank highest among their neighbours are seeds; a seed that resembles a higher one by OKS is suppressed.
* The keypoints of an animal are the score-weighted means of all proposals that resemble its seed more than any other.

:func:`refine_with_maps` refines decoded animals with the maps of B1 (ours).  Blau et al. (001) train B1 to agree with
B2 and B3, and Tian et al. (2019a) do not use it for prediction.  A keypoint that B3 points at from far away is off by
half a cell or more, while B1 sees the keypoint itself: its maps are used around each keypoint of
:func:`decode_animals`.  B2 tells which cells belong to an animal, not how well they point at it; with the scores of
B1 at the keypoints, animals rank better.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.keypoints import oks

# The first three were chosen with the default squares of 3 x 3 cells (``window`` 1), at strides 4 and 8.
WINDOW_SIGMA_CELLS = 0.85
"""Standard deviation, in cells, of the window around a keypoint."""
SCORE_POWER = 4
"""Power of B1's scores.  Their targets are squares of cells: the middle of a plateau counts, and not its rim."""
CONSENSUS_CELLS = 0.03
"""Spread in cells below which an animal's proposals count more than B1, which is trained on whole cells."""
MIN_EVIDENCE = 1e-12
"""Evidence in B1 below which a keypoint does not move."""
SEEDS_PER_ANIMAL = 3
"""Seeds before suppression, per animal."""
PROPOSALS_PER_ANIMAL = 16
"""Cells that contribute to the mean keypoints of an animal, on average over the animals."""
EXPORTED_ROUNDS = 8
"""Rounds of suppression in an exported graph, where loops have a fixed length."""
TINY = 1e-6


class Animals(NamedTuple):
    """Decoded animals: ``points`` (B, I, K, 2), normalised, and ``confidence`` (B, I, K) in [0, 1], 0 = no animal.

    ``covariance`` (B, I, K, 3) = (var x, var y, cov xy) of the proposals, in squared normalised units.
    """

    points: Tensor
    covariance: Tensor
    confidence: Tensor


def decode_animals(
    scores: Tensor,
    points: Tensor,
    animals: int,
    *,
    threshold: float = 0.05,
    similar: float = 0.5,
    sigma: float = 0.1,
) -> Animals:
    """Decode scores (B, K, h, w) in [0, 1] and points (B, K, 2, h, w), normalised, into ``animals`` per image.

    Returns Animals (B, ``animals``, K, ...), highest first, with confidence 0 for padding.  Cells whose mean score
    is not above ``threshold`` propose nothing.  Two proposals are the same animal above an OKS of ``similar``.
    ``sigma`` is the OKS sigma of all keypoints; the area is half the squared diagonal of the bounding box, since
    keypoints on a line span no area.

    >>> scores, points = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 2, 4, 4), 0.25)
    >>> scores[0, 0, 2, 2] = 0.8  # one cell proposes an animal, at (0.25, 0.25)
    >>> found = decode_animals(scores, points, animals=2)
    >>> found.points[0, 0].tolist(), found.confidence[0, 1].tolist()
    ([[0.25, 0.25]], [0.0])
    """
    rank = scores.mean(dim=1) * _centreness(points)
    rank = torch.where(scores.mean(dim=1) > threshold, rank, 0)
    seeds, value = _seeds(rank, SEEDS_PER_ANIMAL * animals)
    proposed = points.flatten(3).permute(0, 3, 1, 2)  # (B, N, K, 2)
    seen = scores.flatten(2).transpose(1, 2)  # (B, N, K)
    seeded = _gather(proposed, seeds)
    keep = _unlike_higher(_similarity(seeded, seeded, sigma), value, similar)
    order = torch.where(keep, value, 0).topk(min(animals, value.shape[1]), dim=1)
    chosen = _gather(seeded, order.indices)
    best_rank, best = rank.flatten(1).topk(min(PROPOSALS_PER_ANIMAL * animals, proposed.shape[1]), dim=1)
    seen = seen.gather(1, best.unsqueeze(2).expand(-1, -1, seen.shape[2]))
    found = _mean(_gather(proposed, best), seen, best_rank, chosen, order.values, similar, sigma)
    missing = animals - chosen.shape[1]
    if missing == 0:
        return found
    return Animals(*(F.pad(value, (0, 0) * (value.ndim - 2) + (0, missing)) for value in found))


def _centreness(points: Tensor) -> Tensor:
    """Centre-ness (B, h, w) of cells: 1 in the middle of their proposal's bounding box, 0 at and beyond its border.

    ``points`` are (B, K, 2, h, w); the box is enlarged by one cell on each side.
    """
    height, width = points.shape[-2:]
    x, y = pixel_centres(width, like=points), pixel_centres(height, like=points)
    parts = []
    for axis, (here, cell) in enumerate(((x, 2 / width), (y.unsqueeze(1), 2 / height))):
        low, high = points[:, :, axis].aminmax(dim=1)
        before, after = here - low + cell, high - here + cell
        parts.append(torch.minimum(before, after) / torch.maximum(before, after).clamp_min(TINY))
    return (parts[0].clamp_min(0) * parts[1].clamp_min(0)).sqrt()


def _seeds(rank: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Flat index and rank (B, S) of the highest cells of ``rank`` (B, h, w) that no neighbour (of eight) outranks."""
    highest = F.max_pool2d(rank.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    peaks = torch.where(rank == highest, rank, 0).flatten(1)
    value, index = peaks.topk(min(count, peaks.shape[1]), dim=1)
    return index, value


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Values (B, N, K, 2) at index (B, M): (B, M, K, 2)."""
    return values.gather(1, index[..., None, None].expand(-1, -1, *values.shape[2:]))


def _similarity(points: Tensor, others: Tensor, sigma: float) -> Tensor:
    """OKS (B, N, M) of points (B, N, K, 2) with others (B, M, K, 2), whose bounding boxes set the area."""
    low, high = others.aminmax(dim=2)
    area = (high - low).square().sum(dim=-1) / 2
    present = torch.ones((), dtype=torch.bool, device=points.device).expand(others.shape[2])
    spread = points.new_tensor(sigma)
    return oks(points.unsqueeze(2), others.unsqueeze(1), present, area.unsqueeze(1), spread)


def _unlike_higher(similarity: Tensor, value: Tensor, similar: float) -> Tensor:
    """Mask (B, S) of the seeds, highest first, that resemble no kept higher seed: greedy suppression in parallel.

    ``similarity`` (B, S, S), ``value`` (B, S), 0 = no seed.  Rounds are repeated until nothing changes; each round
    settles at least one more seed as the greedy order would.
    """
    higher = torch.ones_like(similarity[0], dtype=torch.bool).tril(-1)
    beaten = (similarity > similar) & higher
    exists = value > 0
    keep = exists
    exporting = torch.compiler.is_exporting()
    for _ in range(EXPORTED_ROUNDS if exporting else similarity.shape[1]):
        again = exists & ~(beaten & keep.unsqueeze(1)).any(dim=2)
        if not exporting and torch.equal(again, keep):
            break
        keep = again
    return keep


def _mean(
    proposed: Tensor, seen: Tensor, rank: Tensor, chosen: Tensor, value: Tensor, similar: float, sigma: float
) -> Animals:
    """Weighted means of the proposals (B, N, K, 2) that resemble the chosen ones (B, I, K, 2): Animals (B, I, ...).

    ``seen`` (B, N, K) are scores of the proposals, ``rank`` (B, N) their ranks, ``value`` (B, I) those of the chosen.
    """
    alike = _similarity(proposed, chosen, sigma)  # (B, N, I)
    alike = torch.where((alike > similar) & (rank > 0).unsqueeze(2) & (value > 0).unsqueeze(1), alike, 0)
    alike = torch.where(alike == alike.amax(dim=2, keepdim=True), alike, 0)
    weight = (alike * rank.unsqueeze(2)).transpose(1, 2)  # (B, I, N)
    total = torch.einsum("bin,bnk->bik", weight, seen).clamp_min(TINY)

    def mean(values: Tensor) -> Tensor:
        return torch.einsum("bin,bnk->bik", weight, seen * values) / total

    at = torch.stack([mean(axis) for axis in proposed.unbind(-1)], dim=-1)
    # About the mean: a difference of two rounded squares could be negative.
    x, y = (proposed.unsqueeze(1) - at.unsqueeze(2)).unbind(-1)  # (B, I, N, K)
    share = weight.unsqueeze(3) * seen.unsqueeze(1)
    spread = torch.stack([(share * each).sum(dim=2) / total for each in (x * x, y * y, x * y)], dim=-1)
    confidence = mean(seen) * (value > 0).unsqueeze(-1)
    return Animals(at, spread, confidence)


def refine_with_maps(found: Animals, maps: Tensor) -> Animals:
    """Refine points (B, I, K, 2) and confidence of decoded animals with the maps of B1, logits (B, K, h, w).

    A keypoint moves to the centroid of B1's scores, raised to ``SCORE_POWER``, in a Gaussian window around it.  A cell
    in the windows of several animals is divided among them in proportion, so that no animal is pulled to its
    neighbour's keypoint.  Confidence becomes the geometric mean of B2's score and B1's mean score in the window.
    Covariances stay.
    """
    height, width = maps.shape[-2:]
    x, y = pixel_centres(width, like=maps), pixel_centres(height, like=maps)
    at = found.points.transpose(1, 2)  # (B, K, I, 2)
    exists = (found.confidence > 0).transpose(1, 2).unsqueeze(3)
    columns = _window(x - at[..., :1], 2 / width)  # (B, K, I, w)
    rows = _window(y - at[..., 1:], 2 / height) * exists  # (B, K, I, h)
    all_windows = (rows.transpose(2, 3) @ columns).clamp_min(TINY)  # (B, K, h, w)
    # An animal's window times its share of a cell is its squared window divided by the sum of all windows.
    square_x, square_y = columns.square(), rows.square()

    def summed(values: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
        """Sum cells (B, K, h, w), weighted for each animal by columns (B, K, I, w) and rows (B, K, I, h): (B, K, I)."""
        return ((along_x @ values.transpose(2, 3)) * along_y).sum(dim=3)

    score = maps.sigmoid()
    evidence = score.pow(SCORE_POWER) / all_windows
    total = summed(evidence, square_x, square_y)
    middle = torch.stack(
        (summed(evidence, square_x * x, square_y), summed(evidence, square_x, square_y * y)), dim=3
    ) / total.clamp_min(MIN_EVIDENCE).unsqueeze(3)
    moved = torch.where((total > MIN_EVIDENCE).unsqueeze(3), middle, at).transpose(1, 2)
    cell = found.covariance.new_tensor((2 / width, 2 / height))
    spread = (found.covariance[..., :2] / cell.square()).mean(dim=3, keepdim=True)
    points = found.points.lerp(moved, spread / (spread + CONSENSUS_CELLS**2))
    window = (columns.sum(dim=3) * rows.sum(dim=3)).clamp_min(TINY)
    mean_score = (summed(score / all_windows, square_x, square_y) / window).transpose(1, 2)
    return Animals(points, found.covariance, (found.confidence * mean_score).sqrt())


def _window(difference: Tensor, cell: float) -> Tensor:
    """Gaussian window of coordinate differences (...), in units of the width of a ``cell``."""
    return (difference / (WINDOW_SIGMA_CELLS * cell)).square().mul(-0.5).exp()
