"""ActionLSTM: order in time counts, windows vote, and what it refuses."""

from typing import Any

import pytest
import torch

from lightning_kp.batches import LabelledWindows
from lightning_kp.errors import ConfigurationError
from lightning_kp.methods import ActionLSTM
from lightning_kp.metrics.classes import VotedError


def rising_and_falling(count: int) -> LabelledWindows:
    """Windows (count, 8, 1) with the same values in both orders: only time tells the classes apart."""
    label = torch.arange(count) % 2
    ramp = torch.linspace(-1, 1, 8).expand(count, 8)
    window = torch.where(label[:, None] == 1, ramp, ramp.flip(1)).unsqueeze(-1)
    return LabelledWindows(window, label, label, label)


def test_it_learns_the_order_of_poses() -> None:
    torch.manual_seed(0)
    method = ActionLSTM(features=1, classes=["down", "up"], hidden=8, layers=1, dropout=0)
    batch = rising_and_falling(16)
    optimizer = torch.optim.Adam(method.parameters(), lr=0.03)
    for _ in range(40):
        optimizer.zero_grad()
        loss = method.terms(batch)["classification"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert torch.equal(method.eval()(batch.window).argmax(dim=1), batch.behaviour)


def test_votes_by_hand() -> None:
    metric = VotedError()
    probability = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.45, 0.55], [0.8, 0.2]])
    label, group = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([3, 3, 5, 5, 5])
    for rows in (slice(0, 1), slice(1, 4), slice(4, 5)):  # members of a group in different batches
        metric.update(probability[rows], label[rows], group[rows])
    # Group 3 sums to (1.3, 0.7): right. Group 5 sums to (1.55, 1.45): wrong, though two of three windows are right.
    assert metric.compute().item() == 50
    assert VotedError().compute().isnan()


@pytest.mark.parametrize("options", [{"hidden": 0}, {"layers": 0}, {"dropout": 1.0}])
def test_what_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="hidden and layers of at least 1 and a dropout"):
        ActionLSTM(features=2, classes=["a", "b"], **options)
