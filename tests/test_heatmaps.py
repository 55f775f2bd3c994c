"""Heatmap mathematics: values by hand, laws, gradients, and the reference implementation's numbers."""

import math

import numpy as np
import pytest
import torch
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.geometry import rotate_image, rotate_points
from lightning_kp.heatmaps import (
    eigenvalue_ratio,
    expectation,
    moments,
    reference_amplitude,
    render_gaussians,
    spatial_softmax,
)


def test_softmax_by_hand() -> None:
    logits = tensor([[[[0.0, math.log(2)], [math.log(4), 0.0]]]])
    torch.testing.assert_close(spatial_softmax(logits), tensor([[[[1 / 8, 2 / 8], [4 / 8, 1 / 8]]]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_sums_to_one_in_full_precision(dtype: torch.dtype) -> None:
    heatmaps = spatial_softmax((20 * torch.randn(2, 3, 40, 56)).to(dtype))
    assert heatmaps.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(heatmaps.sum(dim=(-2, -1)), torch.ones(2, 3, dtype=heatmaps.dtype))


def test_coordinates_keep_full_precision_under_autocast() -> None:
    heatmaps = spatial_softmax(5 * torch.randn(2, 3, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        half = moments(heatmaps)
    for value, expected in zip(half, moments(heatmaps), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected)


def test_moments_by_hand() -> None:
    # Pixel centres at +-0.5. Right column 0.1 + 0.4, bottom row 0.3 + 0.4:
    # mean x = 0, mean y = 0.5 (0.7 - 0.3) = 0.2, var x = 0.25, var y = 0.25 - 0.04 = 0.21,
    # E[xy] = 0.25 (0.2 - 0.1 - 0.3 + 0.4) = 0.05 = cov (mean x is 0).
    heatmap = tensor([[[[0.2, 0.1], [0.3, 0.4]]]]).double()
    points, covariance, peak = moments(heatmap)
    torch.testing.assert_close(points, tensor([[[0.0, 0.2]]]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(covariance, tensor([[[0.25, 0.21, 0.05]]]).double(), atol=1e-7, rtol=0)
    assert peak.item() == pytest.approx(0.4)
    torch.testing.assert_close(expectation(heatmap), points)


def test_covariance_agrees_with_samples() -> None:
    heatmap = spatial_softmax(2 * torch.randn(1, 1, 5, 9).double())
    weight = heatmap.flatten().numpy()
    y, x = np.meshgrid((2 * np.arange(5) + 1) / 5 - 1, (2 * np.arange(9) + 1) / 9 - 1, indexing="ij")
    expected = np.cov(x.ravel(), y.ravel(), aweights=weight, bias=True)
    var_x, var_y, cov = moments(heatmap).covariance.flatten().tolist()
    np.testing.assert_allclose([[var_x, cov], [cov, var_y]], expected, atol=1e-12)


def test_gradients() -> None:
    logits = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: moments(spatial_softmax(z))[:2], (logits,))
    points = torch.rand(1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: render_gaussians(p, (3, 5), 0.4, amplitude=2.0), (points,))


@given(rows=st.integers(-3, 3), columns=st.integers(-5, 5))
def test_points_follow_a_shift_of_the_heatmap(rows: int, columns: int) -> None:
    heatmap = torch.zeros(1, 1, 16, 20, dtype=torch.float64)
    heatmap[..., 4:12, 6:14] = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    heatmap /= heatmap.sum()
    moved = torch.roll(heatmap, (rows, columns), (-2, -1))
    step = tensor([columns * 2 / 20, rows * 2 / 16]).double()
    torch.testing.assert_close(expectation(moved), expectation(heatmap) + step)
    torch.testing.assert_close(moments(moved).covariance, moments(heatmap).covariance)


# Gaussian maps


def test_gaussian_by_hand() -> None:
    # Centre on the pixel at (0.5, -0.5) of a 2x2 image; the others are 1, 1 and sqrt 2 away.
    # sigma is a standard deviation: with 0.5 the exponents are -1 / (2 * 0.25) = -2 and -4.
    maps = render_gaussians(tensor([[[0.5, -0.5]]]), (2, 2), 0.5, amplitude=3.0)
    expected = 3 * tensor([[[[math.exp(-2), 1.0], [math.exp(-4), math.exp(-2)]]]])
    torch.testing.assert_close(maps, expected)


@given(turns=st.integers(0, 3), x=st.floats(-1, 1), y=st.floats(-1, 1))
def test_gaussians_turn_with_their_points(turns: int, x: float, y: float) -> None:
    points = tensor([[[x, y]]], dtype=torch.float64)
    turned = render_gaussians(rotate_points(points, turns), (9, 9), 0.3)
    torch.testing.assert_close(rotate_image(render_gaussians(points, (9, 9), 0.3), turns), turned)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_gaussian_has_the_moments_it_was_drawn_with(size: tuple[int, int]) -> None:
    points = tensor([[[0.1, -0.2], [-0.3, 0.25]]]).double()
    maps = render_gaussians(points, size, 0.15)
    found = moments(maps / maps.sum(dim=(-2, -1), keepdim=True))
    torch.testing.assert_close(found.points, points, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        found.covariance, tensor([0.15**2, 0.15**2, 0.0]).double().expand(1, 2, 3), atol=1e-4, rtol=0
    )


def test_reference_amplitude_by_hand() -> None:
    assert [round(reference_amplitude(v), 3) for v in (0.1, 0.01, 0.001)] == [1.262, 3.989, 12.616]


# Golden values. The reference puts -1 and +1 at the centres of the border pixels, we at their outer
# edges: u_reference = u_project * W / (W - 1), and so for every length (its square maps only; on a
# rectangle a circle of one grid is an ellipse of the other).


def stretch(width: int) -> float:
    return width / (width - 1)


def reference_points(golden, x: str, y: str, width: int) -> Tensor:
    """The reference's points in our coordinates, (B, K, 2)."""
    return torch.from_numpy(np.stack((golden[x], golden[y]), axis=-1)) / stretch(width)


def reference_maps(points: Tensor, width: int, variance: float) -> Tensor:
    sigma = math.sqrt(variance) / stretch(width)
    return render_gaussians(points, (width, width), sigma, amplitude=reference_amplitude(variance))


def test_softmax_and_moments_agree_with_the_reference(goldens) -> None:
    golden = goldens("spatial_softmax_square")
    logits = torch.from_numpy(golden["logits"]).requires_grad_()
    heatmaps = spatial_softmax(logits)
    points, covariance, peak = moments(heatmaps)
    scale = stretch(16)

    def agree(ours: Tensor, name: str) -> None:
        np.testing.assert_allclose(ours.detach().numpy(), golden[name], rtol=1e-5, atol=1e-6)

    agree(heatmaps, "heatmap")
    agree(points[..., 0] * scale, "u_x")
    agree(points[..., 1] * scale, "u_y")
    for index, name in enumerate(("var_x", "var_y", "cov_xy")):
        agree(covariance[..., index] * scale**2, name)
    agree(peak, "confidence")
    weight = torch.from_numpy(golden["grad_weights"])
    (weight * (points[..., 0] + 2 * points[..., 1]) * scale).sum().backward()
    assert logits.grad is not None
    agree(logits.grad, "grad_logits_of_sum_w_ux_plus_2w_uy")


@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("variance", [0.1, 0.01, 0.001])
def test_gaussian_maps_agree_with_the_reference(goldens, width: int, variance: float) -> None:
    golden = goldens("gaussian_maps")
    maps = reference_maps(reference_points(golden, "u_x", "u_y", width), width, variance)
    np.testing.assert_allclose(
        maps.numpy(), golden[f"map_{width}x{width}_var{variance}"], rtol=1e-4, atol=1e-5
    )


def test_gaussian_gradient_agrees_with_the_reference(goldens) -> None:
    golden = goldens("gaussian_maps")
    theirs = torch.from_numpy(np.stack((golden["u_x"], golden["u_y"]), axis=-1)).requires_grad_()
    maps = reference_maps(theirs / stretch(16), 16, 0.01)
    (maps * torch.from_numpy(golden["grad_wmap"])).sum().backward()
    assert theirs.grad is not None
    np.testing.assert_allclose(theirs.grad[..., 0], golden["grad_ux_16_var001"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(theirs.grad[..., 1], golden["grad_uy_16_var001"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("turns", "name"), [(1, "90"), (2, "180"), (3, "-90")])
def test_rotation_target_agrees_with_the_reference(goldens, turns: int, name: str) -> None:
    """The reference resamples the maps; turning array and points exactly gives its loss and gradient."""
    golden = goldens("rotation_loss")
    points = reference_points(golden, "u_x", "u_y", 32)
    target = rotate_image(reference_maps(points, 32, 0.001), turns)
    np.testing.assert_allclose(target.numpy(), golden[f"rotated_heatmap_{name}"], atol=2e-4)
    torch.testing.assert_close(
        reference_maps(rotate_points(points, turns), 32, 0.001), target, atol=1e-3, rtol=0
    )
    theirs = torch.from_numpy(
        np.stack((golden[f"px_{name}"], golden[f"py_{name}"]), axis=-1)
    ).requires_grad_()
    loss = (reference_maps(theirs / stretch(32), 32, 0.001) - target).square().mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(golden[f"loss_{name}"]), rel=1e-4)
    assert theirs.grad is not None
    np.testing.assert_allclose(theirs.grad[..., 0], golden[f"gradpx_{name}"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(theirs.grad[..., 1], golden[f"gradpy_{name}"], rtol=1e-3, atol=1e-4)


# Peaks


@pytest.mark.parametrize("prefix", ["", "rect_"])
def test_golden_eigenvalue_ratios(goldens: Goldens, prefix: str) -> None:
    values = goldens("stills/concentration")
    found = eigenvalue_ratio(spatial_softmax(torch.from_numpy(values[f"{prefix}logits"])))
    np.testing.assert_allclose(found, values[f"{prefix}eigenvalue_ratio"], rtol=1e-6)


def test_a_needle_is_round_and_a_line_is_not() -> None:
    maps = torch.zeros(1, 2, 5, 5)
    maps[0, 0, 2, 3] = 1
    maps[0, 1, 2] = 0.2
    assert eigenvalue_ratio(maps).tolist() == [[1, 0]]
