"""Stretches of a video in which no animal is found, and what large thing is there instead."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.motion import foreground as fg
from lightning_kp.motion.boxes import stretches
from lightning_kp.motion.one_animal import candidate_regions, choose_path
from lightning_kp.motion.regions import MovingRegions

LEAST_S = 1.0  # seconds; an animal is unseen for less where it turns or is covered
LARGE = 2.0  # times the animal's usual area
MOSTLY = 0.5  # share of the frames of a stretch in which something large is there


class Absence(NamedTuple):
    """A stretch of time, from its first to its last examined frame, in which no animal is found.

    ``large_at`` says where in the frame something clearly larger than the animal is ("bottom left"), or is None.
    """

    start_s: float
    end_s: float
    large_at: str | None

    def __str__(self) -> str:
        large = f", something large at the {self.large_at}" if self.large_at else ""
        return f"{self.start_s:.1f} to {self.end_s:.1f} s: no animal found{large}"


def find_absences(
    change: fg.Changes,
    grey: fg.Images,
    background: fg.Images,
    number: NDArray[np.int64],
    time_s: NDArray[np.float64],
) -> tuple[Absence, ...]:
    """Stretches without the one animal in images ``grey`` (T, h, w, 1), numbers and times (T,) in the video.

    ``change`` compares the images with the ``background`` (h, w, 1).
    """
    edges = fg.edge_strength(background[..., 0])
    masks = change.magnitude > change.threshold
    regions = [candidate_regions(mask, image, edges) for mask, image in zip(masks, grey[..., 0], strict=True)]
    centres, _ = choose_path(regions, number)
    found = np.isfinite(centres[:, 0])
    if not found.any():
        return ()
    chosen = [
        each.area[(each.centre == centre).all(axis=1)][0]
        for each, centre, is_found in zip(regions, centres, found, strict=True)
        if is_found
    ]
    limit = LARGE * float(np.median(chosen))
    absences = []
    for start, end in stretches(~found, time_s, LEAST_S):
        rows = np.flatnonzero((time_s >= start) & (time_s <= end))
        large_at = _place_of_large([regions[row] for row in rows], limit, masks.shape[1:])
        absences.append(Absence(start, end, large_at))
    return tuple(absences)


def _place_of_large(regions: list[MovingRegions], limit: float, size: tuple[int, ...]) -> str | None:
    """Where the largest region lies in most of these frames, if it is larger than ``limit``."""
    large = [each.centre[0] for each in regions if len(each.area) and each.area[0] > limit]
    if len(large) < MOSTLY * len(regions):
        return None
    x, y = np.median(large, axis=0) / (size[1], size[0])
    row = ("top", "middle", "bottom")[min(2, int(3 * y))]
    column = ("left", "middle", "right")[min(2, int(3 * x))]
    return "middle" if row == column else " ".join(word for word in (row, column) if word != "middle")
