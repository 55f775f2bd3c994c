"""Heatmaps of people -> points: one person per stack of heatmaps, or all of them bottom-up from shared ones."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_kp.geometry import full_precision
from lightning_kp.heatmaps import Moments
from lightning_kp.readout.instances import group, reordered
from lightning_kp.readout.peaks import highest_peaks, window_moments


def highest_peak(heatmaps: Tensor, radius: int) -> Moments:
    """Heatmaps (M, K, h, w) in [0, 1] -> Moments (M, K, ...) around each maximum; ``peak`` is its height."""
    peaks = highest_peaks(heatmaps, 1, 1)
    found = window_moments(heatmaps, peaks, radius)
    return Moments(found.points[:, 0], found.covariance[:, 0], peaks.value[..., 0].clamp(0, 1))


def grouped_peaks(heatmaps: Tensor, instances: int, apart: float, radius: int, least: float) -> Moments:
    """Heatmaps (B, K, h, w) in [0, 1] of everybody -> Moments (B, I, K, ...) of people, bottom-up.

    Of each heatmap the ``instances`` highest maxima of at least ``least`` that lie ``apart`` pixels from each other,
    grouped by least scatter.  A person's peaks are weakened by the share of points that it lacks: few points do
    not make a person, however high they are.
    """
    peaks = highest_peaks(heatmaps, instances, max(1, round(apart)))
    found = window_moments(heatmaps, peaks, radius)
    height = peaks.value.transpose(1, 2)
    found = found._replace(peak=height * (height >= least))
    order = group(found.points, found.peak)
    people = Moments(*(reordered(each, order) for each in found))
    complete = (people.peak > 0).float().mean(dim=-1, keepdim=True)
    return people._replace(peak=people.peak * complete)


def in_order_of(first: Tensor, second: Tensor) -> Tensor:
    """The people of ``second`` (B, I, K, h, w), each beside the one of ``first`` that it overlaps most."""
    with full_precision(first):
        shared = first.float().flatten(2) @ second.float().flatten(2).transpose(1, 2)
    overlap = shared.detach().cpu().numpy()
    order = torch.stack([torch.from_numpy(linear_sum_assignment(-each)[1]) for each in overlap])
    return second[torch.arange(len(second), device=second.device).unsqueeze(1), order.to(second.device)]
