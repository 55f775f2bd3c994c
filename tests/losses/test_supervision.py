"""Loss of labelled frames: its scale worked out by hand, labels that do not count, learning, errors."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import expectation, render_gaussians, spatial_softmax
from lightning_kp.losses.supervision import heatmap_cross_entropy, heatmap_mse, supervision_loss

SIZE = (16, 16)
SIGMA = 0.12
Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]
LOSSES = pytest.mark.parametrize("loss", [heatmap_mse, heatmap_cross_entropy])


def normalised(points: Tensor) -> Tensor:
    maps = render_gaussians(points, SIZE, SIGMA)
    return maps / maps.sum(dim=(-2, -1), keepdim=True)


def test_by_hand_on_two_pixels() -> None:
    """A Gaussian that is so narrow that it fills one of two pixels: (1, 0) against (0.5, 0.5)."""
    heatmaps = torch.tensor([[[[0.5, 0.5]]]])
    points = torch.tensor([[[-0.5, 0.0]]])
    assert heatmap_mse(heatmaps, points, torch.ones(1, 1), 0.05).item() == pytest.approx(0.5)


def test_right_is_0_flat_about_1_and_sure_and_wrong_2() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.3, -0.4]]])
    ones = torch.ones(1, 2)
    assert heatmap_mse(normalised(points), points, ones, SIGMA).item() == pytest.approx(0, abs=1e-6)
    flat = torch.full((1, 2, *SIZE), 1 / 256)
    assert heatmap_mse(flat, points, ones, SIGMA).item() == pytest.approx(1, abs=0.15)
    assert heatmap_mse(
        normalised(points + torch.tensor([-0.5, 0.5])), points, ones, SIGMA
    ).item() == pytest.approx(2, abs=0.1)


def test_a_needle_in_a_wrong_place_costs_as_much_as_the_docstring_says() -> None:
    """(1 + e) / e, where e = 1 / (4 pi s^2) is the sum of the squares of a Gaussian of s pixels: 27 for s = 1.44."""
    needle = torch.zeros(1, 1, 48, 48)
    needle[..., 5, 40] = 1
    error = heatmap_mse(needle, torch.zeros(1, 1, 2), torch.ones(1, 1), sigma=0.06)
    assert error.item() == pytest.approx(1 + 4 * math.pi * 1.44**2, rel=1e-3)
    assert error.item() == pytest.approx(27, abs=0.1)


def test_cross_entropy_is_0_where_right_1_where_flat_and_grows_with_the_distance() -> None:
    points, ones = torch.tensor([[[0.0, 0.0], [0.3, -0.4]]]), torch.ones(1, 2)
    assert heatmap_cross_entropy(normalised(points), points, ones, SIGMA).item() == pytest.approx(0, abs=1e-6)
    flat = torch.full((1, 2, *SIZE), 1 / 256)
    assert heatmap_cross_entropy(flat, points, ones, SIGMA).item() == pytest.approx(1)
    near, far = (
        heatmap_cross_entropy(normalised(points + shift), points, ones, SIGMA).item() for shift in (0.3, 0.5)
    )
    assert 1 < near < far


def test_cross_entropy_frees_a_keypoint_that_is_sure_of_a_wrong_place() -> None:
    """The gradient of the squared error vanishes there."""
    wrong, right = torch.tensor([[[-0.6, 0.6]]]), torch.tensor([[[0.6, -0.6]]])

    def gradient(loss: Loss) -> float:
        logits = (40 * render_gaussians(wrong, SIZE, SIGMA)).requires_grad_()
        loss(spatial_softmax(logits), right, torch.ones(1, 1), SIGMA).backward()
        assert logits.grad is not None
        x, y = 12, 3  # the pixel of the label
        return -float(logits.grad[0, 0, y, x])

    assert gradient(heatmap_mse) < 1e-6
    assert gradient(heatmap_cross_entropy) > 0.01


@LOSSES
def test_unlabelled_points_and_points_outside_do_not_count(loss: Loss) -> None:
    heatmaps = torch.rand(2, 2, *SIZE).flatten(2).softmax(-1).view(2, 2, *SIZE)
    points = torch.tensor([[[0.1, 0.2], [0.0, 0.0]], [[0.3, 0.3], [1.4, 0.0]]])
    confidence = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found = loss(heatmaps, points, confidence, SIGMA)
    alone = loss(heatmaps[:, :1], points[:, :1], confidence[:, :1], SIGMA)
    torch.testing.assert_close(found, alone)
    assert loss(heatmaps, points, torch.zeros(2, 2), SIGMA).item() == 0
    assert loss(heatmaps[:0], points[:0], confidence[:0], SIGMA).item() == 0


@LOSSES
def test_gradient(loss: Loss) -> None:
    logits = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    points = torch.rand(1, 2, 2, dtype=torch.float64) - 0.5

    def loss_of(logits: Tensor) -> Tensor:
        return loss(spatial_softmax(logits), points, torch.ones(1, 2), 0.3)

    assert torch.autograd.gradcheck(loss_of, (logits,))


@LOSSES
def test_it_moves_a_point_to_its_label(loss: Loss) -> None:
    logits = torch.zeros(1, 1, *SIZE, requires_grad=True)
    point = torch.tensor([[[0.4, -0.2]]])
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        loss(spatial_softmax(logits), point, torch.ones(1, 1), SIGMA).backward()
        optimizer.step()
    torch.testing.assert_close(expectation(spatial_softmax(logits)), point, atol=0.03, rtol=0)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="supervision must be mse or cross_entropy, got 'mes'"):
        supervision_loss("mes", torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 2), torch.ones(1, 1), SIGMA)  # type: ignore[arg-type]
