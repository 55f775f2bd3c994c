"""The middle frame: the size of Table 4.8, shuffling, and that the answer is in the points."""

from itertools import pairwise

import pytest
import torch

from lightning_kp.errors import ConfigurationError
from lightning_kp.tasks.middle_frame import MiddleFrame, draw_orders, middle_frame_network
from lightning_kp.tasks.task import Maps
from lightning_kp.warps import random_splines, warp_image


def test_parameters_of_table_4_8() -> None:
    sizes = [6 * 7, 512, 1024, 2048, 512, 3]
    expected = sum(a * b + b for a, b in pairwise(sizes))
    assert sum(each.numel() for each in middle_frame_network(7).parameters()) == expected


def test_orders_are_permutations_drawn_evenly() -> None:
    order, target = draw_orders(6000, torch.Generator().manual_seed(0))
    assert torch.equal(order.sort(dim=1).values, torch.arange(3).expand(6000, 3))
    assert (order.gather(1, target.unsqueeze(1)) == 1).all()
    numbers = (order * torch.tensor([9, 3, 1])).sum(dim=1).unique(return_counts=True)[1]
    assert len(numbers) == 6
    assert ((numbers - 1000).abs() < 120).all()


def test_the_last_frame_is_warped_twice_as_far() -> None:
    images = torch.rand(2, 3, 12, 12)
    task = MiddleFrame(4, controls=3, deviation=0.05)
    middle, last = task.extra_views(images, torch.Generator().manual_seed(3))
    splines = random_splines(2, 3, 0.05, torch.Generator().manual_seed(3))
    torch.testing.assert_close(middle, warp_image(images, splines))
    torch.testing.assert_close(last, warp_image(images, splines.scaled(2)))
    again = MiddleFrame(4, "twice", 3, 0.05).extra_views(images, torch.Generator().manual_seed(3))
    torch.testing.assert_close(again[1], warp_image(middle, splines))


def test_a_network_that_looks_for_the_median_wins() -> None:
    task = MiddleFrame(1).eval()
    task.network = Median()
    first = torch.rand(8, 1, 2)
    views = torch.stack((first + 0.1, first + 0.2))
    maps = torch.zeros(8, 1, 4, 4)
    found = Maps(maps, maps, maps, 0.9, views)
    task.loss(first, found, torch.zeros(8, 3, 4, 4), torch.Generator().manual_seed(0))
    assert task.figures()["accuracy"] == 100
    task.reset()
    swapped = found._replace(views=views.flip(0))  # now the last frame is where the middle one is expected
    task.loss(first, swapped, torch.zeros(8, 3, 4, 4), torch.Generator().manual_seed(0))
    assert task.figures()["accuracy"] == 0


class Median(torch.nn.Module):
    """Scores three one-point sets (B, 6) by how close each is to their median."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        x = points.unflatten(1, (3, 2))[..., 0]
        return -100 * (x - x.median(dim=1, keepdim=True).values).abs()


@pytest.mark.parametrize("options", [{"second": "thrice"}, {"controls": 1}, {"deviation": 0.0}])
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="second=doubled or twice, at least 2 controls"):
        MiddleFrame(3, **options)  # type: ignore[arg-type]
