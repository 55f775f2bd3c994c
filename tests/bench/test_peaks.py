"""The benchmark of peaks compares equal computations."""

import torch

from lightning_kp.bench.peaks import ANIMALS, REACH, blanked, crowded, filtered, rows
from lightning_kp.readout.peaks import highest_peaks


def test_both_sides_find_the_same_peaks() -> None:
    heatmaps = crowded(6)
    found = highest_peaks(heatmaps, ANIMALS, REACH)
    index = found.row * heatmaps.shape[-1] + found.column
    assert torch.equal(index, torch.from_numpy(filtered(heatmaps.numpy(), ANIMALS, REACH)))
    # Blanking may count slopes as peaks where animals are close to each other; the highest peak is always the same.
    greedy = torch.from_numpy(blanked(heatmaps.numpy(), ANIMALS, REACH))
    assert torch.equal(greedy[..., 0], index[..., 0])


def test_rows() -> None:
    found = rows(quick=True)
    assert len(found) == 2
    assert all(row.ours > 0 and row.other > 0 and "50 frames" in row.name for row in found)
