"""Peaks of heatmaps: by hand, compared with a literal search on random maps, and the windows around them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from lightning_kp.heatmaps import moments, render_gaussians, spatial_softmax
from lightning_kp.readout import peaks as module
from lightning_kp.readout.peaks import highest_peaks, window_moments


def literal(heatmap: np.ndarray, count: int, reach: int) -> list[tuple[int, int]]:
    """The highest pixels that equal the maximum of their square, one by one."""
    highest = ndimage.maximum_filter(heatmap, 2 * reach + 1, mode="constant")
    where = np.argwhere((heatmap == highest) & (heatmap > 0))
    where = sorted(where.tolist(), key=lambda p: (-heatmap[p[0], p[1]], p))
    kept: list[tuple[int, int]] = []
    for row, column in where:
        if all(max(abs(row - r), abs(column - c)) > reach for r, c in kept):
            kept.append((row, column))
    return kept[:count]


def maps(batch: int, keypoints: int, height: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, keypoints, height, width, generator=generator)


@given(
    height=st.integers(4, 24), width=st.integers(4, 24), reach=st.integers(1, 5), count=st.integers(1, 4),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_agrees_with_the_literal_search(height: int, width: int, reach: int, count: int, seed: int) -> None:
    heatmaps = maps(2, 2, height, width, seed)
    found = highest_peaks(heatmaps, count, reach)
    assert found.row.shape == found.column.shape == found.value.shape == (2, 2, count)
    for b in range(2):
        for k in range(2):
            wanted = literal(heatmaps[b, k].numpy(), count, reach)
            present = found.value[b, k] > 0
            assert int(present.sum()) == len(wanted)
            places = list(zip(found.row[b, k].tolist(), found.column[b, k].tolist(), strict=True))
            assert places[: len(wanted)] == wanted
            assert set(places[len(wanted) :]) <= {wanted[0]}  # a missing peak lies on the highest
            values = [heatmaps[b, k, row, column].item() for row, column in wanted]
            assert found.value[b, k, : len(wanted)].tolist() == pytest.approx(values)


def test_by_hand() -> None:
    heatmap = torch.zeros(1, 1, 6, 9)
    heatmap[0, 0, 1, 1], heatmap[0, 0, 1, 2], heatmap[0, 0, 4, 7] = 0.5, 0.3, 0.2
    found = highest_peaks(heatmap, 3, reach=2)
    assert found.row[0, 0].tolist() == [1, 4, 1]
    assert found.column[0, 0].tolist() == [1, 7, 1]
    assert found.value[0, 0].tolist() == pytest.approx([0.5, 0.2, 0])


def test_equal_neighbours_are_one_peak_and_equal_distant_ones_are_two() -> None:
    heatmap = torch.zeros(1, 1, 8, 8)
    heatmap[0, 0, 2, 3] = heatmap[0, 0, 2, 4] = heatmap[0, 0, 6, 6] = 1
    found = highest_peaks(heatmap, 3, reach=1)
    assert list(zip(found.row[0, 0].tolist(), found.column[0, 0].tolist(), strict=True))[:2] == [
        (2, 3),
        (6, 6),
    ]
    assert found.value[0, 0].tolist() == [1, 1, 0]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heatmaps = maps(7, 3, 16, 16, 0)
    whole = highest_peaks(heatmaps, 2, 2)
    monkeypatch.setattr(module, "CHUNK_PIXELS", 300)
    for ours, theirs in zip(highest_peaks(heatmaps, 2, 2), whole, strict=True):
        assert torch.equal(ours, theirs)


def two_gaussians() -> tuple[Tensor, Tensor]:
    points = torch.tensor([[[-0.5, -0.4], [0.43, 0.61]]]).double()  # of one keypoint: (B, N, 2)
    heatmap = render_gaussians(points, (64, 64), 0.06).amax(dim=1, keepdim=True)
    return points, heatmap / heatmap.sum()


def test_windows_find_both_where_the_whole_map_finds_the_middle() -> None:
    points, heatmap = two_gaussians()
    middle = moments(heatmap).points[0, 0]
    assert (middle - points[0]).norm(dim=-1).min() > 0.3
    found = window_moments(heatmap, highest_peaks(heatmap, 2, 3), 8)
    nearest = (found.points[0, :, 0].unsqueeze(1) - points[0]).norm(dim=-1)
    assert nearest.min(dim=0).values.max() < 0.002
    # The window ends at 8 pixels, which is four standard deviations.
    torch.testing.assert_close(
        found.covariance[0, :, 0, :2], torch.full((2, 2), 0.06**2).double(), rtol=0.02, atol=0
    )


def test_a_window_that_holds_everything_gives_the_moments_of_the_map() -> None:
    heatmap = spatial_softmax(2 * torch.randn(2, 3, 9, 7).double())
    found = window_moments(heatmap, highest_peaks(heatmap, 1, 2), 9)
    for ours, theirs in zip(found, moments(heatmap), strict=True):
        torch.testing.assert_close(ours[:, 0], theirs)


def test_a_window_is_the_softmax_of_its_logits() -> None:
    logits = torch.randn(1, 1, 12, 12).double()
    heatmap = spatial_softmax(logits)
    peaks = highest_peaks(heatmap, 1, 2)
    row, column = int(peaks.row), int(peaks.column)
    top, left = max(0, row - 3), max(0, column - 3)
    part = logits[..., top : row + 4, left : column + 4]
    expected = part.flatten().softmax(0).max()
    torch.testing.assert_close(window_moments(heatmap, peaks, 3).peak.squeeze(), expected)


def test_neighbours_do_not_pull_at_each_other() -> None:
    """Two peaks whose windows overlap: each uses the pixels nearer to itself."""
    heatmap = torch.full((1, 1, 9, 20), 1e-9)
    heatmap[0, 0, 4, 8] = heatmap[0, 0, 4, 12] = 0.5
    found = window_moments(heatmap, highest_peaks(heatmap, 2, 2), 6)
    expected = (2 * torch.tensor([8.0, 12.0]) + 1) / 20 - 1
    torch.testing.assert_close(found.points[0, :, 0, 0].sort().values, expected, atol=1e-4, rtol=0)


def test_gradients() -> None:
    logits = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    peaks = highest_peaks(spatial_softmax(logits), 2, 2)

    def read(z: Tensor) -> tuple[Tensor, Tensor]:
        return window_moments(spatial_softmax(z), peaks, 2)[:2]

    assert torch.autograd.gradcheck(read, (logits,))


def test_an_underflowing_window_has_no_nan() -> None:
    logits = torch.zeros(1, 1, 16, 16)
    logits[0, 0, 2, 2], logits[0, 0, 12, 12] = 200.0, 50.0
    logits.requires_grad_()
    found = window_moments(spatial_softmax(logits), highest_peaks(spatial_softmax(logits), 2, 2), 3)
    found.points.sum().backward()
    assert found.points.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
