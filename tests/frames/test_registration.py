"""Registration: the camera's motion is estimated and undone, whatever moves through the image."""

import pytest
import torch
import torch.nn.functional as F

from lightning_kp.errors import ConfigurationError
from lightning_kp.frames.registration import align, robust_difference, shift_between, warp


def scene(height=64, width=64, seed=0):
    """A textured picture (3, H, W) without sharp edges."""
    coarse = torch.rand(1, 3, height // 6, width // 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]


def moved(image, matrix):
    """``image`` (3, H, W) so that its point p comes to lie at ``matrix`` p; borders repeated."""
    grid = F.affine_grid(torch.linalg.inv(matrix)[None, :2], [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]


def shift_px(x, y, size=(64, 64)):
    matrix = torch.eye(3)
    matrix[0, 2], matrix[1, 2] = 2 * x / size[1], 2 * y / size[0]
    return matrix


def test_whole_shifts_by_phase_correlation():
    still = scene()
    frames = torch.stack([torch.roll(still, (3, -7), (-2, -1)), torch.roll(still, (-4, 0), (-2, -1))])
    found = shift_between(frames.mean(1), still.mean(0)[None]) * 64 / 2
    assert found.tolist() == [[-7, 3], [0, -4]]


def test_a_large_dark_thing_does_not_outweigh_the_scene():
    still = scene()
    frame = torch.roll(still, (3, -5), (-2, -1))
    still[:, 10:34, 10:34] = 0
    frame[:, 30:54, 28:52] = 0
    assert (shift_between(frame.mean(0)[None], still.mean(0)[None]) * 32).tolist() == [[-5, 3]]


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_parts_of_a_pixel(size):
    still = scene(*size)
    wanted = torch.stack([shift_px(2.4, -5.3, size), shift_px(-0.5, 0.25, size), torch.eye(3)])
    frames = torch.stack([moved(still, matrix) for matrix in wanted])
    found = align(frames, still, "translation")
    pixels = torch.tensor((size[1] / 2, size[0] / 2))
    assert ((found - wanted)[:, :2, 2] * pixels).abs().max() < 0.15
    assert torch.equal(found[:, :2, :2], torch.eye(2).expand(3, 2, 2))


def test_turn_and_scale_of_a_picture_that_is_not_square():
    size, angle, scale = (48, 96), torch.tensor(0.04), 1.03
    still = scene(*size)
    turn = scale * torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    half = torch.diag(torch.tensor((size[1] / 2, size[0] / 2)))
    wanted = shift_px(2.0, 1.0, size)
    wanted[:2, :2] = torch.linalg.inv(half) @ turn @ half  # from pixels to half sides
    frame = moved(still, wanted)[None]
    corners = torch.tensor([[-0.8, -0.8, 1], [0.8, -0.8, 1], [0.8, 0.8, 1.0]]).T
    error = half @ ((align(frame, still, "similarity")[0] - wanted) @ corners)[:2]
    assert error.abs().max() < 0.5
    error = half @ ((align(frame, still, "translation")[0] - wanted) @ corners)[:2]
    assert error.abs().max() > 1.0  # which a shift alone cannot do


def test_animals_do_not_pull_the_alignment_with_them():
    still = scene()
    frame = moved(still, shift_px(3.3, 0.0))
    frame[:, 20:44, 30:54] = 0.05
    still[:, 20:44, 10:34] = 0.05  # 20 pixels further left
    found = align(frame[None], still, "translation")[0, :2, 2] * 32
    assert torch.allclose(found, torch.tensor((3.3, 0.0)), atol=0.3)


def test_no_motion_is_asked_for_or_found():
    still = scene()
    assert torch.equal(align(still[None].roll(3, -1), still, "none")[0], torch.eye(3))
    assert align(still[None][:0], still, "translation").shape == (0, 3, 3)


def test_an_unknown_motion_is_refused():
    with pytest.raises(ConfigurationError, match=r"no registration 'affine'.*none, translation, similarity"):
        align(scene()[None], scene(), "affine")


def test_a_frame_that_shows_something_else_keeps_its_place():
    other = torch.zeros(1, 3, 64, 64)
    other[:, :, 40:] = 1
    found = align(torch.cat((other, 1 - other)), torch.roll(other[0], 32, -2), "translation")
    assert (found[:, :2, 2].abs() < 0.5).all()


def test_small_pictures_serve_for_large_ones():
    still = scene(240, 240)
    wanted = shift_px(9.0, -4.0, (240, 240))
    found = align(moved(still, wanted)[None], still, "translation")[0]
    assert ((found - wanted)[:2, 2] * 120).abs().max() < 0.4  # of 240 pixels


def test_works_where_gradients_are_off():
    still = scene()
    with torch.inference_mode():
        found = align(moved(still, shift_px(2.0, 0.0))[None], still, "translation")
    assert found[0, 0, 2] * 32 == pytest.approx(2.0, abs=0.15)


def test_warp_brings_the_frame_onto_the_scene():
    still = scene()
    matrix = shift_px(4.0, -2.0)
    registered = warp(moved(still, matrix)[None], matrix[None], torch.zeros(3, 64, 64))[0]
    assert torch.allclose(registered[:, 8:-8, 8:-8], still[:, 8:-8, 8:-8], atol=1e-4)
    assert (registered[:, :2] == 0).all()  # rows that the frame did not show
    assert (registered[:, :, -4:] == 0).all()


def test_robust_difference_by_hand():
    loss = robust_difference(torch.tensor([0.0, 0.06, 1.0]), torch.zeros(3))
    assert loss.tolist() == pytest.approx([0.0, 0.5, 1 / (1 + 0.06**2)])


def test_a_frame_is_aligned_alike_in_any_company():
    still = scene()
    frames = torch.stack([moved(still, shift_px(x, -x / 3)) for x in (-4.2, 0.7, 3.1, 5.6)])
    together = align(frames, still, "translation")
    alone = torch.cat([align(frame[None], still, "translation") for frame in frames])
    assert (
        (together - alone)[:, :2, 2] * 32
    ).abs().max() < 0.02  # pixels: a batch ends where memory or video does
