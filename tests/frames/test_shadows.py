"""Shadow removal: shadows are removed and animals kept, as far as each of the three ways can distinguish them."""

import pytest
import torch
import torch.nn.functional as F

from lightning_kp.frames.shadows import (
    bitwise_and,
    equalise_light,
    is_in_hsv_range,
    is_object_by_hsv,
    is_object_by_ssim,
)

ANIMAL, SHADOW = (slice(8, 20), slice(8, 20)), (slice(28, 50), slice(28, 50))


@pytest.fixture
def scene():
    """Grey-brown bedding (3, 56, 56)."""
    coarse = torch.rand(1, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    texture = F.interpolate(coarse, (56, 56), mode="bicubic")[0].clamp(0, 1)
    return (0.45 + 0.15 * texture) * torch.tensor((1.0, 0.95, 0.87))[:, None, None]


@pytest.fixture
def frame(scene):
    """An orange animal with a pattern, and its shadow beside it: 60 % of the light."""
    frame = scene.clone()
    stripes = 0.75 + 0.25 * torch.sin(torch.arange(12) * 2.0)
    frame[:, *ANIMAL] = torch.tensor((0.9, 0.5, 0.2))[:, None, None] * stripes
    frame[:, *SHADOW] *= 0.6
    return frame[None]


def share(mask, where):
    return mask[0, 0, *where].float().mean().item()


def inside(where, margin=2):
    return tuple(slice(part.start + margin, part.stop - margin) for part in where)


# The outline of a sharp shadow is structure: half of a window and of a median more is lost on either side.
@pytest.mark.parametrize(("rule", "margin"), [(is_object_by_hsv, 0), (is_object_by_ssim, 5)])
def test_the_animal_is_kept_and_its_shadow_is_not(frame, scene, rule, margin):
    mask = rule(frame, scene)
    assert share(mask, inside(ANIMAL)) == 1
    assert share(mask, inside(SHADOW, margin)) == 0


def test_what_is_darker_than_any_shadow_is_an_animal(scene):
    frame = scene.clone()
    frame[:, *ANIMAL] *= 0.3
    assert share(is_object_by_hsv(frame[None], scene), inside(ANIMAL)) == 1
    assert share(is_object_by_hsv(frame[None], scene, darkest=0.2), inside(ANIMAL)) == 0


def test_noise_is_no_object(scene):
    noise = 0.015 * torch.randn(4, *scene.shape, generator=torch.Generator().manual_seed(1))
    assert not is_object_by_hsv(scene + noise, scene).any()


def test_structure_loses_the_plain_middle_of_a_plain_animal(scene):
    """What the report found (5.2): no structure on either side, no difference."""
    plain, frame = torch.full_like(scene, 0.5), torch.full_like(scene, 0.5)
    frame[:, 8:40, 8:40] = 0.9
    mask = is_object_by_ssim(frame[None], plain)
    assert mask[0, 0, 8, 20]
    assert not mask[0, 0, 20:28, 20:28].any()


def test_filters_give_the_shadow_the_light_of_the_scene(frame, scene):
    lit = equalise_light(frame, scene)
    middle = inside(SHADOW, 4)
    assert (lit[0, :, *middle].mean() / scene[:, *middle].mean()).item() == pytest.approx(1, abs=0.03)
    away = (slice(34, 48), slice(0, 14))
    assert torch.allclose(lit[0, :, *away], scene[:, *away], atol=0.02)


def test_filters_lift_dark_animals_too_but_only_so_far(scene):
    frame = scene.clone()
    frame[:, *ANIMAL] *= 0.2
    middle = inside(ANIMAL, 4)
    lit = equalise_light(frame[None], scene)[0, :, *middle].mean() / scene[:, *middle].mean()
    assert lit.item() == pytest.approx(0.4, abs=0.03)  # 0.2 / 0.5


def test_a_range_of_colours():
    red, blue, dark_red, grey = (
        torch.tensor(rgb)[:, None, None]
        for rgb in ((0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.2, 0, 0), (0.5,) * 3)
    )
    frame = torch.cat((red, blue, dark_red, grey), dim=2)[None]
    around_red = is_in_hsv_range(frame, torch.tensor((340.0, 0.3, 0.5)), torch.tensor((20.0, 1.0, 1.0)))
    assert around_red.flatten().tolist() == [True, False, False, False]
    blues = is_in_hsv_range(frame, torch.tensor((200.0, 0.3, 0.2)), torch.tensor((260.0, 1.0, 1.0)))
    assert blues.flatten().tolist() == [False, True, False, False]


def test_bitwise_and(frame, scene):
    mask = torch.zeros(1, 1, 56, 56, dtype=torch.bool)
    mask[..., *ANIMAL] = True
    black = bitwise_and(frame, mask, torch.zeros_like(scene))
    assert torch.equal(black[0, :, *ANIMAL], frame[0, :, *ANIMAL])
    assert torch.equal(black[0].amax(0) > 0, mask[0, 0])
    filled = bitwise_and(frame, mask, scene)
    assert torch.equal(filled[0, :, *SHADOW], scene[:, *SHADOW])
