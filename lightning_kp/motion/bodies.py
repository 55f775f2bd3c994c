"""Moving bodies of a frame: connected regions with their place, extent and grey value, and the division of merged ones.

Animals that touch share one region.  A mixture of one Gaussian for each, started where the animals are expected,
divides its pixels; the ellipse of an animal keeps its shape from frame to frame, so that the division does not turn.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.motion import foreground as fg
from lightning_kp.motion.regions import MIN_AREA_PX, clean_regions

Floats = NDArray[np.float64]

MIN_SHARE = 0.05
"""Regions smaller than this share of the frame's largest one are specks."""
DIVIDING_STEPS = 6
"""Iterations of the mixture of Gaussians."""
PIXEL_VARIANCE = 0.25
"""Added to variances in square pixels, so that a body of one row of pixels has an ellipse."""


class Body(NamedTuple):
    """A region that may be an animal, or the part of a merged region that is one.

    Attributes:
        area: Number of pixels.
        centre: (x, y) in pixels of the mask, (2,).
        covariance: Of the positions of its pixels, in square pixels, (2, 2).
        length: Longer side of its bounding box in pixels.
        grey: Mean grey value, 0 to 255.
        pixels: (x, y) of its pixels, (P, 2), uint16.
        greys: Their grey values, (P,), uint8.
    """

    area: float
    centre: Floats
    covariance: Floats
    length: float
    grey: float
    pixels: NDArray[np.uint16]
    greys: NDArray[np.uint8]


def find_bodies(mask: fg.Masks, image: fg.Images, background_edges: Floats, most: int) -> list[Body]:
    """Find the bodies of a mask (h, w), the largest first, at most ``most``; without limbs, specks and ghosts.

    ``image`` (h, w) is the frame in grey, ``background_edges`` (h, w) the edge strength of the background.  Each
    region is cleaned by itself, so that a large one does not make a small one a speck or a limb; a region that falls
    apart without its limbs gives several bodies.
    """
    bodies: list[Body] = []
    for region in clean_regions(
        mask, lambda window: fg.edge_strength(image[window]), background_edges, most, MIN_SHARE
    ):
        bodies += _bodies_of(region.mask, image[region.window], region.corner, region.least)
    return sorted(bodies, key=lambda body: -body.area)[:most]


def divide(body: Body, centres: Floats, covariances: Floats) -> list[Body]:
    """Divide a body among animals that are expected at ``centres`` (M, 2) with ``covariances`` (M, 2, 2).

    Returns M bodies, in this order; an animal that takes no pixel is left where it was expected, with area 0.
    """
    pixels = body.pixels.astype(np.float64)
    means, spreads = centres + (body.centre - centres.mean(axis=0)), covariances.copy()
    nearest = np.zeros(len(pixels), dtype=np.int64)
    for _ in range(DIVIDING_STEPS):
        distance = np.stack(
            [ellipse_distance(pixels, m, s) + _log_det(s) for m, s in zip(means, spreads, strict=True)]
        )
        nearest = distance.argmin(axis=0)
        for animal in range(len(means)):
            own = pixels[nearest == animal]
            if len(own) >= MIN_AREA_PX:
                means[animal], spreads[animal] = own.mean(axis=0), _covariance(own)
    return [_body(body.pixels[nearest == i], body.greys[nearest == i], means[i]) for i in range(len(means))]


def ellipse_distance(points: Floats, centre: Floats, covariance: Floats) -> Floats:
    """Squared Mahalanobis distance of points (..., 2) from a body with ``centre`` (2,) and ``covariance`` (2, 2)."""
    offset = points - centre
    return np.asarray(np.einsum("...i,ij,...j->...", offset, np.linalg.inv(covariance), offset))


def _bodies_of(mask: fg.Masks, image: fg.Images, corner: tuple[int, int], least: float) -> list[Body]:
    """Bodies of a mask (h, w) whose first pixel is at ``corner`` (x, y) of the frame."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    bodies = []
    for number in range(1, count + 1):
        rows, columns = np.nonzero(labels == number)
        if len(rows) >= least or count == 1:
            pixels = np.stack((columns + corner[0], rows + corner[1]), axis=-1).astype(np.uint16)
            bodies.append(_body(pixels, image[rows, columns]))
    return bodies


def _body(pixels: NDArray[np.uint16], greys: NDArray[np.uint8], expected: Floats | None = None) -> Body:
    if not len(pixels):
        assert expected is not None  # only the parts of a divided body can be empty
        return Body(0.0, expected, np.eye(2) * PIXEL_VARIANCE, 0.0, np.nan, pixels, greys)
    place = pixels.astype(np.float64)
    length = float((place.max(axis=0) - place.min(axis=0)).max()) + 1
    return Body(
        float(len(pixels)), place.mean(axis=0), _covariance(place), length, float(greys.mean()), pixels, greys
    )


def _covariance(pixels: Floats) -> Floats:
    offset = pixels - pixels.mean(axis=0)
    return np.asarray(offset.T @ offset / len(pixels) + PIXEL_VARIANCE * np.eye(2))


def _log_det(covariance: Floats) -> float:
    return float(np.log(np.linalg.det(covariance)))
