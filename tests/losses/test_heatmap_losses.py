from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.anchor import AnchorOptions, anchor_pose
from lightning_kp.losses.focal import focal_loss
from lightning_kp.losses.heatmap_losses import (
    HeatmapLossName,
    HeatmapLossOptions,
    heatmap_loss,
)

NAMES: tuple[HeatmapLossName, ...] = get_args(HeatmapLossName)
NAME = pytest.mark.parametrize("name", NAMES)


def sample() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.zeros_like(logits)
    target[:, :, 2, 3], target[:, :, 2, 2] = 1.0, 0.3
    return logits, target, torch.ones(3, 4)


def per_pixel(name: HeatmapLossName, options: HeatmapLossOptions) -> Tensor:
    logits, target, _ = sample()
    modulation = AnchorOptions(options.gamma, options.delta, options.design, options.anchor, options.detach)
    return {
        "mse": (logits - target).square(),
        "bce": F.binary_cross_entropy_with_logits(logits, target, reduction="none"),
        "focal": focal_loss(logits, target, options.gamma, options.kappa),
        "anchor": anchor_pose(logits, target, modulation, options.floor),
        "ohkm": (logits - target).square(),
    }[name]


@NAME
def test_a_mean_over_pixels_and_counted_keypoints(name: HeatmapLossName) -> None:
    logits, target, weight = sample()
    weight[0, 1] = weight[2, 3] = 0
    options = HeatmapLossOptions(
        gamma=1.5, kappa=0.3, delta=0.1, design="both", detach=False, floor=0.4, hardest=1.0
    )
    expected = per_pixel(name, options).mean(dim=(-2, -1))[weight > 0].mean()
    torch.testing.assert_close(heatmap_loss(name, options)(logits, target, weight), expected)


def test_the_hardest_half_alone() -> None:
    logits, target, weight = sample()
    each = per_pixel("mse", HeatmapLossOptions()).mean(dim=(-2, -1))
    expected = each.topk(2, dim=1).values.mean()
    torch.testing.assert_close(heatmap_loss("ohkm")(logits, target, weight), expected)


@NAME
def test_what_has_no_weight_gives_no_gradient(name: HeatmapLossName) -> None:
    logits, target, weight = sample()
    weight[1] = 0
    logits.requires_grad_()
    heatmap_loss(name)(logits, target, weight).backward()
    assert logits.grad is not None
    assert bool((logits.grad[1] == 0).all())
    assert bool((logits.grad[0].abs().sum(dim=(-2, -1)) > 0).any())
    assert heatmap_loss(name)(logits, target, torch.zeros_like(weight)).item() == 0


@NAME
def test_half_precision_is_widened(name: HeatmapLossName) -> None:
    logits, target, weight = sample()
    found = heatmap_loss(name)(logits.to(torch.bfloat16), target.float(), weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, heatmap_loss(name)(logits.float(), target.float(), weight), rtol=0.02, atol=0
    )


@NAME
def test_twenty_steps_lower_it_and_the_peak_is_found(name: HeatmapLossName) -> None:
    _, target, weight = sample()
    outputs = torch.zeros_like(target, requires_grad=True)
    loss, optimiser = heatmap_loss(name), torch.optim.Adam([outputs], lr=0.3)
    first = loss(outputs, target, weight).item()
    for _ in range(20):
        optimiser.zero_grad()
        loss(outputs, target, weight).backward()
        optimiser.step()
    assert loss(outputs, target, weight).item() < 0.5 * first
    assert bool((outputs.detach().flatten(2).argmax(dim=-1) == 2 * 6 + 3).all())


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"called 'anchr'\. Did you mean anchor\?"):
        heatmap_loss("anchr")  # type: ignore[arg-type]


def test_impossible_options_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="share of the losses"):
        heatmap_loss("ohkm", HeatmapLossOptions(hardest=0))
