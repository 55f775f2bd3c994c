"""The bridge from discovered to named keypoints: exact where it can be, careful where labels are few."""

import math

import pytest
import torch
from torch import Tensor

from lightning_kp.metrics.bridge import PENALTIES, _Ridge, fit_bridge
from lightning_kp.metrics.regression import fit_linear

K = 6


def turned(points: Tensor, angle: Tensor) -> Tensor:
    """Points (K, 2), turned and shifted at random: (N, K, 2)."""
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack((cosine, -sine, sine, cosine), dim=-1).view(-1, 2, 2)
    return points @ turn.transpose(1, 2) + 0.3 * torch.randn(len(angle), 1, 2, dtype=torch.float64)


def scene(number: int, noise: float = 0.01) -> tuple[Tensor, Tensor]:
    """Keypoints of a body that turns, and a nose that is a weighted mean of two of them."""
    body = 0.2 * torch.randn(K, 2, dtype=torch.float64)
    found = turned(body, 2 * math.pi * torch.rand(number, dtype=torch.float64))
    nose = 1.5 * found[:, 0] - 0.5 * found[:, 1]
    return found + noise * torch.randn_like(found), nose.unsqueeze(1)


def test_leaving_one_out_by_hand_is_what_the_formula_says() -> None:
    """Against refits without each frame: the hat matrix is exact for ridge with a free constant."""
    features, target = torch.randn(7, 2, 3, dtype=torch.float64), torch.randn(7, 2, 4, dtype=torch.float64)
    whole = _Ridge.fit(features, target)
    for place in (0, 6, 12):
        penalty = PENALTIES[place] * whole.unit
        total = torch.zeros(4, dtype=torch.float64)
        for out in range(7):
            kept = torch.tensor([i for i in range(7) if i != out])
            x, y = features[kept], target[kept]
            xc, yc = (x - x.mean(0)).flatten(0, 1), (y - y.mean(0)).flatten(0, 1)
            slope = torch.linalg.solve(xc.T @ xc + penalty * torch.eye(3, dtype=torch.float64), xc.T @ yc)
            predicted = y.mean(0) + (features[out] - x.mean(0)) @ slope
            total += (target[out] - predicted).square().sum(dim=0)
        torch.testing.assert_close(whole.left_out()[place], total / 7)


def test_twelve_labels_do_for_a_turning_body_where_least_squares_fails() -> None:
    """Twelve coordinates and twelve frames: least squares goes through every label, and far off elsewhere."""
    found, nose = scene(212, noise=0.03)
    bridge = fit_bridge(found[:12], nose[:12])
    plain = fit_linear(found[:12], nose[:12])
    ours = (bridge.regressor.predict(found[12:]) - nose[12:]).norm(dim=-1).mean()
    theirs = (plain.predict(found[12:]) - nose[12:]).norm(dim=-1).mean()
    assert ours < 0.08
    assert theirs > 2 * ours


def test_many_labels_find_a_map_that_differs_in_x_and_y() -> None:
    found = torch.randn(300, K, 2, dtype=torch.float64)
    named = torch.stack((2 * found[:, 0, 1] + 0.1, found[:, 1, 0] - found[:, 2, 1]), dim=-1).unsqueeze(1)
    bridge = fit_bridge(found[:200], named[:200])
    assert (bridge.regressor.predict(found[200:]) - named[200:]).abs().max() < 0.05
    assert bridge.error[0] < 0.05


def test_where_keypoints_say_nothing_the_mean_of_the_labels_is_kept() -> None:
    found, named = (
        torch.randn(40, K, 2, dtype=torch.float64),
        0.01 * torch.randn(40, 1, 2, dtype=torch.float64),
    )
    bridge = fit_bridge(found, named + 0.5)
    fresh = bridge.regressor.predict(torch.randn(50, K, 2, dtype=torch.float64))
    assert (fresh - 0.5).norm(dim=-1).mean() < 0.05


def test_missing_labels() -> None:
    found, nose = scene(12)
    labelled = torch.cat((nose, nose, nose), dim=1)
    labelled[3:, 1] = torch.nan  # three frames of the second, none of the third
    labelled[:, 2] = torch.nan
    bridge = fit_bridge(found, labelled)
    assert bridge.regressor.weights.shape == (3, 2 * K + 1, 2)
    alone = fit_bridge(found[:3], nose[:3])
    torch.testing.assert_close(bridge.regressor.weights[1], alone.regressor.weights[0])
    assert torch.isnan(bridge.regressor.weights[2]).all()
    assert torch.isnan(bridge.error).tolist() == [False, False, True]


@pytest.mark.parametrize("number", [1, 2])
def test_one_or_two_labels_take_the_keypoint_that_is_nearest(number: int) -> None:
    found = torch.randn(number, K, 2, dtype=torch.float64)
    bridge = fit_bridge(found, found[:, 2:3] + torch.tensor([0.01, -0.02], dtype=torch.float64))
    torch.testing.assert_close(
        bridge.regressor.predict(found), found[:, 2:3] + torch.tensor([0.01, -0.02], dtype=torch.float64)
    )
    assert torch.isnan(bridge.error).all()
