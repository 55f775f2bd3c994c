"""The referential game: golden losses, who stands in a line-up, and the size of the network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_values import Goldens
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.errors import ConfigurationError
from lightning_kp.metrics.classes import TopError
from lightning_kp.tasks.game import ReferentialGame, draw_line_up, game_network
from lightning_kp.tasks.task import Maps


@pytest.mark.parametrize("images", [2, 3, 5])
def test_golden_losses(goldens: Goldens, images: int) -> None:
    values = goldens("stills/referential_and_balances")
    scores = torch.from_numpy(values[f"scores{images}"]).requires_grad_()
    target = torch.from_numpy(values[f"target{images}"])
    each = F.multi_margin_loss(scores, target, reduction="none")
    np.testing.assert_allclose(each.detach().numpy(), values[f"loss{images}"], rtol=1e-6)
    F.multi_margin_loss(scores, target).backward()
    assert scores.grad is not None
    np.testing.assert_allclose(scores.grad.numpy(), values[f"gradient{images}"], atol=1e-12)
    error = TopError()
    error.update(scores.detach(), target)
    assert 100 - error.compute().item() == pytest.approx(100 * float(values[f"accuracy{images}"]))


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 10**6))
def test_a_line_up_holds_the_image_once_and_others_once(batch: int, images: int, seed: int) -> None:
    images = min(images, batch)
    rows, target = draw_line_up(batch, images, torch.Generator().manual_seed(seed))
    assert rows.shape == (batch, images)
    assert torch.equal(rows.gather(1, target.unsqueeze(1)).squeeze(1), torch.arange(batch))
    assert all(len(set(row)) == images for row in rows.tolist())


def test_places_are_drawn_evenly() -> None:
    _, target = draw_line_up(9000, 3, torch.Generator().manual_seed(0))
    assert ((target.bincount(minlength=3) / 9000 - 1 / 3).abs() < 0.02).all()


def test_parameters_of_table_4_7() -> None:
    convolutions = [(7 + 6, 64), (64, 128), (128, 32), (32, 4)]
    linear = [(4 * 28 * 28, 4096), (4096, 256), (256, 2)]
    expected = sum(9 * a * b + b for a, b in convolutions) + sum(a * b + b for a, b in linear)
    assert sum(each.numel() for each in game_network(7, 2).parameters()) == expected


def test_a_network_that_compares_map_and_image_wins() -> None:
    game = ReferentialGame(1).eval()
    maps = torch.rand(6, 1, 28, 28)
    images = maps.expand(6, 3, 28, 28)
    game.network = Compare()
    found = Maps(maps, maps, maps, 0.9, torch.zeros(0, 6, 1, 2))
    loss = game.loss(torch.zeros(6, 1, 2), found, images, torch.Generator().manual_seed(1))
    assert game.figures()["accuracy"] == 100
    assert loss == 0
    game.reset()
    game.network = Compare(-1)
    game.loss(torch.zeros(6, 1, 2), found, images, torch.Generator().manual_seed(1))
    assert game.figures()["accuracy"] == 0


class Compare(torch.nn.Module):
    """Scores two images by how close they are to the map."""

    def __init__(self, sign: float = 1) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        away = (stacked[:, 1:].unflatten(1, (2, 3)) - stacked[:, :1].unsqueeze(1)).abs().mean(dim=(2, 3, 4))
        return -1000 * self.sign * away


def test_one_image_is_no_choice() -> None:
    with pytest.raises(ConfigurationError, match="at least 2 images to choose from, got 1"):
        ReferentialGame(3, images=1)
