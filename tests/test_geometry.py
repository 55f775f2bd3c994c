"""The coordinate convention: pixel centres, exact quarter turns, and the way back to the original frame."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import (
    Fit,
    Placement,
    Region,
    at_least_float32,
    from_edges,
    normalise,
    pixel_centres,
    place,
    rotate_image,
    rotate_points,
    to_edges,
    to_pixels,
)
from lightning_kp.heatmaps import expectation

FITS = st.sampled_from(["pad", "crop", "squash"])
SIDES = st.integers(1, 700)


def test_pixel_centres_by_hand() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert pixel_centres(4, like=like).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert pixel_centres(1, like=like).tolist() == [0.0]
    assert pixel_centres(2, like=like).dtype == torch.float64


def test_pixels_by_hand() -> None:
    # A 4 wide, 2 high image: the top left pixel's centre, its outer corner, and the bottom right centre.
    points_px = tensor([[0.0, 0.0], [-0.5, -0.5], [3.0, 1.0], [1.5, 0.5]])
    points = tensor([[-0.75, -0.5], [-1.0, -1.0], [0.75, 0.5], [0.0, 0.0]])
    torch.testing.assert_close(normalise(points_px, (2, 4)), points)
    torch.testing.assert_close(to_pixels(points, (2, 4)), points_px)


def test_numpy_pixels_by_hand() -> None:
    assert pixel_centres(4).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert pixel_centres(3).dtype == np.float64
    points_px, points = np.array([[0, 0], [3, 1]]), np.array([[-0.75, -0.5], [0.75, 0.5]])
    np.testing.assert_array_equal(normalise(points_px, (2, 4)), points)  # whole numbers of pixels, too
    np.testing.assert_array_equal(to_pixels(points, (2, 4)), points_px)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numpy_points_keep_their_type(kind: type) -> None:
    points = np.zeros((2, 2), kind)
    assert normalise(points, (3, 5)).dtype == to_pixels(points, (3, 5)).dtype == kind


def test_each_image_has_its_own_size() -> None:
    points = torch.zeros(2, 3, 1, 2, dtype=torch.float64)  # the middles of a 4x2 and of a 10x20 image
    sizes = tensor([[4, 2], [10, 20]])
    middles = tensor([[0.5, 1.5], [9.5, 4.5]], dtype=torch.float64)
    assert torch.equal(to_pixels(points, sizes), middles.view(2, 1, 1, 2).expand(2, 3, 1, 2))
    assert torch.equal(normalise(to_pixels(points, sizes), sizes), points)
    np.testing.assert_array_equal(to_pixels(points.numpy(), sizes.numpy()), to_pixels(points, sizes).numpy())
    np.testing.assert_array_equal(to_pixels(np.zeros((2, 2)), sizes.numpy()), middles.numpy())


@given(height=SIDES, width=SIDES, x=st.floats(-50, 800), y=st.floats(-50, 800))
def test_numpy_and_torch_agree(height: int, width: int, x: float, y: float) -> None:
    point = np.array([[x, y]])
    for convert in (normalise, to_pixels):
        np.testing.assert_array_equal(
            convert(point, (height, width)), convert(torch.from_numpy(point), (height, width)).numpy()
        )
    np.testing.assert_array_equal(
        pixel_centres(width), pixel_centres(width, like=torch.from_numpy(point)).numpy()
    )


def test_edges_by_hand() -> None:
    # A pixel 3 spans from 3 to 4; its centre is counted as 3.
    assert from_edges(3.5) == 3
    assert to_edges(3) == 3.5
    assert to_edges(tensor([-0.5, 639.5])).tolist() == [0, 640]
    assert from_edges(np.array([0, 640])).tolist() == [-0.5, 639.5]


def test_the_edges_of_an_image_are_at_one() -> None:
    corners = from_edges(tensor([[0.0, 0.0], [640.0, 480.0]]))
    assert normalise(corners, (480, 640)).tolist() == [[-1, -1], [1, 1]]


@given(height=SIDES, width=SIDES, x=st.floats(-50, 800), y=st.floats(-50, 800))
def test_pixels_there_and_back(height: int, width: int, x: float, y: float) -> None:
    point = tensor([x, y], dtype=torch.float64)
    torch.testing.assert_close(to_pixels(normalise(point, (height, width)), (height, width)), point)


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_one_number_is_right_at_every_stride(stride: int) -> None:
    """Making every pixel a block of pixels moves no centre of mass: there is no offset to remember."""
    heatmap = torch.rand(1, 2, 6, 9).double()
    heatmap = heatmap / heatmap.sum(dim=(-2, -1), keepdim=True)
    fine = heatmap.repeat_interleave(stride, dim=-2).repeat_interleave(stride, dim=-1) / stride**2
    torch.testing.assert_close(expectation(fine), expectation(heatmap))


def test_grid_sample_reads_the_pixel_that_a_point_names() -> None:
    image = torch.arange(15.0).view(1, 1, 3, 5)
    point = normalise(tensor([3.0, 1.0]), (3, 5)).view(1, 1, 1, 2)
    assert F.grid_sample(image, point, align_corners=False).item() == pytest.approx(8.0, abs=1e-5)


# Rotation


def test_rotate_image_is_counter_clockwise() -> None:
    image = tensor([[1, 2], [3, 4]])
    assert rotate_image(image, 1).tolist() == [[2, 4], [1, 3]]
    assert rotate_image(image, 2).tolist() == [[4, 3], [2, 1]]
    assert rotate_image(image, 3).tolist() == [[3, 1], [4, 2]]


def test_rotate_points_by_hand() -> None:
    # The right edge goes to the top (y = -1), the bottom edge to the right.
    points = tensor([[1.0, 0.0], [0.0, 1.0], [0.5, -0.25]])
    assert rotate_points(points, 1).tolist() == [[0.0, -1.0], [1.0, 0.0], [-0.25, -0.5]]


@given(turns=st.integers(-5, 9), row=st.integers(0, 6), column=st.integers(0, 6))
def test_points_follow_the_image(turns: int, row: int, column: int) -> None:
    heatmap = torch.zeros(1, 1, 7, 7, dtype=torch.float64)
    heatmap[..., row, column] = 1
    turned = expectation(rotate_image(heatmap, turns))
    torch.testing.assert_close(rotate_points(expectation(heatmap), turns), turned)


def test_four_quarter_turns_are_none() -> None:
    points = torch.rand(3, 2)
    assert rotate_points(rotate_points(points, 1), 3).equal(points)
    assert not rotate_points(points, 2).equal(points)


def test_only_squares_turn() -> None:
    with pytest.raises(ConfigurationError, match="got 4x6"):
        rotate_image(torch.zeros(4, 6), 1)


def test_rotation_agrees_with_the_reference(goldens) -> None:
    golden = goldens("rotation_loss")
    image = torch.from_numpy(golden["img_u8"]).permute(2, 0, 1)
    points = torch.from_numpy(np.stack((golden["u_x"], golden["u_y"]), axis=-1))
    for turns, name in ((1, "90"), (2, "180"), (3, "-90")):
        np.testing.assert_array_equal(
            rotate_image(image, turns).permute(1, 2, 0).numpy(), golden[f"img_rot_{name}"]
        )
        expected = np.stack((golden[f"equiv_x_{name}"], golden[f"equiv_y_{name}"]), axis=-1)
        np.testing.assert_allclose(rotate_points(points, turns).numpy(), expected, atol=1e-6)


# Placement


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        # A frame of 6 wide, 4 high becomes 12x12.
        ("pad", Placement(12, (0, 0, 6, 4), (8, 12), (2, 0))),
        ("crop", Placement(12, (1, 0, 5, 4), (12, 12), (0, 0))),
        ("squash", Placement(12, (0, 0, 6, 4), (12, 12), (0, 0))),
    ],
)
def test_place_by_hand(fit: Fit, expected: Placement) -> None:
    assert place((4, 6), 12, fit) == expected


def test_crop_is_in_the_middle_of_the_longer_side() -> None:
    assert place((9, 4), 8, "crop").box == (0, 2, 4, 6)  # 5 rows too many: 2 above, 3 below
    assert place((4, 9), 8, "crop").box == (2, 0, 6, 4)
    assert place((50, 50), 8, "crop", (10, 20, 14, 40)).box == (10, 28, 14, 32)


def test_region_by_hand() -> None:
    # Padded, one original pixel is two wide, and the two empty rows above show one pixel beyond the frame.
    region = place((4, 6), 12, "pad").region
    assert region == Region(0, -1, 6, 5)
    corners = tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    assert region.to_original_px(corners).tolist() == [[-0.5, -1.5], [5.5, 4.5], [2.5, 1.5]]
    assert place((4, 6), 12, "crop").region == Region(1, 0, 5, 4)
    assert place((4, 6), 12, "squash").region == Region(0, 0, 6, 4)
    # The box is 3 wide and 6 high; its content is 4 wide (offset 2), so a network pixel is 3/4 wide.
    assert place((20, 20), 8, "pad", (5, 7, 8, 13)).region == Region(3.5, 7, 9.5, 13)


def test_box_is_clipped_to_the_frame() -> None:
    assert place((10, 20), 8, "squash", (-5, 3, 99, 99)).box == (0, 3, 20, 10)
    with pytest.raises(ConfigurationError, match="holds no pixel of a 20x10 frame"):
        place((10, 20), 8, "pad", (25, 0, 30, 10))


def ramp(height: int, width: int) -> Tensor:
    """An image (1, 2, H, W) whose two channels are the x and y of each pixel."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return torch.stack((x, y)).unsqueeze(0)


@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(2, 40), fit=FITS, data=st.data())
def test_region_tells_where_each_pixel_came_from(
    height: int, width: int, size: int, fit: Fit, data: st.DataObject
) -> None:
    """Really resize an image that shows its own coordinates: every pixel must agree with the region."""
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    placement = place((height, width), size, fit, box)
    left, top, right, bottom = placement.box
    shown = F.interpolate(
        ramp(height, width)[..., top:bottom, left:right],
        placement.content,
        mode="bilinear",
        align_corners=False,
    )
    row, column = placement.offset
    rows, columns = placement.content
    assert row >= 0
    assert column >= 0
    assert row + rows <= size
    assert column + columns <= size
    grid = normalise(
        ramp(size, size)[0, :, row : row + rows, column : column + columns].permute(1, 2, 0), (size, size)
    )
    expected = placement.region.to_original_px(grid).permute(2, 0, 1)
    # Resizing repeats the border pixels.
    x = expected[0].clamp(left, right - 1)
    y = expected[1].clamp(top, bottom - 1)
    torch.testing.assert_close(shown[0], torch.stack((x, y)), atol=1e-6, rtol=1e-6)


@given(
    height=SIDES, width=SIDES, size=st.integers(1, 512), fit=FITS, point=st.tuples(*[st.floats(-1, 1)] * 2)
)
def test_region_there_and_back(
    height: int, width: int, size: int, fit: Fit, point: tuple[float, float]
) -> None:
    region = place((height, width), size, fit).region
    points = tensor(point, dtype=torch.float64)
    torch.testing.assert_close(
        region.from_original_px(region.to_original_px(points)), points, atol=1e-9, rtol=0
    )


@given(height=SIDES, width=SIDES, size=st.integers(8, 512))
def test_pad_keeps_the_aspect_ratio_to_half_a_pixel(height: int, width: int, size: int) -> None:
    rows, columns = place((height, width), size, "pad").content
    assert max(rows, columns) == size
    exact = size * min(height, width) / max(height, width)
    assert abs(min(rows, columns) - exact) <= 0.5 or min(rows, columns) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_sixteen_bits_are_widened(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == expected
