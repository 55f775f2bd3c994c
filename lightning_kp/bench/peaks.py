"""Speed of finding the peaks of several animals, against two straightforward searches.

The first reference applies scipy's maximum filter to the heatmaps one by one and sorts the peaks. The second takes
the maximum, sets the square around it to zero and repeats. It is the fastest of the three, but wrong: the slope beside
the square counts as the next animal. The name of its row says how often this happens.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lightning_kp.bench.measuring import Row, compare, medians
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.readout.peaks import highest_peaks

FRAMES, KEYPOINTS, ANIMALS, SIDE, REACH = 1000, 8, 4, 64, 3
SIGMA = 0.06  # of the peaks, normalised
NOISE = 0.01  # of the peaks' height


def rows(*, quick: bool = False) -> list[Row]:
    """Rows for 8 keypoints x 4 animals at 64x64 in 1,000 frames (``quick``: 50), in CPU seconds."""
    frames = 50 if quick else FRAMES
    heatmaps = crowded(frames)
    plain = heatmaps.numpy()
    times = medians(
        {
            "ours": lambda: highest_peaks(heatmaps, ANIMALS, REACH),
            "scipy": lambda: filtered(plain, ANIMALS, REACH),
            "greedy": lambda: blanked(plain, ANIMALS, REACH),
        },
        repeats=3,
    )
    index = highest_peaks(heatmaps, ANIMALS, REACH)
    same = np.sort((index.row * SIDE + index.column).numpy()) == np.sort(blanked(plain, ANIMALS, REACH))
    name = f"peaks, {KEYPOINTS} keypoints x {ANIMALS} animals, {SIDE}x{SIDE}, {frames} frames"
    return [
        compare(f"{name}: ours / scipy's filter, map by map", times["ours"], times["scipy"], "<= 0.5"),
        compare(
            f"{name}: ours / blanking, {1 - same.mean():.0%} of whose peaks differ",
            times["ours"],
            times["greedy"],
            "<= 1.5",
        ),
    ]


def crowded(frames: int, seed: int = 0) -> Tensor:
    """Heatmaps (frames, K, h, w) that sum to one, with a peak for each animal on a noisy background."""
    generator = torch.Generator().manual_seed(seed)
    points = 1.8 * torch.rand(frames, ANIMALS, KEYPOINTS, 2, generator=generator) - 0.9
    maps = torch.cat([render_gaussians(part, (SIDE, SIDE), SIGMA).amax(dim=1) for part in points.split(50)])
    maps = maps + NOISE * torch.rand(maps.shape, generator=generator)
    return maps / maps.sum(dim=(-2, -1), keepdim=True)


def filtered(heatmaps: NDArray[np.float32], count: int, reach: int) -> NDArray[np.int64]:
    """Flat indices (B, K, count) of the highest pixels that equal the maximum of the square around them."""
    found = np.zeros((*heatmaps.shape[:2], count), np.int64)
    for where in np.ndindex(heatmaps.shape[:2]):
        heatmap = heatmaps[where]
        peaks = np.flatnonzero(heatmap == ndimage.maximum_filter(heatmap, 2 * reach + 1, mode="constant"))
        best = peaks[np.argsort(-heatmap.ravel()[peaks], kind="stable")[:count]]
        found[where][: len(best)] = best
    return found


def blanked(heatmaps: NDArray[np.float32], count: int, reach: int) -> NDArray[np.int64]:
    """Flat indices (B, K, count) by repeatedly taking the maximum and setting the square around it to zero.

    The slope beside the square may count as a peak.
    """
    found = np.zeros((*heatmaps.shape[:2], count), np.int64)
    for where in np.ndindex(heatmaps.shape[:2]):
        heatmap = heatmaps[where].copy()
        for number in range(count):
            best = int(heatmap.argmax())
            found[where][number] = best
            row, column = divmod(best, heatmap.shape[1])
            top, left = max(0, row - reach), max(0, column - reach)
            heatmap[top : row + reach + 1, left : column + reach + 1] = 0
    return found
