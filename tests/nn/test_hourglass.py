"""The single hourglass of 003: the size of Table 4.3, its wiring, and images of any size."""

import pytest
import torch

from lightning_kp.nn.hourglass import Unpool, UnpoolingHourglass

TABLE_4_3 = [(3, 20), (20, 48), (48, 64), (48, 48), (64, 64), (64, 64), (64, 48), (48, 20)]
BOTH: tuple[Unpool, ...] = ("indices", "nearest")


@pytest.mark.parametrize("unpool", BOTH)
def test_parameters_of_table_4_3(unpool: Unpool) -> None:
    network = UnpoolingHourglass(7, unpool)
    expected = sum(9 * a * b + b for a, b in [*TABLE_4_3, (20, 7)])
    assert sum(each.numel() for each in network.parameters()) == expected == 169_223


@pytest.mark.parametrize("unpool", BOTH)
@pytest.mark.parametrize("size", [(28, 28), (30, 17), (5, 4)])
def test_logits_have_the_size_of_the_image(unpool: Unpool, size: tuple[int, int]) -> None:
    assert UnpoolingHourglass(3, unpool)(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_unpooling_puts_values_back_where_they_came_from() -> None:
    network = UnpoolingHourglass(2)
    features = torch.rand(2, 3, 8, 6)
    small, places = network._halve(features)
    back = network._double(small, places, features)
    highest = torch.nn.functional.interpolate(small, (8, 6)) == features
    torch.testing.assert_close(back, features * highest)


def test_every_layer_counts() -> None:
    # Two layers beside each other (4 and 4b, 6 and 6b) are easily wired so that one of them is idle.
    network = UnpoolingHourglass(2)
    network(torch.rand(1, 3, 12, 12)).square().sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())
    with torch.no_grad():
        before = network(torch.ones(1, 3, 12, 12))
        for layer in (network.layer4b, network.layer6b, network.layer6):
            kept = layer[0].weight.clone()
            layer[0].weight.zero_()
            assert not torch.allclose(network(torch.ones(1, 3, 12, 12)), before)
            layer[0].weight.copy_(kept)
