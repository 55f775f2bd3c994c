"""Drawing keypoints on images: colours that are safe for colour-blind people, anti-aliased markers, legends.

Images are uint8 (H, W, 3), RGB; points are in pixels with the centre of the top left pixel at (0, 0).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_kp.errors import DataError
from lightning_kp.images.files import Image

# Okabe & Ito 2008, with grey (Tol 2021) instead of black, which is invisible on dark videos
PALETTE = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167), (187, 187, 187),
)  # fmt: skip
SHAPES = ("disc", "square", "diamond", "ring")
OUTLINES = ((20, 20, 20), (255, 255, 255), (255, 0, 255), (0, 255, 255))
"""Colours of the outlines, one per animal in turn."""
MIN_OPACITY = 0.15
"""Opacity of a present keypoint whose confidence is near 0."""


def colour(keypoint: int) -> tuple[int, int, int]:
    """RGB colour of a keypoint, the same in every image; colours repeat after 8 keypoints, with the next shape."""
    return PALETTE[keypoint % len(PALETTE)]


def shape(keypoint: int) -> str:
    """Marker shape of a keypoint: disc for the first 8, then square, diamond and ring."""
    return SHAPES[keypoint // len(PALETTE) % len(SHAPES)]


def opacity(confidence: ArrayLike, full: float = 1.0) -> NDArray[np.float64]:
    """Confidence (...) -> opacity (...) in [0, 1]: 1 at ``full`` and above, MIN_OPACITY near 0, and 0 at 0 or NaN.

    >>> opacity([0.0, 0.5, 1.0]).round(3).tolist()
    [0.0, 0.575, 1.0]
    """
    given = np.nan_to_num(np.asarray(confidence, np.float64))
    return np.where(given > 0, MIN_OPACITY + (1 - MIN_OPACITY) * np.clip(given / full, 0, 1), 0)


def default_radius(height: int, width: int) -> float:
    """Radius in pixels of a marker that is visible without covering the animal (ours)."""
    return max(2.5, 0.008 * max(height, width))


def draw_keypoints(
    image: Image,
    points_px: ArrayLike,
    confidence: ArrayLike | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    *,
    radius: float | None = None,
    full_confidence: float = 1.0,
) -> Image:
    """Draw points (K, 2) or (I, K, 2) on a copy of ``image`` (H, W, 3).

    Points that are NaN or have confidence 0 are not drawn.  Confidence (K,) or (I, K) sets the opacity, which
    is 1 at ``full_confidence`` and above.  ``colours`` has one RGB colour per keypoint; the default is
    :func:`colour`.  Outlines distinguish the animals.  Raises DataError for shapes that do not match.
    """
    points = np.asarray(points_px, np.float64)
    points = points[None] if points.ndim == 2 else points
    given = np.ones(points.shape[:2]) if confidence is None else np.asarray(confidence)
    given = given[None] if given.ndim == 1 else given
    if points.shape != (*given.shape, 2):
        raise DataError(f"Points {points.shape} need confidence {points.shape[:-1]}, not {given.shape}.")
    canvas = np.array(image)
    markers = Markers.of(points.shape[1], radius or default_radius(image.shape[0], image.shape[1]), colours)
    markers.draw(canvas, points, opacity(given, full_confidence))
    return canvas


@dataclass(frozen=True)
class Markers:
    """Appearance of each of K keypoints, reused for every frame of a video.

    ``colours`` (K, 3), RGB in [0, 255]; ``shapes`` (K); ``radius`` in pixels.
    """

    colours: NDArray[np.float32]
    shapes: tuple[str, ...]
    radius: float

    @classmethod
    def of(
        cls, keypoints: int, radius: float, colours: Sequence[tuple[int, int, int]] | None = None
    ) -> "Markers":
        """Create markers; ``colours`` (K, 3) replaces the default colours and makes all markers discs.

        Raises DataError for fewer colours than keypoints.
        """
        chosen = [colour(k) for k in range(keypoints)] if colours is None else colours
        if len(chosen) < keypoints:
            raise DataError(f"{keypoints} keypoints need as many colours, not {len(chosen)}.")
        shapes = tuple(shape(k) for k in range(keypoints)) if colours is None else ("disc",) * keypoints
        return cls(np.asarray(chosen, np.float32), shapes, radius)

    def draw(self, canvas: Image, points_px: NDArray[Any], opacities: NDArray[Any]) -> None:
        """Draw points (I, K, 2) with opacity (I, K) in [0, 1] on ``canvas`` (H, W, 3), in place."""
        reach = math.ceil(1.3 * (self.radius + 1.5))  # the corners of a diamond
        height, width = canvas.shape[:2]
        inside = (points_px > -reach) & (points_px < np.array([width, height]) + reach)
        animals, keypoints = np.nonzero(inside.all(-1) & (opacities > 0))
        if not len(keypoints):
            return
        centres = points_px[animals, keypoints]
        corners = np.floor(centres).astype(int) - reach
        fill, whole = self._coverage(centres - corners, keypoints, 2 * reach + 2)
        outlines = np.asarray(OUTLINES, np.float32)[animals % len(OUTLINES)][:, None, None]
        fill = fill[..., None]
        ink = fill * self.colours[keypoints][:, None, None] + (1 - fill) * outlines
        cover = (whole * opacities[animals, keypoints, None, None])[..., None].astype(np.float32)
        for (x, y), colours, alpha in zip(corners.tolist(), ink, cover, strict=True):
            _blend(canvas, x, y, colours, alpha)

    def _coverage(
        self, offsets: NDArray[Any], keypoints: NDArray[Any], size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coverage (N, size, size) of each pixel by the fill, and by fill and outline together, of N markers."""
        steps = np.arange(size, dtype=np.float32)
        dx = np.abs(steps[None, None, :] - offsets[:, 0, None, None].astype(np.float32))
        dy = np.abs(steps[None, :, None] - offsets[:, 1, None, None].astype(np.float32))
        distance = np.hypot(dx, dy)
        names = [self.shapes[k] for k in keypoints]
        for name, metric in _METRICS.items():
            chosen = [i for i, other in enumerate(names) if other == name]
            if chosen:
                distance[chosen] = metric(dx[chosen], dy[chosen], self.radius)
        fill = np.clip(self.radius + 0.5 - distance, 0, 1, dtype=np.float32)
        return fill, np.clip(self.radius + 1.5 - distance, 0, 1, dtype=np.float32)


# Metrics whose ball of the marker's radius has the shape, with nearly the area of the disc.
_METRICS = {
    "square": lambda dx, dy, r: np.maximum(dx, dy) / 0.9,
    "diamond": lambda dx, dy, r: (dx + dy) / 1.3,
    "ring": lambda dx, dy, r: r * 0.55 + np.abs(np.hypot(dx, dy) - r * 0.75) * 1.3,
}


def _blend(canvas: Image, x: int, y: int, ink: NDArray[Any], alpha: NDArray[Any]) -> None:
    """Blend a patch (h, w, 3) with ``alpha`` (h, w, 1) onto the canvas, its top left pixel at (x, y); clip it there."""
    height, width = canvas.shape[:2]
    top, left = max(0, -y), max(0, -x)
    bottom, right = min(len(ink), height - y), min(len(ink), width - x)
    if bottom <= top or right <= left:
        return
    ink, alpha = ink[top:bottom, left:right], alpha[top:bottom, left:right]
    below = canvas[y + top : y + bottom, x + left : x + right]
    below[...] = below + alpha * (ink - below) + 0.5


def legend(names: Sequence[str], width: int, animals: Sequence[str] = (), *, text_px: int = 12) -> Image:
    """Draw a dark strip (h, width, 3) with the marker and name of each keypoint and the outline of each animal.

    Animals are listed only if there are at least two and at most as many as different outlines.
    """
    from PIL import Image as Pictures
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(text_px)
    row, radius = text_px + 8, text_px * 0.35
    entries = [*names, *(animals if 1 < len(animals) <= len(OUTLINES) else ())]
    measure = ImageDraw.Draw(Pictures.new("RGB", (1, 1)))
    cell = math.ceil(row + max(measure.textlength(name, font=font) for name in entries) + 4)
    columns = max(1, width // cell)
    corners = [(i % columns * cell, i // columns * row) for i in range(len(entries))]
    picture = Pictures.new("RGB", (width, -(-len(entries) // columns) * row), (70, 70, 70))
    draw = ImageDraw.Draw(picture)
    for name, (x, y) in zip(entries, corners, strict=True):
        draw.text((x + row - 2, y + row / 2), name, fill=(255, 255, 255), font=font, anchor="lm")
    strip: Image = np.array(picture)
    centres = np.array(corners, np.float64).reshape(-1, 2) + row / 2
    Markers.of(len(names), radius).draw(strip, centres[None, : len(names)], np.ones((1, len(names))))
    if len(entries) > len(names):
        others = centres[len(names) :, None]  # one marker for each animal
        Markers.of(1, radius, [(120, 120, 120)]).draw(strip, others, np.ones(others.shape[:2]))
    return strip


def caption(image: Image, text: str, *, text_px: int = 12) -> Image:
    """Write white text on a dark box in the top left corner of a copy of ``image`` (H, W, 3)."""
    from PIL import Image as Pictures
    from PIL import ImageDraw, ImageFont

    picture = Pictures.fromarray(image)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(text_px)
    draw.rectangle((0, 0, draw.textlength(text, font=font) + 6, text_px + 5), fill=(0, 0, 0))
    draw.text((3, 1), text, fill=(255, 255, 255), font=font)
    return np.array(picture)


def tile(images: Sequence[Image], columns: int, *, gap: int = 2) -> Image:
    """Arrange images (H, W, 3) of one size in rows of ``columns``, with white gaps.  Raises DataError for none."""
    if not images:
        raise DataError("There is no image to arrange.")
    height, width = images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
