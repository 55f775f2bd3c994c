"""Windows, their borders, and in which order they are drawn."""

import numpy as np
import pytest
import torch

from lightning_kp.behaviour.windows import BalancedShuffle, WindowDataset, WindowSettings
from lightning_kp.errors import ConfigurationError


def table(first: int, frames: int) -> np.ndarray:
    """Two features that count frames, so that a mix-up shows."""
    return np.stack((np.arange(first, first + frames), -np.arange(first, first + frames)), 1).astype(
        np.float32
    )


def test_a_window_by_hand() -> None:
    """Every second frame around the middle one; beyond the recording's ends zeros, never the neighbour's frames."""
    labels = [np.arange(10) % 3, np.arange(8) % 3]
    data = WindowDataset([table(1, 10), table(101, 8)], labels, WindowSettings(2, 1, 2))
    assert len(data) == 18
    assert data[5].window[:, 0].tolist() == [2, 4, 6, 8]
    assert data[5].window[:, 1].tolist() == [-2, -4, -6, -8]
    assert data[0].window[:, 0].tolist() == [0, 0, 1, 3]
    assert data[9].window[:, 0].tolist() == [6, 8, 10, 0]
    assert data[10].window[:, 0].tolist() == [0, 0, 101, 103]
    assert data[17].window[:, 0].tolist() == [104, 106, 108, 0]
    assert [int(x) for x in data[12][1:]] == [2, 1, 2]


def test_a_window_without_past_or_future() -> None:
    labels = [np.zeros(4, np.int64)]
    assert WindowDataset([table(1, 4)], labels, WindowSettings(0, 0, 3))[2].window[:, 0].tolist() == [3]
    past = WindowDataset([table(1, 4)], labels, WindowSettings(2, 0, 1))
    assert past[0].window[:, 0].tolist() == [0, 0, 1]
    future = WindowDataset([table(1, 4)], labels, WindowSettings(0, 2, 1))
    assert future[3].window[:, 0].tolist() == [4, 0, 0]


def test_unlabelled_frames_are_not_served_unless_asked_for() -> None:
    labels = [np.array([-1, 0, 1, -1])]
    data = WindowDataset([table(1, 4)], labels, WindowSettings(0, 0, 1))
    assert data.index.tolist() == [1, 2]
    everything = WindowDataset([table(1, 4)], labels, WindowSettings(0, 0, 1), [np.arange(4)])
    assert everything.behaviour.tolist() == [-1, 0, 1, -1]


def test_impossible_windows() -> None:
    for values in ((-1, 0, 1), (0, -1, 1), (0, 0, 0)):
        with pytest.raises(ConfigurationError, match="stride is 1 or more"):
            WindowSettings(*values)


BEHAVIOUR = torch.tensor([0] * 900 + [1] * 90 + [3] * 10)


def counts(balance: float, epoch: int = 0) -> tuple[list[int], list[int]]:
    sampler = BalancedShuffle(BEHAVIOUR, 5, balance)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 1000
    return drawn, np.bincount(BEHAVIOUR.numpy()[drawn], minlength=4).tolist()


def test_balance_by_hand() -> None:
    """1 draws 333 of each; a half draws in proportion to the roots 30, 9.49 and 3.16."""
    assert counts(0.0)[1] == [900, 90, 0, 10]
    assert counts(1.0)[1] == pytest.approx([333, 333, 0, 333], abs=1)
    roots = np.sqrt([900, 90, 0, 10])
    assert counts(0.5)[1] == pytest.approx((1000 * roots / roots.sum()).tolist(), abs=1)


def test_without_balance_every_frame_comes_once() -> None:
    assert sorted(counts(0.0)[0]) == list(range(1000))


def test_rare_frames_come_equally_often() -> None:
    drawn, _ = counts(1.0)
    often = np.bincount(drawn, minlength=1000)
    assert set(often[990:].tolist()) <= {33, 34}
    assert set(often[:900].tolist()) <= {0, 1}


def test_the_order_follows_seed_and_epoch() -> None:
    for balance in (0.0, 0.7):
        assert counts(balance)[0] == counts(balance)[0]
        assert counts(balance)[0] != counts(balance, 1)[0]
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        BalancedShuffle(BEHAVIOUR, 0, 1.5)


def test_behaviours_are_mixed() -> None:
    order = torch.tensor(list(BalancedShuffle(BEHAVIOUR, 5, 1.0)))
    labels = BEHAVIOUR[order]
    assert all(len(labels[start : start + 100].unique()) == 3 for start in range(0, 1000, 100))
