"""MultiTaskDiscovery: golden points, its tasks, their weights and views, and that training lowers each term."""

from typing import Any

import numpy as np
import pytest
import torch
from golden_values import Goldens
from torch import Tensor

from lightning_kp.batches import Images
from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import pixel_gaussians
from lightning_kp.methods import MultiTaskDiscovery
from lightning_kp.methods.multitask_discovery import TASKS, MultiTaskWeights
from lightning_kp.tasks import registry
from lightning_kp.tasks.task import Maps, Task


class Given(torch.nn.Module):
    """A network that answers with given logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize("beta", [0.5, 1, 5])
def test_golden_points_at_every_temperature(goldens: Goldens, beta: float) -> None:
    values = goldens("stills/concentration")
    method = MultiTaskDiscovery(keypoints=3, tasks=["concentration"], beta=beta)
    method.network = Given(torch.from_numpy(values["logits"]))  # type: ignore[assignment]
    points = method(torch.zeros(2, 3, 8, 8)).points[:, 0]
    np.testing.assert_allclose(points.numpy(), values[f"points_beta_{beta:g}"], rtol=1e-6, atol=1e-12)


def test_golden_blobs(goldens: Goldens) -> None:
    values = goldens("stills/concentration")
    for prefix, size, sigma in (("", (8, 8), float(values["sigma_px"])), ("rect_", (6, 10), 1.0)):
        points = torch.from_numpy(values[f"{prefix}points" if prefix else "points_beta_1"])
        blobs = pixel_gaussians(points, size, sigma)
        np.testing.assert_allclose(blobs.numpy(), values[f"{prefix}blobs"], rtol=1e-6, atol=1e-12)


def test_training_lowers_every_term() -> None:
    torch.manual_seed(0)
    method = MultiTaskDiscovery(keypoints=3)
    batch = Images(squares(6, side=16))
    optimizer = method.default_optimizer()
    first = losses(method, batch)
    for _ in range(10):
        optimizer.zero_grad()
        torch.stack(list(method.train().terms(batch).values())).sum().backward()
        optimizer.step()
    last = losses(method, batch)
    assert set(first) == set(TASKS)
    assert {name: last[name] < first[name] for name in TASKS} == dict.fromkeys(TASKS, True)


def losses(method: MultiTaskDiscovery, batch: Images) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(term) for name, term in method.eval().terms(batch).items()}


def squares(count: int, side: int) -> Tensor:
    """Images (count, 3, side, side) with a white square of 6 px at random places."""
    images = torch.zeros(count, 3, side, side)
    for image, (top, left) in zip(images, torch.randint(0, side - 6, (count, 2)).tolist(), strict=True):
        image[:, top : top + 6, left : left + 6] = 1
    return images


def test_a_term_of_weight_0_costs_nothing() -> None:
    method = MultiTaskDiscovery(keypoints=2, weights=MultiTaskWeights(middle_frame=0, game=0))
    seen: list[int] = []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert set(method.terms(Images(torch.rand(3, 3, 16, 16)))) == {"reconstruction", "concentration"}
    assert seen == [3]  # no warped images


def test_all_views_pass_through_the_network_at_once() -> None:
    method = MultiTaskDiscovery(keypoints=2, tasks=["middle_frame"])
    seen: list[int] = []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    method.terms(Images(torch.rand(3, 3, 16, 16)))
    assert seen == [9]


def test_a_task_sees_the_keypoints_of_its_own_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "known_tasks", lambda: {kind.name: kind for kind in (Mirror, Plain)})
    method = MultiTaskDiscovery(keypoints=2, tasks=["plain", "mirror"], extra_weights={"mirror": 0.5})
    images = torch.rand(3, 3, 8, 8)
    terms = method.eval().terms(Images(images))
    assert method.loss_weights == {"plain": 1, "mirror": 0.5}
    assert terms["plain"] == 0  # it asked for no view
    expected = (method.points(images) - method.points(images.flip(-1))).square().mean()
    torch.testing.assert_close(terms["mirror"], expected)


class Plain(Task):
    name = "plain"

    def __init__(self, keypoints: int) -> None:
        super().__init__()

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        return keypoints.sum() * 0 + len(maps.views)


class Mirror(Plain):
    name = "mirror"

    def extra_views(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images.flip(-1).unsqueeze(0)

    def loss(self, keypoints: Tensor, maps: Maps, images: Tensor, generator: torch.Generator) -> Tensor:
        return (keypoints - maps.views[0]).square().mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keypoints": 0}, "keypoints must be above 0, got 0"),
        ({"sigma_px": float("nan")}, "sigma_px must be above 0"),
        ({"extra_weights": {"game": 2.0}}, r"game.*Use --model\.weights\.game"),
        ({"tasks": ["gme"]}, r"Did you mean game\?"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MultiTaskDiscovery(**options)


def test_a_batch_that_is_smaller_than_the_game() -> None:
    method = MultiTaskDiscovery(keypoints=2, task_options={"game": {"images": 3}})
    batch = Images(torch.rand(2, 3, 16, 16))
    with pytest.raises(ConfigurationError, match="task game needs 3 images in a batch, but a batch has 2"):
        method.terms(batch)
    assert "game" not in method.eval().terms(batch)  # the last batch of a validation may be small


def test_images_that_cannot_be_halved_twice() -> None:
    with pytest.raises(ConfigurationError, match="at least 4 px, got 3x3"):
        MultiTaskDiscovery(keypoints=2)(torch.rand(1, 3, 3, 3))
