"""Difference targets: the reference's values, hand-computed numbers, and laws of structural similarity."""

import math

import pytest
import torch
from golden_values import Goldens
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.images.differences import (
    absolute_difference,
    difference_target,
    gaussian_window,
    raw_difference,
    ssim_difference,
)

C1, C2 = 0.01**2, 0.03**2
seeds = st.integers(0, 10_000)


def frames(seed: int, *, size: int = 14, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Two unrelated images in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    pair = torch.rand(2, 1, 3, size, size, generator=generator, dtype=dtype)
    return pair[0], pair[1]


def stripes(size: int = 9) -> Tensor:
    """Columns 0, 1, 0, 1 ... of a grey image."""
    return (torch.arange(size) % 2).float().expand(1, 3, size, size)


def test_reference_values(goldens: Goldens) -> None:
    golden = goldens("ssim_difference_mouse")
    images = torch.from_numpy(golden["frames_u8"]).permute(0, 3, 1, 2).float() / 255
    wanted = torch.from_numpy(golden["target"])
    found = ssim_difference(images[:1], images[1:], luminance=False, blur_sigma=1.0)[0, 0]
    # The reference's own rounding (it un-normalises its frames, then variances cancel) is 5e-4.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    assert (found - wanted).abs().mean() < 1e-4
    assert found.max() == pytest.approx(float(golden["target_minmax"][1]), rel=1e-4)
    exact = ssim_difference(images[:1].double(), images[1:].double(), luminance=False, blur_sigma=1.0)[0, 0]
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=5e-5)


def test_window_by_hand() -> None:
    window = gaussian_window(3, 1.5, like=torch.zeros(1, dtype=torch.float64))
    side = math.exp(-1 / 4.5)
    expected = [side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side)]
    torch.testing.assert_close(window, torch.tensor(expected, dtype=torch.float64))


def test_flat_images_differ_by_their_luminance() -> None:
    dark, bright = torch.full((1, 3, 5, 5), 0.2), torch.full((1, 3, 5, 5), 0.6)
    expected = 1 - (2 * 0.2 * 0.6 + C1) / (0.2**2 + 0.6**2 + C1)  # 0.39990
    torch.testing.assert_close(ssim_difference(dark, bright), torch.full((1, 1, 5, 5), expected))
    # Without the luminance term the reference sees no difference at all.
    without = ssim_difference(dark, bright, luminance=False)
    torch.testing.assert_close(without, torch.zeros(1, 1, 5, 5), rtol=0, atol=1e-4)


def test_stripes_against_grey_by_hand() -> None:
    """A window with weight p at its centre has the variance p (1 - p); the covariance with grey is 0."""
    centre = 1 / (1 + 2 * math.exp(-1 / 4.5))
    expected = 1 - C2 / (centre * (1 - centre) + C2)  # 0.99621
    found = ssim_difference(stripes(), torch.full((1, 3, 9, 9), 0.5), luminance=False, window=3)
    assert found[0, 0, 4, 4].item() == pytest.approx(expected, abs=1e-5)


def test_inverted_stripes_reach_almost_two() -> None:
    """Covariance minus the variance: similarity (-2 v + C2) / (2 v + C2)."""
    centre = 1 / (1 + 2 * math.exp(-1 / 4.5))
    v = centre * (1 - centre)
    found = ssim_difference(stripes(), 1 - stripes(), luminance=False, window=3)
    assert found[0, 0, 4, 4].item() == pytest.approx(1 - (-2 * v + C2) / (2 * v + C2), abs=1e-5)


@settings(max_examples=15)
@given(seeds, st.booleans(), st.sampled_from([None, 1.0]))
def test_identical_frames_do_not_differ(seed: int, luminance: bool, blur: float | None) -> None:
    frame, _ = frames(seed)
    found = ssim_difference(frame, frame, luminance=luminance, blur_sigma=blur)
    torch.testing.assert_close(found, torch.zeros(1, 1, 14, 14), rtol=0, atol=1e-5)


@settings(max_examples=15)
@given(seeds, st.booleans())
def test_symmetric_and_in_range(seed: int, luminance: bool) -> None:
    frame, future = frames(seed, dtype=torch.float64)
    there = ssim_difference(frame, future, luminance=luminance)
    back = ssim_difference(future, frame, luminance=luminance)
    torch.testing.assert_close(there, back)
    assert there.min() >= -1e-9
    assert there.max() <= 2 + 1e-9
    assert there.max() > 0.5  # unrelated images do differ


@settings(max_examples=10)
@given(seeds, st.integers(1, 3))
def test_turns_with_the_images(seed: int, turns: int) -> None:
    frame, future = frames(seed, dtype=torch.float64)
    upright = ssim_difference(frame, future)
    turned = ssim_difference(torch.rot90(frame, turns, (2, 3)), torch.rot90(future, turns, (2, 3)))
    torch.testing.assert_close(torch.rot90(upright, turns, (2, 3)), turned)


def test_only_the_neighbourhood_of_a_change_differs() -> None:
    frame, _ = frames(0, size=32, dtype=torch.float64)
    future = frame.clone()
    future[..., 16, 16] = 1 - future[..., 16, 16]
    found = ssim_difference(frame, future)[0, 0]
    reach = 11 // 2
    changed = found.abs() > 1e-9
    rows, columns = torch.where(changed)
    assert changed[16, 16]
    assert (int(rows.min()), int(rows.max())) == (16 - reach, 16 + reach)
    assert (int(columns.min()), int(columns.max())) == (16 - reach, 16 + reach)


def test_gradients_are_those_of_the_formula() -> None:
    frame, future = (image[..., :6, :6].clone().requires_grad_() for image in frames(1, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x, y: ssim_difference(x, y, window=3), (frame, future))


def test_pixel_differences_by_hand() -> None:
    frame = torch.tensor([0.2, 0.9]).view(1, 1, 1, 2)
    future = torch.tensor([0.5, 0.4]).view(1, 1, 1, 2)
    torch.testing.assert_close(raw_difference(frame, future).flatten(), torch.tensor([0.3, -0.5]))
    torch.testing.assert_close(absolute_difference(frame, future).flatten(), torch.tensor([0.3, 0.5]))


@given(seeds)
def test_pixel_differences_turn_round(seed: int) -> None:
    frame, future = frames(seed)
    assert torch.equal(raw_difference(frame, future), -raw_difference(future, frame))
    assert torch.equal(absolute_difference(frame, future), absolute_difference(future, frame))
    assert torch.equal(raw_difference(frame, future).abs(), absolute_difference(frame, future))


def test_targets_by_name() -> None:
    frame, future = frames(0)
    ssim = difference_target("ssim", frame, future)
    assert ssim.shape == frame.shape
    assert torch.equal(ssim[:, 0], ssim_difference(frame, future)[:, 0])  # luminance, no blur: the paper's
    assert torch.equal(ssim[:, 0], ssim[:, 2])
    assert torch.equal(difference_target("absolute", frame, future), (future - frame).abs())
    assert torch.equal(difference_target("raw", frame, future), future - frame)
    assert torch.equal(difference_target("image", frame, future), future)


def test_unknown_target_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"absolut.*ssim, absolute, raw, image"):
        difference_target("absolut", *frames(0))  # type: ignore[arg-type]


def test_frames_of_two_sizes_are_refused() -> None:
    with pytest.raises(RuntimeError):
        ssim_difference(torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 12, 13))
