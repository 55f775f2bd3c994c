"""Hiding other animals in the square of one animal, so that a network sees which one is meant.

Squares of animals that touch show both.  The pixels of the others are replaced by the background of the video: those
that lie nearer to another body's ellipse than to the own one's, with a soft edge.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.geometry import Placement
from lightning_kp.images.files import Image
from lightning_kp.motion.bodies import ellipse_distance
from lightning_kp.motion.boxes import Ellipse
from lightning_kp.motion.following import cut_background

REACH = 4.0
"""Standard deviations of a body's pixels from its centre to the end of its limbs; a filled ellipse ends at 2."""
SOFT_EDGE = 0.02
"""Standard deviation of the edge between hidden and shown pixels, in sides of the square."""


def hide_others(
    square: Image,
    placement: Placement,
    own: Ellipse,
    others: Sequence[Ellipse],
    background: Image,
    frame_size: tuple[int, int],
) -> Image:
    """Replace the pixels of other animals by the background.

    Args:
        square: Image (S, S, 3), uint8, as ``placement`` made it from a frame of ``frame_size`` (height, width).
        placement: How the frame became the square.
        own: The animal that the square is about.
        others: The other animals of the frame.
        background: What the whole frame shows without animals, (h, w, 3), uint8, at any size.
        frame_size: (height, width) of the frame in pixels.

    Returns:
        A new square, or ``square`` itself if no other animal is near.
    """
    near = [other for other in others if _is_near(other, placement)]
    if not near:
        return square
    places = _places(placement)
    to_own = _distance(places, own)
    hidden = np.zeros(square.shape[:2], dtype=bool)
    for other in near:
        to_other = _distance(places, other)
        hidden |= (to_other < to_own) & (to_other < REACH**2)
    if not hidden.any():
        return square
    weight = ndimage.gaussian_filter(hidden.astype(np.float32), SOFT_EDGE * placement.size)[..., None]
    scene = cut_background(background, frame_size, [placement.region], placement.size)[0]
    return np.asarray((weight * scene + (1 - weight) * square).round(), dtype=np.uint8)


def _is_near(body: Ellipse, placement: Placement) -> bool:
    """Whether a body may reach into a square."""
    region = placement.region
    reach_x, reach_y = (REACH * np.sqrt(variance) for variance in body.covariance[:2])
    x, y = body.centre
    return bool(
        region.left - reach_x < x < region.right + reach_x
        and region.top - reach_y < y < region.bottom + reach_y
    )


def _places(placement: Placement) -> NDArray[np.float64]:
    """Where the pixels of a square are in the frame, (S, S, 2), in pixels from the frame's edges."""
    left, top, right, bottom = placement.region
    step = (np.arange(placement.size) + 0.5) / placement.size
    x, y = np.meshgrid(left + step * (right - left), top + step * (bottom - top))
    return np.stack((x, y), axis=-1)


def _distance(places: NDArray[np.float64], body: Ellipse) -> NDArray[np.float64]:
    var_x, var_y, cov_xy = body.covariance
    return ellipse_distance(places, np.asarray(body.centre), np.asarray(((var_x, cov_xy), (cov_xy, var_y))))
