"""Coordinates: the normalised grid, pixels and their edges, regions of a video frame, and exact rotations.

Points are (x, y) in [-1, 1], where -1 and +1 are the outer edges of the image and pixel ``i`` of
``W`` has its centre at ``(2 i + 1) / W - 1`` (``align_corners=False``).  The same number is then
right at every stride.  Pixel coordinates (names that end in ``_px``) count pixel centres: the
centre of the top left pixel is (0, 0).  Edges count borders between pixels: pixel ``i`` spans
``[i, i + 1]``.  No other module writes half a pixel as a number.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_kp.errors import ConfigurationError

Fit = Literal["pad", "crop", "squash"]
QUARTER_TURNS = (1, 2, 3)
Size = tuple[int, int] | Tensor | NDArray[Any]
"""(height, width) of all images, or an array (B, 2) with those of each image."""
Points = TypeVar("Points", Tensor, NDArray[Any])
Coordinate = TypeVar("Coordinate", float, Tensor, NDArray[Any])


@overload
def pixel_centres(size: int, *, like: Tensor) -> Tensor: ...


@overload
def pixel_centres(size: int) -> NDArray[np.float64]: ...


def pixel_centres(size: int, *, like: Tensor | None = None) -> Tensor | NDArray[np.float64]:
    """Normalised coordinates of ``size`` pixel centres: (size,), on the device and in the type of ``like``.

    Without ``like`` a NumPy array of float64.

    >>> pixel_centres(4).tolist()
    [-0.75, -0.25, 0.25, 0.75]
    """
    if like is None:
        return (2 * np.arange(size, dtype=np.float64) + 1) / size - 1
    step = torch.arange(size, dtype=like.dtype, device=like.device)
    return (2 * step + 1) / size - 1


def normalise(points_px: Points, size: Size) -> Points:
    """Pixels (..., 2) of images of ``size`` (height, width) -> normalised points (..., 2).

    With one size per image, (B, 2), the points are (B, ..., 2).  Tensors and NumPy arrays alike.

    >>> normalise(torch.tensor([[0.0, 0.0], [3.0, 1.0]]), (2, 4)).tolist()
    [[-0.75, -0.5], [0.75, 0.5]]
    """
    normalised: Points = (2 * points_px + 1) / _width_height(points_px, size) - 1
    return normalised


def to_pixels(points: Points, size: Size) -> Points:
    """Normalised points (..., 2) -> pixels (..., 2) of images of ``size`` (height, width); inverts :func:`normalise`.

    >>> to_pixels(torch.tensor([[-1.0, -1.0], [0.0, 0.0]]), (2, 4)).tolist()
    [[-0.5, -0.5], [1.5, 0.5]]
    """
    points_px: Points = ((points + 1) * _width_height(points, size) - 1) / 2
    return points_px


def _width_height(points: Points, size: Size) -> Points:
    """Width and height (2,), or (B, 1, ..., 2) of each image, in the type of ``points`` (B, ..., 2)."""
    pairs: Any = (size[1], size[0]) if isinstance(size, tuple) else size
    if isinstance(points, Tensor):
        extent = torch.as_tensor(pairs, dtype=points.dtype, device=points.device)
        extent = extent if isinstance(size, tuple) else extent.flip(-1)
    else:
        extent = np.asarray(pairs, dtype=np.result_type(points, np.float32))
        extent = extent if isinstance(size, tuple) else extent[..., ::-1]
    return extent.reshape(len(extent), *(1,) * (points.ndim - 2), 2) if extent.ndim == 2 else extent


def to_edges(centres_px: Coordinate) -> Coordinate:
    """Pixel coordinates that count centres -> the same positions counted from the outer edge of the first pixel.

    >>> to_edges(0.0)
    0.5
    """
    return centres_px + 0.5


def from_edges(edges_px: Coordinate) -> Coordinate:
    """Positions counted from the outer edge of the first pixel -> pixel coordinates that count centres.

    >>> from_edges(np.array([0, 640])).tolist()  # the two borders of an image that is 640 px wide
    [-0.5, 639.5]
    """
    return edges_px - 0.5


def rotate_image(image: Tensor, quarter_turns: int) -> Tensor:
    """Rotate square images (..., H, W) counter-clockwise by ``quarter_turns`` times 90 degrees, without resampling.

    Raises ConfigurationError where H and W differ.

    >>> rotate_image(torch.tensor([[1, 2], [3, 4]]), 1).tolist()
    [[2, 4], [1, 3]]
    """
    if image.shape[-1] != image.shape[-2]:
        raise ConfigurationError(
            f"Quarter turns need square images, got {image.shape[-2]}x{image.shape[-1]}.",
            remedy="Set the datamodule's `size` to one number.",
        )
    return torch.rot90(image, quarter_turns, dims=(-2, -1))


def rotate_points(points: Tensor, quarter_turns: int) -> Tensor:
    """Normalised points (..., 2) of an image -> where they lie after :func:`rotate_image` by ``quarter_turns``.

    With y pointing down, a counter-clockwise quarter turn maps (x, y) to (y, -x).

    >>> rotate_points(torch.tensor([0.5, -0.25]), 1).tolist()
    [-0.25, -0.5]
    """
    x, y = points.unbind(-1)
    for _ in range(quarter_turns % 4):
        x, y = y, -x
    return torch.stack((x, y), dim=-1)


class Region(NamedTuple):
    """The rectangle of the original frame that a network image shows, as edges in pixels.

    A padded image shows a region larger than the frame, a cropped one a smaller region; nothing else
    is needed to map points back.

    >>> Region(100, 50, 300, 250).to_original_px(torch.tensor([-1.0, 0.0])).tolist()
    [99.5, 149.5]
    """

    left: float
    top: float
    right: float
    bottom: float

    def to_original_px(self, points: Tensor) -> Tensor:
        """Normalised points (..., 2) of the network image -> pixels (..., 2) of the original frame."""
        origin = points.new_tensor((self.left, self.top))
        extent = points.new_tensor((self.right - self.left, self.bottom - self.top))
        return from_edges(origin + (points + 1) / 2 * extent)

    def from_original_px(self, points_px: Tensor) -> Tensor:
        """Pixels (..., 2) of the original frame -> normalised points (..., 2) of the network image."""
        origin = points_px.new_tensor((self.left, self.top))
        extent = points_px.new_tensor((self.right - self.left, self.bottom - self.top))
        return (to_edges(points_px) - origin) / extent * 2 - 1


class Placement(NamedTuple):
    """How one frame becomes a square of ``size`` pixels: crop, resize, then paste into the square.

    ``box`` is (left, top, right, bottom) in whole original pixels (edges); the resized content has
    ``content`` = (height, width) pixels and its top left corner at ``offset`` = (row, column).
    """

    size: int
    box: tuple[int, int, int, int]
    content: tuple[int, int]
    offset: tuple[int, int]

    @property
    def inside(self) -> tuple[int, int, int, int]:
        """The part of the square that is not padding: (left, top, right, bottom), edges in pixels of the square."""
        (top, left), (height, width) = self.offset, self.content
        return left, top, left + width, top + height

    @property
    def region(self) -> Region:
        """The exact region shown, which takes the rounding of the resized content into account."""
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

    ``pad`` keeps the aspect ratio and shows everything, ``crop`` keeps it and cuts off both ends of the longer
    side, ``squash`` gives it up as the reference code of B-KinD does.  ``box`` (left, top, right, bottom in
    original pixels) is cut out first and is clipped to the frame.  Raises ConfigurationError for a box outside it.

    >>> place((240, 320), 64).content  # height and width of the resized frame; 8 rows of padding above and below
    (48, 64)
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
    """A context without autocast on the device of ``like``; a null context where autocast is off, for ONNX graphs."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def at_least_float32(values: Tensor) -> Tensor:
    """Convert float16 and bfloat16 values (any shape) to float32; return all others unchanged."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
