"""Augmentation of pairs: both frames alike, in range, and turned by the drawn angle."""

import pytest
import torch
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.images.augmentation import augment_labelled, augment_pair, foreground, transplant
from lightning_kp.warps import FreeTurn, turn_image, turn_points

SIZE = 64


def spot(x: float, y: float, size: int = 64) -> torch.Tensor:
    """One image (1, 3, S, S) with a soft spot at normalised (x, y)."""
    axis = pixel_centres(size, like=torch.zeros(()))
    blob = torch.exp(-((axis - x) ** 2).view(1, -1) / 0.02 - ((axis - y) ** 2).view(-1, 1) / 0.02)
    return blob.expand(1, 3, size, size).contiguous()


def centre(image: torch.Tensor) -> torch.Tensor:
    axis = pixel_centres(image.shape[-1], like=image)
    mass = image.mean(dim=1)
    mass = (mass - mass.flatten(1).median(dim=1).values.view(-1, 1, 1)).clamp_min(0)
    total = mass.sum(dim=(1, 2))
    return torch.stack(
        ((mass * axis).sum(dim=(1, 2)) / total, (mass * axis.view(-1, 1)).sum(dim=(1, 2)) / total), dim=-1
    )


@pytest.mark.parametrize("any_angle", [False, True])
def test_both_frames_are_turned_alike(any_angle: bool) -> None:
    frame, future = spot(0.4, 0.1), spot(0.1, -0.3)
    angles = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        first, second = augment_pair(frame, future, generator, any_angle=any_angle)
        points = torch.cat((centre(first), centre(second)))
        if points[0].norm() < points[1].norm():  # the later frame's spot is nearer to the centre
            points = points.flip(0)
        place = torch.tensor([0.4 + 0.1j, 0.1 - 0.3j])
        if abs(place[0]) < abs(place[1]):
            place = place.flip(0)
        turned = torch.view_as_complex(points.contiguous()) / place
        torch.testing.assert_close(turned.abs(), torch.ones(2), rtol=0, atol=0.05)
        torch.testing.assert_close(turned[0], turned[1], rtol=0, atol=0.05)
        quarters = turned[0].angle().item() * 2 / torch.pi
        angles.add(round(quarters * 45) if any_angle else round(quarters) % 4)
    assert len(angles) >= (9 if any_angle else 3)


def test_each_pair_has_its_own_angle_and_stays_in_range() -> None:
    frame = spot(0.4, 0.1).repeat(6, 1, 1, 1)
    turned, _ = augment_pair(frame, frame, torch.Generator().manual_seed(0), any_angle=True)
    assert turned.min() >= 0
    assert turned.max() <= 1
    assert len({tuple((point * 20).round().tolist()) for point in centre(turned)}) >= 5


def test_a_generator_fixes_everything() -> None:
    frame, future = torch.rand(2, 2, 3, 16, 16)
    draws = [
        augment_pair(frame, future, torch.Generator().manual_seed(7), any_angle=True)[0] for _ in range(2)
    ]
    assert torch.equal(*draws)


@pytest.mark.parametrize("sixteen", [torch.bfloat16, torch.float16])
def test_mixed_precision_changes_neither_images_nor_labels(sixteen: torch.dtype) -> None:
    """Loss terms run within the trainer's autocast, which would round the sampling grid by half a pixel."""
    image = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    points = torch.linspace(-0.9, 0.9, 24).view(4, 3, 2)
    video = torch.zeros(4, dtype=torch.long)

    def changed() -> list[torch.Tensor]:
        draw = torch.Generator().manual_seed
        turn = FreeTurn(torch.linspace(0.3, 3.0, 4))
        return [
            *augment_labelled(image, points, draw(1), 180.0), *augment_pair(image, image, draw(2), any_angle=True),
            turn_image(image, turn), turn_points(points, turn), *transplant(image, image.flip(0), video, draw(3)),
        ]  # fmt: skip

    exact = changed()
    with torch.autocast("cpu", sixteen):
        rounded = changed()
    for one, other in zip(exact, rounded, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=0)


def scene(positions: list[tuple[float, float]], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (N, 3, S, S) of a dark spot before a textured background, and that background (3, S, S)."""
    texture = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 0.2 + 0.6
    axis = pixel_centres(SIZE, like=texture)
    spots = [((axis - x) ** 2).view(1, -1) + ((axis - y) ** 2).view(-1, 1) < 0.02 for x, y in positions]
    return torch.stack([torch.where(spot, 0.1, texture) for spot in spots]), texture


def pairs() -> tuple[Tensor, Tensor, Tensor]:
    now = [(-0.6, -0.6), (0.6, -0.5), (0.0, 0.0), (-0.5, 0.6), (0.6, 0.6)]
    frame, texture = scene(now)
    future, _ = scene([(x + 0.1, y) for x, y in now])
    return frame, future, texture


def spots(image: Tensor, background: Tensor) -> Tensor:
    weight = foreground(image, background).squeeze(1)
    axis = pixel_centres(SIZE, like=weight)
    total = weight.sum(dim=(1, 2))
    return torch.stack(
        ((weight * axis).sum(dim=(1, 2)) / total, (weight * axis.view(-1, 1)).sum(dim=(1, 2)) / total), dim=-1
    )


def test_the_foreground_goes_elsewhere_and_keeps_its_motion() -> None:
    frame, future, texture = pairs()
    moved, moved_future = transplant(frame, future, torch.zeros(5), torch.Generator().manual_seed(3))
    before, after = spots(frame, texture), spots(moved, texture)
    assert ((after - before).norm(dim=-1) > 0.1).sum() >= 4
    steps = spots(moved_future, texture) - after
    torch.testing.assert_close(steps.norm(dim=-1), torch.full((5,), 0.1), rtol=0, atol=0.02)
    headings = torch.atan2(steps[:, 1], steps[:, 0])
    assert headings.std() > 0.5  # each pair is turned by an angle of its own


def test_the_background_stays_where_nothing_moved() -> None:
    frame, future, texture = pairs()
    moved, _ = transplant(frame, future, torch.zeros(5), torch.Generator().manual_seed(3))
    still = foreground(moved, texture) == 0
    assert still.float().mean() > 0.8
    difference = ((moved - texture).abs() * still).amax()
    assert difference < 0.06


def test_the_old_place_is_empty() -> None:
    frame, future, texture = pairs()
    moved, _ = transplant(frame, future, torch.zeros(5), torch.Generator().manual_seed(3))
    places = spots(frame, texture)
    far = (spots(moved, texture) - places).norm(dim=-1) > 0.4
    assert far.any()
    column, row = ((places + 1) / 2 * SIZE).long().unbind(dim=-1)
    for i in torch.where(far)[0].tolist():
        assert (moved[i, :, row[i], column[i]] - texture[:, row[i], column[i]]).abs().max() < 0.06


def test_share() -> None:
    frame, future, _ = pairs()
    same, same_future = transplant(frame, future, torch.zeros(5), torch.Generator().manual_seed(0), share=0.0)
    assert torch.equal(same, frame)
    assert torch.equal(same_future, future)


def test_videos_with_too_few_pairs_stay_as_they_are() -> None:
    frame, future, _ = pairs()
    video = torch.tensor([0, 0, 0, 1, 1])
    moved, _ = transplant(frame, future, video, torch.Generator().manual_seed(0))
    assert torch.equal(moved[3:], frame[3:])
    assert not torch.equal(moved[:3], frame[:3])


def test_a_scene_without_motion_stays() -> None:
    frame, _, _ = pairs()
    still = frame[:1].repeat(4, 1, 1, 1)
    moved, _ = transplant(still, still, torch.zeros(4), torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved, still)
