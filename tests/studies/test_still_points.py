"""Baselines of the study of still images: components by hand, and a classifier that reads what is there."""

import pytest
import torch

from lightning_kp.geometry import normalise
from lightning_kp.studies.still_points import (
    accuracy,
    equivariance_px,
    nearest_other_px,
    on_ink,
    principal_components,
    random_projections,
)
from lightning_kp.warps import original_points, random_splines


def test_principal_components_lie_along_the_widest_direction() -> None:
    torch.manual_seed(0)
    wide = torch.randn(500, 1) * 10
    train = wide * torch.tensor([0.6, 0.8, 0.0]) + torch.randn(500, 3) * 0.01 + 5
    found, again = principal_components(train, train[:10], 1)
    assert found[:, 0].abs() == pytest.approx((wide[:, 0] - wide.mean()).abs(), abs=0.1)
    assert torch.equal(found[:10], again)


def test_projections_repeat_with_the_seed() -> None:
    train, test = torch.rand(4, 9), torch.rand(2, 9)
    first, second = (random_projections(train, test, 3, seed=5) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert first[1].shape == (2, 3)


def test_a_classifier_reads_labels_from_their_features_and_nothing_from_noise() -> None:
    torch.manual_seed(1)
    labels = torch.arange(300) % 3
    told = torch.nn.functional.one_hot(labels).float() + 0.05 * torch.randn(300, 3)
    assert accuracy((told[:200], told[200:]), labels[:200], labels[200:], epochs=5) == 100
    noise = torch.randn(300, 3)
    assert accuracy((noise[:200], noise[200:]), labels[:200], labels[200:], epochs=5) < 60


def test_ink_within_one_pixel() -> None:
    image = torch.zeros(1, 3, 6, 8)
    image[:, :, 2, 3] = 1
    points = normalise(torch.tensor([[[3.0, 2.0], [4.0, 2.0], [3.0, 0.9], [3.7, 2.7], [3.8, 2.8]]]), (6, 8))
    assert on_ink(points, image).tolist() == [[True, True, False, True, False]]


def test_distance_to_the_nearest_other() -> None:
    points = normalise(torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]]), (10, 20))
    torch.testing.assert_close(nearest_other_px(points, (10, 20)), torch.tensor([[5.0, 1.0, 1.0]]))


def test_points_that_follow_the_warp_have_no_error() -> None:
    splines = random_splines(2, 4, 0.1, torch.Generator().manual_seed(0))
    found = torch.rand(2, 5, 2) - 0.5
    size = (28, 28)
    assert equivariance_px(original_points(found, splines), found, splines, size).max() < 1e-4
    moved = original_points(found, splines) + torch.tensor([2 * 3 / 28, 2 * 4 / 28])  # 3 px and 4 px
    torch.testing.assert_close(
        equivariance_px(moved, found, splines, size), torch.full((2, 5), 5.0), atol=1e-3, rtol=0
    )
