"""Descriptors: the size of Table 4.6, crops and their places by hand, and gradients."""

from itertools import pairwise

import pytest
import torch

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import normalise
from lightning_kp.tasks.descriptors import Descriptors, bilinear_weights, circle, descriptor_network


def test_parameters_of_table_4_6() -> None:
    sizes = [3 * 81, 512, 256, 8, 64, 128, 81]
    expected = sum(a * b + b for a, b in pairwise(sizes))
    assert sum(each.numel() for each in descriptor_network(9, 8).parameters()) == expected


def test_a_crop_is_put_back_where_it_was() -> None:
    # Grey image, a network that hands its first channel through: the textured map is the image inside the circle.
    image = torch.rand(1, 1, 16, 16).expand(1, 3, 16, 16)
    module = Descriptors(patch=5, values=2)
    module.local = FirstChannel(5)
    maps = module(image, normalise(torch.tensor([[[4.0, 9.0]]]), (16, 16)))
    expected = torch.zeros(16, 16)
    expected[7:12, 2:7] = image[0, 0, 7:12, 2:7] * circle(5)
    torch.testing.assert_close(maps[0, 0], expected)


class FirstChannel(torch.nn.Module):
    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return crops.unflatten(-1, (3, self.patch**2))[..., 0, :]


def test_weights_between_pixels_and_beyond_the_border() -> None:
    weights = bilinear_weights(torch.tensor([[0.5]]), 3, 4)[0, 0]
    expected = torch.tensor([[0.5, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]])
    torch.testing.assert_close(weights, expected)


def test_points_get_the_gradient_of_finite_differences() -> None:
    module = Descriptors(patch=3, values=2).double()
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    points = torch.tensor([[[0.11, -0.23], [0.4, 0.37]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda places: module(image, places), (points,))


def test_the_descriptor_of_the_whole_image_is_one_more_map() -> None:
    image, points = torch.rand(2, 3, 16, 12), torch.zeros(2, 4, 2)
    maps = Descriptors(patch=3, values=2, whole=True)(image, points)
    assert maps.shape == (2, 5, 16, 12)
    assert (maps[:, 4].amin() > 0).item()  # a sigmoid everywhere, not in a circle only


def test_sizes_below_one() -> None:
    with pytest.raises(ConfigurationError, match="at least 1, got 9 and 0"):
        Descriptors(values=0)
