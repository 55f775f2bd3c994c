"""Stretches of a video in which not all animals are found, and what large thing is there instead."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.inspection.bodies import AREA, Bodies, X, Y
from lightning_kp.inspection.places import place_in_words
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.boxes import stretches
from lightning_kp.motion.one_animal import candidate_regions, choose_path

LEAST_S = 1.0  # seconds; an animal is unseen for less where it turns or is covered
LARGE = 2.0  # times the animals' usual area
MOSTLY = 0.5  # share of the frames of a stretch in which something large is there


class Absence(NamedTuple):
    """A stretch of time, from its first to its last examined frame, in which not all animals are found.

    Attributes:
        start_s, end_s: Times in seconds.
        large_at: Where in the frame something clearly larger than the animals is ("bottom left"), or None.
        found: How many animals are found.
        animals: How many there are.
    """

    start_s: float
    end_s: float
    large_at: str | None
    found: int = 0
    animals: int = 1

    def __str__(self) -> str:
        large = f", something large at the {self.large_at}" if self.large_at else ""
        found = f"only {self.found} of {self.animals} animals found" if self.found else "no animal found"
        return f"{self.start_s:.1f} to {self.end_s:.1f} s: {found}{large}"


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
    tables = [each.table for each in regions]
    usual, size = float(np.median(chosen)), (masks.shape[1], masks.shape[2])
    return _absences(tables, found.astype(np.int64), 1, usual, time_s, size)


def find_missing(
    bodies: Sequence[Bodies],
    shown: NDArray[np.int64],
    animals: int,
    time_s: NDArray[np.float64],
    size: tuple[int, int],
) -> tuple[Absence, ...]:
    """Stretches in which fewer than all of several ``animals`` are found.

    ``bodies`` are those of T frames of ``size`` (h, w), ``shown`` (T,) says how many animals each of these shows, and
    ``time_s`` (T,) when.
    """
    whole = [each[:, AREA].sum() for each, number in zip(bodies, shown, strict=True) if number == animals]
    usual = float(np.median(whole)) if whole else float("inf")
    return _absences(bodies, shown, animals, usual, time_s, size)


def _absences(
    tables: Sequence[Bodies],
    shown: NDArray[np.int64],
    animals: int,
    usual_area: float,
    time_s: NDArray[np.float64],
    size: tuple[int, int],
) -> tuple[Absence, ...]:
    """Stretches of T frames that show fewer than ``animals``; ``tables`` hold their regions, the largest first."""
    absences = []
    for start, end in stretches(shown < animals, time_s, LEAST_S):
        rows = np.flatnonzero((time_s >= start) & (time_s <= end))
        large_at = _place_of_large([tables[row] for row in rows.tolist()], LARGE * usual_area, size)
        absences.append(Absence(start, end, large_at, int(np.median(shown[rows])), animals))
    return tuple(absences)


def _place_of_large(tables: Sequence[Bodies], limit: float, size: tuple[int, int]) -> str | None:
    """Where the largest region lies in most of these frames, if it is larger than ``limit``."""
    large = [each[0, X : Y + 1] for each in tables if len(each) and each[0, AREA] > limit]
    if len(large) < MOSTLY * len(tables):
        return None
    return place_in_words(np.median(large, axis=0).tolist(), size)
