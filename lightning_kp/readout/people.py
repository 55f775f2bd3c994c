"""Points of people from heatmaps: one person per stack of heatmaps, or all people bottom-up from shared heatmaps."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.geometry import full_precision
from lightning_kp.heatmaps import Moments
from lightning_kp.readout.instances import group_peaks, reorder_peaks
from lightning_kp.readout.peaks import highest_peaks, window_moments


def highest_peak(heatmaps: Tensor, radius: int) -> Moments:
    """Heatmaps (M, K, h, w) in [0, 1] -> Moments (M, K, ...) in a window around the maximum; ``peak`` is its height."""
    peaks = highest_peaks(heatmaps, 1, 1)
    found = window_moments(heatmaps, peaks, radius)
    return Moments(found.points[:, 0], found.covariance[:, 0], peaks.value[..., 0].clamp(0, 1))


def grouped_peaks(heatmaps: Tensor, instances: int, apart: float, radius: int, threshold: float) -> Moments:
    """Heatmaps (B, K, h, w) in [0, 1] of all people -> Moments (B, I, K, ...) of each person, bottom-up.

    Uses the ``instances`` highest maxima of each heatmap that are at least ``threshold`` high and lie ``apart`` pixels
    from each other, grouped by least scatter.  The peaks of a person are multiplied by the share of points that were
    found: a few points are not a person, however high their peaks.
    """
    peaks = highest_peaks(heatmaps, instances, max(1, round(apart)))
    found = window_moments(heatmaps, peaks, radius)
    height = peaks.value.transpose(1, 2)
    found = found._replace(peak=height * (height >= threshold))
    order = group_peaks(found.points, found.peak)
    people = Moments(*(reorder_peaks(each, order) for each in found))
    complete = (people.peak > 0).float().mean(dim=-1, keepdim=True)
    return people._replace(peak=people.peak * complete)


def match_order(first: Tensor, second: Tensor) -> Tensor:
    """Reorder the people of ``second`` (B, I, K, h, w) so that each one overlaps the person of ``first`` most."""
    with full_precision(first):
        shared = first.float().flatten(2) @ second.float().flatten(2).transpose(1, 2)
    overlap = shared.detach().cpu().numpy()
    order = torch.stack([torch.from_numpy(linear_sum_assignment(-each)[1]) for each in overlap])
    return second[torch.arange(len(second), device=second.device).unsqueeze(1), order.to(second.device)]
