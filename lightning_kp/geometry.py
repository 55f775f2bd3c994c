"""Coordinates: the normalised grid, regions of a video frame, and exact rotations.

Points are (x, y) in [-1, 1], where -1 and +1 are the outer edges of the image and pixel ``i`` of
``W`` has its centre at ``(2 i + 1) / W - 1`` (``align_corners=False``).  The same number is then
right at every stride.  Pixel coordinates (names that end in ``_px``) count pixel centres: the
centre of the top left pixel is (0, 0).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_kp.errors import ConfigurationError

Fit = Literal["pad", "crop", "squash"]
QUARTER_TURNS = (1, 2, 3)


def pixel_centres(size: int, *, like: Tensor) -> Tensor:
    """Normalised coordinates of ``size`` pixel centres: (size,), on the device and type of ``like``."""
    step = torch.arange(size, dtype=like.dtype, device=like.device)
    return (2 * step + 1) / size - 1


def normalise(points_px: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels (..., 2) of an image of ``size`` (height, width) -> normalised points."""
    return (2 * points_px + 1) / _width_height(points_px, size) - 1


def to_pixels(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Normalised points (..., 2) -> pixels of an image of ``size`` (height, width)."""
    return ((points + 1) * _width_height(points, size) - 1) / 2


def _width_height(like: Tensor, size: tuple[int, int]) -> Tensor:
    return like.new_tensor((size[1], size[0]))


def rotate_image(image: Tensor, quarter_turns: int) -> Tensor:
    """Rotate square images (..., H, W) counter-clockwise by ``quarter_turns`` times 90 degrees, exactly."""
    if image.shape[-1] != image.shape[-2]:
        raise ConfigurationError(
            f"Quarter turns need square images, got {image.shape[-2]}x{image.shape[-1]}.",
            remedy="Set the datamodule's `size` to one number.",
        )
    return torch.rot90(image, quarter_turns, dims=(-2, -1))


def rotate_points(points: Tensor, quarter_turns: int) -> Tensor:
    """Where points (..., 2) of an image lie after :func:`rotate_image` by the same ``quarter_turns``.

    With y pointing down, a counter-clockwise quarter turn maps (x, y) to (y, -x).
    """
    x, y = points.unbind(-1)
    for _ in range(quarter_turns % 4):
        x, y = y, -x
    return torch.stack((x, y), dim=-1)


class Region(NamedTuple):
    """The rectangle of the original frame that a network image shows, as edges in pixels.

    Pixel ``i`` spans ``[i, i + 1]`` here.  A padded image shows a region larger than the frame, a
    cropped one a smaller region; nothing else has to be known to bring points back.
    """

    left: float
    top: float
    right: float
    bottom: float

    def to_original_px(self, points: Tensor) -> Tensor:
        """Normalised points (..., 2) of the network image -> pixels of the original frame."""
        origin = points.new_tensor((self.left, self.top))
        extent = points.new_tensor((self.right - self.left, self.bottom - self.top))
        return origin + (points + 1) / 2 * extent - 0.5

    def from_original_px(self, points_px: Tensor) -> Tensor:
        """Pixels (..., 2) of the original frame -> normalised points of the network image."""
        origin = points_px.new_tensor((self.left, self.top))
        extent = points_px.new_tensor((self.right - self.left, self.bottom - self.top))
        return (points_px + 0.5 - origin) / extent * 2 - 1


class Placement(NamedTuple):
    """How one frame becomes a square of ``size`` pixels: crop, resize, then put into the square.

    ``box`` is (left, top, right, bottom) in whole original pixels (edges); the resized content has
    ``content`` = (height, width) pixels and its top left corner at ``offset`` = (row, column).
    """

    size: int
    box: tuple[int, int, int, int]
    content: tuple[int, int]
    offset: tuple[int, int]

    @property
    def inside(self) -> tuple[int, int, int, int]:
        """Where the content is in the square: left, top, right, bottom, edges in its pixels."""
        (top, left), (height, width) = self.offset, self.content
        return left, top, left + width, top + height

    @property
    def region(self) -> Region:
        """The exact region shown, rounding of the resized content included."""
        left, top, right, bottom = self.box
        scale_x = (right - left) / self.content[1]
        scale_y = (bottom - top) / self.content[0]
        return Region(
            left - self.offset[1] * scale_x,
            top - self.offset[0] * scale_y,
            left + (self.size - self.offset[1]) * scale_x,
            top + (self.size - self.offset[0]) * scale_y,
        )


def place(
    frame_size: tuple[int, int],
    size: int,
    fit: Fit = "pad",
    box: tuple[int, int, int, int] | None = None,
) -> Placement:
    """Plan how a frame of ``frame_size`` (height, width) becomes a square of ``size`` pixels.

    ``pad`` keeps the aspect ratio and shows everything, ``crop`` keeps it and cuts the longer side
    in the middle, ``squash`` gives it up as the reference of B-KinD does.  ``box`` (left, top,
    right, bottom in original pixels) is cut out first and is clipped to the frame.
    """
    height, width = frame_size
    left, top, right, bottom = box if box is not None else (0, 0, width, height)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        raise ConfigurationError(
            f"The box {box} holds no pixel of a {width}x{height} frame.",
            remedy="Give left,top,right,bottom in pixels of the video.",
        )
    if fit == "crop":
        side = min(right - left, bottom - top)
        left += (right - left - side) // 2
        top += (bottom - top - side) // 2
        right, bottom = left + side, top + side
    content = (size, size)
    if fit == "pad":
        longest = max(right - left, bottom - top)
        content = (
            max(1, round((bottom - top) * size / longest)),
            max(1, round((right - left) * size / longest)),
        )
    offset = ((size - content[0]) // 2, (size - content[1]) // 2)
    return Placement(size, (left, top, right, bottom), content, offset)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of ``like``; none at all without autocast, for exported graphs."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def widened(values: Tensor) -> Tensor:
    """Values of 16 bits in 32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
