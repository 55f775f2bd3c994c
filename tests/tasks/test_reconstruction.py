"""Reconstruction: the sizes of Tables 4.4 and 4.5, and its loss by hand."""

import pytest
import torch

from lightning_kp.tasks.reconstruction import Reconstruction, high_branch, low_branch
from lightning_kp.tasks.task import Maps


def parameters(network: torch.nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def test_parameters_of_tables_4_4_and_4_5() -> None:
    high = [(7, 20), (20, 48), (48, 64), (64, 32), (32, 3)]
    assert parameters(high_branch(7)) == sum(9 * a * b + b for a, b in high)
    low = [(7, 5), (5, 10), (10, 12), (12, 12), (12, 12), (12, 5), (5, 3)]
    assert parameters(low_branch(7)) == sum(25 * a * b + b for a, b in low)


@pytest.mark.parametrize("size", [(28, 28), (13, 10)])
def test_a_network_that_gives_grey_has_the_error_of_grey(size: tuple[int, int]) -> None:
    task = Reconstruction(2).eval()
    for branch in (task.high, task.low):
        torch.nn.init.zeros_(branch[-1].weight)
        torch.nn.init.zeros_(branch[-1].bias)
    images = torch.ones(4, 3, *size)
    images[0] = 0.5
    maps = torch.rand(4, 2, *size)
    found = Maps(maps, maps, maps, 0.9, torch.zeros(0, 4, 2, 2))
    loss = task.loss(torch.zeros(4, 2, 2), found, images, torch.Generator())
    assert loss.item() == pytest.approx(3 * 0.25)  # summed over the batch
    assert task.figures()["error"].item() == pytest.approx(3 * 0.25 / 4)  # averaged over it


def test_descriptors_pass_on_the_texture_of_the_images() -> None:
    task = Reconstruction(2, descriptors=True, patch=3, values=2, whole=True)
    images = torch.rand(2, 3, 16, 16)
    maps = torch.zeros(2, 2, 16, 16)
    found = Maps(maps, maps, maps, 1.0, torch.zeros(0, 2, 2, 2))
    first, second = (task.rebuild(torch.zeros(2, 2, 2), found, each) for each in (images, 1 - images))
    assert first.shape == images.shape
    assert not torch.equal(first, second)
