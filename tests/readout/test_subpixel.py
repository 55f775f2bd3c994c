"""The highest pixel and its sub-pixel refinement."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import render_gaussians
from lightning_kp.readout.subpixel import highest_pixel, refined_points


def bumped(right: float, below: float) -> torch.Tensor:
    """A map of 4 x 4 whose maximum, 1, lies at row 1, column 2, between zeros and the given neighbours."""
    scores = torch.zeros(1, 1, 4, 4)
    scores[0, 0, 1, 2], scores[0, 0, 1, 3], scores[0, 0, 2, 2] = 1.0, right, below
    return scores


def test_the_first_of_equal_pixels_is_the_highest() -> None:
    scores = torch.tensor([[[[0.0, 0.5, 0.2], [0.5, 0.1, 0.0]]]])
    found = highest_pixel(scores)
    assert (found.row.item(), found.column.item(), found.value.item()) == (0, 1, 0.5)


@pytest.mark.parametrize(
    ("refinement", "x", "y"),
    [
        # Column 2 of 4 is at (2 * 2 + 1) / 4 - 1 = 0.25, row 1 at -0.25; a pixel is half a unit.
        ("none", 0.25, -0.25),
        ("quarter", 0.25 + 0.125, -0.25),
        # (0.5 - 0) / (2 * (2 - 0.5)) = 1/6 of a pixel.
        ("quadratic", 0.25 + 0.5 / 6, -0.25),
        # Logarithms 0 at the maximum, ln(1/2) after it, and ln(1e-4), the floor, before it, so -ln 2 and -4 ln 10:
        # (9.2103 - 0.6931) / (2 * (9.2103 + 0.6931)) = 0.43 of a pixel along x, and 0 between two equal floors.
        ("gaussian", 0.25 + 0.5 * 0.43, -0.25),
    ],
)
def test_offsets_by_hand(refinement: str, x: float, y: float) -> None:
    scores = bumped(right=0.5, below=0.0)
    point = refined_points(scores, highest_pixel(scores), refinement)  # type: ignore[arg-type]
    torch.testing.assert_close(point, torch.tensor([[[x, y]]]))


def test_at_the_border_a_maximum_stays_on_its_axis() -> None:
    scores = torch.zeros(1, 1, 4, 4)
    scores[0, 0, 0, 2], scores[0, 0, 0, 1], scores[0, 0, 1, 2] = 1.0, 0.5, 0.5
    for refinement, x in (
        ("quarter", 0.25 - 0.125),
        ("quadratic", 0.25 - 0.5 / 6),
        ("gaussian", 0.25 - 0.5 * 0.43),
    ):
        point = refined_points(scores, highest_pixel(scores), refinement)  # type: ignore[arg-type]
        torch.testing.assert_close(point, torch.tensor([[[x, -0.75]]]))


def test_a_flat_map_is_read_at_its_first_pixel() -> None:
    for value in (0.0, -3.0):
        scores = torch.full((1, 2, 6, 6), value)
        for refinement in ("quarter", "quadratic", "gaussian"):
            point = refined_points(scores, highest_pixel(scores), refinement)  # type: ignore[arg-type]
            torch.testing.assert_close(point, torch.full((1, 2, 2), 1 / 6 - 1))


@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7))
def test_refining_finds_a_gaussian_better_than_its_pixel(x: float, y: float) -> None:
    truth = torch.tensor([[[x, y]]], dtype=torch.float64)
    scores = render_gaussians(truth, (16, 16), sigma=1.5 * 2 / 16)
    highest = highest_pixel(scores)
    error = {
        name: (refined_points(scores, highest, name) - truth).abs().max() * 8  # type: ignore[arg-type]
        for name in ("none", "quarter", "quadratic", "gaussian")
    }
    assert error["none"] <= 0.5 + 1e-9
    assert error["quarter"] <= 0.25 + 1e-9
    assert error["quadratic"] <= 0.06
    assert error["gaussian"] <= 1e-6


def test_scaling_the_scores_moves_nothing() -> None:
    scores = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    for refinement in ("quarter", "quadratic", "gaussian"):
        found = [
            refined_points(each, highest_pixel(each), refinement)  # type: ignore[arg-type]
            for each in (scores, 5 * scores)
        ]
        torch.testing.assert_close(found[0], found[1])


def test_an_unknown_refinement_is_refused() -> None:
    scores = torch.zeros(1, 1, 3, 3)
    with pytest.raises(ConfigurationError, match="no refinement 'cubic'"):
        refined_points(scores, highest_pixel(scores), "cubic")  # type: ignore[arg-type]
