import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.mining import hardest_keypoints, hardest_samples


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, 2.5), (0.75, 3.0), (0.5, 3.5), (0.26, 3.5), (0.01, 4.0)]
)
def test_samples_by_hand(share: float, expected: float) -> None:
    assert hardest_samples(tensor([3.0, 1.0, 4.0, 2.0]), share).item() == pytest.approx(expected)


def test_nine_tenths_of_ten_are_nine() -> None:
    loss = torch.arange(10.0, requires_grad=True)
    hardest_samples(loss, 0.9).backward()
    assert loss.grad is not None
    assert loss.grad.tolist() == pytest.approx([0.0] + [1 / 9] * 9)


@given(st.permutations(range(6)), st.floats(0.05, 1))
def test_the_order_of_the_samples_plays_no_part(order: list[int], share: float) -> None:
    loss = tensor([0.5, 3.0, 1.0, 1.0, 7.0, 2.0])
    torch.testing.assert_close(hardest_samples(loss[order], share), hardest_samples(loss, share))


def test_keypoints_by_hand() -> None:
    """Half of four and half of two (the others are unlabelled and do not count): 5, 4 and 2."""
    loss = tensor([[1.0, 4.0, 3.0, 5.0], [2.0, 9.0, 1.0, 9.0]])
    weight = tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
    assert hardest_keypoints(loss, weight, 0.5).item() == pytest.approx((5 + 4 + 2) / 3)
    assert hardest_keypoints(loss, weight, 1.0).item() == pytest.approx((1 + 4 + 3 + 5 + 2 + 1) / 6)


def test_weights_count_among_the_kept_keypoints() -> None:
    loss, weight = tensor([[1.0, 4.0, 3.0]]), tensor([[1.0, 0.5, 1.0]])
    assert hardest_keypoints(loss, weight, 0.6).item() == pytest.approx((0.5 * 4 + 3) / 1.5)


def test_nothing_labelled_costs_nothing_even_where_the_loss_is_no_number() -> None:
    loss = torch.full((2, 3), torch.nan, requires_grad=True)
    found = hardest_keypoints(loss, torch.zeros(2, 3), 0.5)
    found.backward()
    assert found.item() == 0
    assert loss.grad is not None
    assert bool((loss.grad == 0).all())


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match="share of the losses"):
        hardest_samples(torch.ones(3), share)
    with pytest.raises(ConfigurationError, match="share of the losses"):
        hardest_keypoints(torch.ones(3, 2), torch.ones(3, 2), share)
