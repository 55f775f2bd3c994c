"""Transplanting: the foreground moves rigidly, the background stays, and what cannot be parted is left alone."""

import torch
from torch import Tensor

from lightning_kp.geometry import pixel_centres
from lightning_kp.transplant import foreground, transplant

SIZE = 64


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
