"""Branches B2 and B3 -> animals with scores (001, section 3.3: pseudo keypoints, weighed by their scores).

Every cell proposes the K keypoints that B3 points at from it, with B2's scores.  What the papers leave open, and
what is done here: a cell in the middle of the animal that it proposes ranks before one at its end (the centre-ness
of Tian et al. 2019b, of the box around the proposed keypoints); cells that rank highest among their neighbours are
seeds; a seed that resembles a higher one by OKS is dropped; the keypoints of an animal are the means of what all
cells propose that resemble its seed and no other seed more, weighed by their scores.

Branch B1 says where the parts of decoded animals lie, and how sure that is (ours).

Blau et al. (001) train B1 to agree with B2 and B3, and Tian et al. (2019a) leave it out when predicting.  A part that
B3 points at from afar is half a cell or more off, while B1 sees the part itself: its maps are read around every
part that :mod:`lightning_kp.readout.direct_pose` has found.  And B2 says which cells belong to an animal, not whether
they point at it well: with what B1 says at the parts, animals rank better.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.keypoints import oks

# The first three were chosen with the default squares of 3 x 3 cells (``window`` 1), at strides 4 and 8.
WIDTH = 0.85  # cells: standard deviation of the window around a part
POWER = 4  # of B1's scores, whose targets are squares of cells: the middle of a plateau counts, not its rim
AGREED = 0.03  # cells: where an animal's proposals spread less, they count for more than B1, which knows whole cells
NOTHING = 1e-12  # less evidence moves no part

SEEDS_PER_ANIMAL = 3  # looked at before suppression
VOICES_PER_ANIMAL = 16  # cells that an animal's keypoints are the mean of, if all have as many
ROUNDS = 8  # of suppression in an exported graph, where a loop has a fixed length
TINY = 1e-6


class Animals(NamedTuple):
    """``points`` (B, I, K, 2), ``covariance`` (B, I, K, 3) of its proposals, ``confidence`` (B, I, K), 0 = none."""

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
    """Scores (B, K, h, w) in [0, 1] and points (B, K, 2, h, w), normalised -> at most ``animals`` per image.

    Cells whose mean score is not above ``threshold`` propose nothing.  Two proposals are the same animal above an
    OKS of ``similar``; ``sigma`` is that of all keypoints, the area half the square of the box's diagonal (a box of
    keypoints in a line has none).
    """
    rank = scores.mean(dim=1) * _centreness(points)
    rank = torch.where(scores.mean(dim=1) > threshold, rank, 0)
    seeds, value = _seeds(rank, SEEDS_PER_ANIMAL * animals)
    proposed = points.flatten(3).permute(0, 3, 1, 2)  # (B, N, K, 2)
    seen = scores.flatten(2).transpose(1, 2)  # (B, N, K)
    placed = _take(proposed, seeds)
    keep = _unlike_higher(_similarity(placed, placed, sigma), value, similar)
    order = torch.where(keep, value, 0).topk(min(animals, value.shape[1]), dim=1)
    chosen = _take(placed, order.indices)
    voices, best = rank.flatten(1).topk(min(VOICES_PER_ANIMAL * animals, proposed.shape[1]), dim=1)
    seen = seen.gather(1, best.unsqueeze(2).expand(-1, -1, seen.shape[2]))
    found = _mean(_take(proposed, best), seen, voices, chosen, order.values, similar, sigma)
    missing = animals - chosen.shape[1]
    if missing == 0:
        return found
    return Animals(*(F.pad(value, (0, 0) * (value.ndim - 2) + (0, missing)) for value in found))


def _centreness(points: Tensor) -> Tensor:
    """Cells (B, h, w): 1 in the middle of the box around the keypoints that they propose, 0 at and beyond its border.

    A cell's width is added around the box.
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
    """Flat index and rank (B, S) of the highest cells that none of their eight neighbours outranks."""
    highest = F.max_pool2d(rank.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    peaks = torch.where(rank == highest, rank, 0).flatten(1)
    value, index = peaks.topk(min(count, peaks.shape[1]), dim=1)
    return index, value


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Values (B, N, K, 2) at index (B, M)."""
    return values.gather(1, index[..., None, None].expand(-1, -1, *values.shape[2:]))


def _similarity(points: Tensor, others: Tensor, sigma: float) -> Tensor:
    """OKS (B, N, M) of points (B, N, K, 2) with others (B, M, K, 2), whose size counts."""
    low, high = others.aminmax(dim=2)
    area = (high - low).square().sum(dim=-1) / 2
    present = torch.ones((), dtype=torch.bool, device=points.device).expand(others.shape[2])
    spread = points.new_tensor(sigma)
    return oks(points.unsqueeze(2), others.unsqueeze(1), present, area.unsqueeze(1), spread)


def _unlike_higher(similarity: Tensor, value: Tensor, similar: float) -> Tensor:
    """Which of the seeds (B, S), highest first, resemble no kept higher one: greedy suppression, all at once.

    Repeated until nothing changes, every round settles at least one more seed as the greedy order would.
    """
    higher = torch.ones_like(similarity[0], dtype=torch.bool).tril(-1)
    beaten = (similarity > similar) & higher
    exists = value > 0
    keep = exists
    exporting = torch.compiler.is_exporting()
    for _ in range(ROUNDS if exporting else similarity.shape[1]):
        again = exists & ~(beaten & keep.unsqueeze(1)).any(dim=2)
        if not exporting and torch.equal(again, keep):
            break
        keep = again
    return keep


def _mean(
    proposed: Tensor, seen: Tensor, rank: Tensor, chosen: Tensor, value: Tensor, similar: float, sigma: float
) -> Animals:
    """Animals (B, I, ...): weighed means of the proposals (B, N, K, 2) that resemble the chosen ones (B, I, K, 2)."""
    alike = _similarity(proposed, chosen, sigma)  # (B, N, I)
    alike = torch.where((alike > similar) & (rank > 0).unsqueeze(2) & (value > 0).unsqueeze(1), alike, 0)
    alike = torch.where(alike == alike.amax(dim=2, keepdim=True), alike, 0)
    weight = (alike * rank.unsqueeze(2)).transpose(1, 2)  # (B, I, N)
    total = torch.einsum("bin,bnk->bik", weight, seen).clamp_min(TINY)

    def mean(values: Tensor) -> Tensor:
        return torch.einsum("bin,bnk->bik", weight, seen * values) / total

    at = torch.stack([mean(axis) for axis in proposed.unbind(-1)], dim=-1)
    # From the mean, not as a difference of squares: that of two rounded numbers is no covariance.
    x, y = (proposed.unsqueeze(1) - at.unsqueeze(2)).unbind(-1)  # (B, I, N, K)
    share = weight.unsqueeze(3) * seen.unsqueeze(1)
    spread = torch.stack([(share * each).sum(dim=2) / total for each in (x * x, y * y, x * y)], dim=-1)
    confidence = mean(seen) * (value > 0).unsqueeze(-1)
    return Animals(at, spread, confidence)


def placed_by_maps(found: Animals, maps: Tensor) -> Animals:
    """Animals with points (B, I, K, 2) and logits of B1 (B, K, h, w) -> the same animals, placed and scored by B1.

    A part moves to the centroid of B1's scores, to the power of ``POWER``, in a Gaussian window around it.  A cell
    that several animals' windows cover is divided among them in proportion, so that none is drawn to its neighbour's
    part.  Confidence becomes the geometric mean of B2's and of B1's mean score in the window.  Covariances stay.
    """
    height, width = maps.shape[-2:]
    x, y = pixel_centres(width, like=maps), pixel_centres(height, like=maps)
    at = found.points.transpose(1, 2)  # (B, K, I, 2)
    exists = (found.confidence > 0).transpose(1, 2).unsqueeze(3)
    columns = _window(x - at[..., :1], 2 / width)  # (B, K, I, w)
    rows = _window(y - at[..., 1:], 2 / height) * exists  # (B, K, I, h)
    everybody = (rows.transpose(2, 3) @ columns).clamp_min(TINY)  # (B, K, h, w)
    # An animal's window times its share of the cell is the square of its window over everybody's.
    square_x, square_y = columns.square(), rows.square()

    def summed(values: Tensor, along_x: Tensor, along_y: Tensor) -> Tensor:
        """Values of the cells (B, K, h, w), weighed for every animal by rows and columns: (B, K, I)."""
        return ((along_x @ values.transpose(2, 3)) * along_y).sum(dim=3)

    score = maps.sigmoid()
    evidence = score.pow(POWER) / everybody
    total = summed(evidence, square_x, square_y)
    middle = torch.stack(
        (summed(evidence, square_x * x, square_y), summed(evidence, square_x, square_y * y)), dim=3
    ) / total.clamp_min(NOTHING).unsqueeze(3)
    moved = torch.where((total > NOTHING).unsqueeze(3), middle, at).transpose(1, 2)
    cell = found.covariance.new_tensor((2 / width, 2 / height))
    spread = (found.covariance[..., :2] / cell.square()).mean(dim=3, keepdim=True)
    points = found.points.lerp(moved, spread / (spread + AGREED**2))
    window = (columns.sum(dim=3) * rows.sum(dim=3)).clamp_min(TINY)
    said = (summed(score / everybody, square_x, square_y) / window).transpose(1, 2)
    return Animals(points, found.covariance, (found.confidence * said).sqrt())


def _window(difference: Tensor, cell: float) -> Tensor:
    return (difference / (WIDTH * cell)).square().mul(-0.5).exp()
