"""Points below the grid of a heatmap: exact for Gaussians, also where all mass lies in one cell."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.geometry import rotate_image, rotate_points, to_pixels
from lightning_kp.heatmaps import expectation, moments
from lightning_kp.readout.peaks import highest_peaks, window_moments
from lightning_kp.readout.subgrid import subgrid_moments, subgrid_window_moments

SIDE = 16


def peak(centre: Tensor, deviation: float, side: int = SIDE) -> Tensor:
    """Softmax of Gaussian logits about points (B, 2) as (x, y) in cells: heatmaps (B, 1, side, side), float64."""
    axis = torch.arange(side, dtype=torch.float64)
    x, y = axis - centre[:, :1], axis - centre[:, 1:]
    logits = -(y[:, :, None] ** 2 + x[:, None] ** 2) / (2 * deviation**2)
    return logits.flatten(1).softmax(dim=-1).view(-1, 1, side, side)


def in_cells(points: Tensor) -> Tensor:
    """Points (B, 1, 2), normalised, in cells: (B, 2)."""
    return to_pixels(points, (SIDE, SIDE))[:, 0]


@pytest.mark.parametrize("deviation", [0.25, 0.3, 0.4, 0.5, 0.7])
def test_gaussians_narrower_than_a_cell_are_read_exactly(deviation: float) -> None:
    centre = 5 + 5 * torch.rand(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = in_cells(subgrid_moments(peak(centre, deviation)).points)
    torch.testing.assert_close(found, centre, rtol=0, atol=2e-3)


def test_the_plain_mean_of_a_needle_moves_in_steps_and_this_one_does_not() -> None:
    walk = torch.stack(
        (torch.linspace(5, 9, 41), torch.full((41,), 7.2)), dim=-1
    ).double()  # 0.1 cells a frame
    needles = peak(walk, 0.25)
    plain, fine = (
        in_cells(each)[:, 0].diff() for each in (expectation(needles), subgrid_moments(needles).points)
    )
    assert (plain < 0.01).sum() == 16
    assert plain.max() > 0.3
    torch.testing.assert_close(fine, torch.full_like(fine, 0.1), rtol=0, atol=2e-3)


def test_a_wide_heatmap_keeps_its_mean_and_every_heatmap_its_spread_and_height() -> None:
    centre = tensor([[7.3, 6.1]], dtype=torch.float64)
    wide = peak(centre, 1.5)
    torch.testing.assert_close(subgrid_moments(wide).points, expectation(wide), rtol=0, atol=0)
    for heatmap in (wide, peak(centre, 0.2)):
        for ours, theirs in zip(subgrid_moments(heatmap)[1:], moments(heatmap)[1:], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_only_the_mass_near_the_peak_is_corrected() -> None:
    """Three quarters of the mass in a needle at (4.3, 8), one quarter at (12, 8): the mean is 0.75 of one and so on."""
    needles = peak(tensor([[4.3, 8.0], [12.0, 8.0]], dtype=torch.float64), 0.2)
    heatmap = 0.75 * needles[:1] + 0.25 * needles[1:]
    found = in_cells(subgrid_moments(heatmap).points)
    torch.testing.assert_close(
        found, tensor([[0.75 * 4.3 + 0.25 * 12, 8.0]], dtype=torch.float64), rtol=0, atol=0.01
    )


@given(st.floats(4, 11), st.floats(4, 11), st.floats(0.2, 0.8), st.integers(1, 3))
def test_points_turn_and_move_with_the_heatmap(x: float, y: float, deviation: float, turns: int) -> None:
    heatmap = peak(tensor([[x, y]], dtype=torch.float64), deviation)
    found = subgrid_moments(heatmap).points
    turned = subgrid_moments(rotate_image(heatmap, turns)).points
    torch.testing.assert_close(turned, rotate_points(found, turns), rtol=0, atol=1e-6)
    moved = subgrid_moments(heatmap.roll((2, -1), dims=(-2, -1))).points
    torch.testing.assert_close(in_cells(moved), in_cells(found) + tensor([[-1.0, 2.0]]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("corner", [(0, 0), (SIDE - 1, 0), (0, SIDE - 1), (SIDE - 1, SIDE - 1)])
def test_a_needle_at_the_border_stays_inside(corner: tuple[int, int]) -> None:
    found = in_cells(subgrid_moments(peak(tensor([corner], dtype=torch.float64), 0.2)).points)
    torch.testing.assert_close(found, tensor([corner], dtype=torch.float64), rtol=0, atol=1e-5)


def test_flat_and_broken_heatmaps_keep_their_mean() -> None:
    flat = torch.full((1, 2, 4, 6), 1 / 24)
    torch.testing.assert_close(subgrid_moments(flat).points, torch.zeros(1, 2, 2), rtol=0, atol=1e-6)
    saddle = torch.zeros(1, 1, 7, 7)
    saddle[0, 0, 3, 3] = 1  # zeros all around: the logarithm is the same on all sides
    torch.testing.assert_close(subgrid_moments(saddle).points, torch.zeros(1, 1, 2), rtol=0, atol=1e-6)


def test_neighbouring_heatmaps_have_neighbouring_points() -> None:
    """The highest cell changes between the two; the points do not jump."""
    before, after = (peak(tensor([[7.5 + d, 6.5 - d]], dtype=torch.float64), 0.22) for d in (-1e-6, 1e-6))
    apart = in_cells(subgrid_moments(after).points) - in_cells(subgrid_moments(before).points)
    assert apart.abs().max() < 1e-3


def test_every_peak_of_a_shared_heatmap_is_read_below_the_grid() -> None:
    centres = tensor([[4.3, 8.2], [11.6, 5.1]], dtype=torch.float64)
    needles = peak(centres, 0.25)
    heatmap = 0.6 * needles[:1] + 0.4 * needles[1:]
    peaks = highest_peaks(heatmap, 2, 2)
    found = subgrid_window_moments(heatmap, peaks, 2)
    torch.testing.assert_close(to_pixels(found.points[0, :, 0], (SIDE, SIDE)), centres, rtol=0, atol=2e-3)
    plain = window_moments(heatmap, peaks, 2)
    torch.testing.assert_close(found.covariance, plain.covariance)
    assert (to_pixels(plain.points[0, :, 0], (SIDE, SIDE)) - centres).abs().max() > 0.1


def test_gradients_pass_through() -> None:
    logits = peak(tensor([[7.3, 6.2]], dtype=torch.float64), 0.35).clamp_min(1e-300).log()[..., 3:11, 3:11]
    logits = logits.clamp_min(-30).requires_grad_()

    def read(values: Tensor) -> Tensor:
        return subgrid_moments(values.flatten(2).softmax(dim=-1).view_as(values)).points

    assert torch.autograd.gradcheck(read, (logits,))
