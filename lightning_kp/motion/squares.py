"""Regions that move, linked over time, and a steady square around each animal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_kp.motion.boxes import Floats

MARGIN = 1.4  # of the animal's usual length: room for a stretched leg and for the step within a pair
MIDDLE = 0.1  # of the box: an animal whose centre is farther off has left the middle
TOUCHING = 1.4  # usual areas: a region larger than this holds two animals
PART = 0.25  # of the usual area: smaller regions are parts, or dust


@dataclass(frozen=True, eq=False, slots=True)
class _Things:
    """Regions of a mask, largest first: rows of area, x, y and length (R, 4); pixels or none (P, 2).

    One array, because there is one of these for each frame of a video of hours.
    """

    table: Floats
    pixels: Floats | None = None

    @property
    def area(self) -> Floats:
        return self.table[:, 0]

    @property
    def centre(self) -> Floats:
        return self.table[:, 1:3]

    @property
    def length(self) -> Floats:
        return self.table[:, 3]


def _follow(things: Sequence[_Things], animals: int) -> tuple[Floats, float]:
    """Centres (N, I, 2) of the animals over time, NaN where unseen, and the usual length of one."""
    largest = [each.area[:animals] for each in things if len(each.area) >= animals]
    largest = largest or [each.area[:1] for each in things if len(each.area)]
    if not largest:
        return np.full((len(things), animals, 2), np.nan), float("nan")
    usual = float(np.median(np.concatenate(largest)))
    length = _usual_length(things, animals, usual)
    centres = np.full((len(things), animals, 2), np.nan)
    last = np.full((animals, 2), np.nan)
    for frame, each in enumerate(things):
        now = _centres(each, animals, usual, last)
        by_height = np.argsort(now[:, 1], kind="stable")  # NaN last
        now = now[by_height] if np.isnan(last).all() else _in_order(now, last)
        centres[frame] = now
        last = np.where(np.isnan(now), last, now)
    return centres, length


def _usual_length(things: Sequence[_Things], animals: int, usual: float) -> float:
    """Of the animals that are seen whole and alone, going by their area."""
    alone = [
        each.length[i]
        for each in things
        for i in range(min(animals, len(each.area)))
        if PART * usual < each.area[i] < TOUCHING * usual
    ]
    return float(np.quantile(alone, 0.75)) if alone else float(np.sqrt(usual))


def _centres(things: _Things, animals: int, usual: float, last: Floats) -> Floats:
    """Centres (I, 2) of one frame's animals, NaN for those unseen; touching ones are told apart by their pixels."""
    whole = things.area > PART * usual
    found = things.centre[whole][:animals]
    missing = animals - len(found)
    if missing and things.pixels is not None and len(things.area) and things.area[0] > TOUCHING * usual:
        spread = things.pixels[np.linspace(0, len(things.pixels) - 1, animals).astype(int)]
        return _clusters(things.pixels, last if np.isfinite(last).all() else spread)
    return np.concatenate((found, np.full((missing, 2), np.nan)))


def _clusters(pixels: Floats, seeds: Floats) -> Floats:
    """k-means of pixels (P, 2) from the given centres on."""
    centres = seeds.copy()
    for _ in range(5):
        nearest = np.linalg.norm(pixels[:, None] - centres, axis=-1).argmin(axis=1)
        for i in range(len(centres)):
            if (nearest == i).any():
                centres[i] = pixels[nearest == i].mean(axis=0)
    return centres


def _in_order(now: Floats, last: Floats) -> Floats:
    """Centres (I, 2) in the order of the last ones that they are nearest to."""
    cost = np.linalg.norm(last[:, None] - now, axis=-1)
    return np.asarray(now[linear_sum_assignment(np.nan_to_num(cost, nan=1e4))[1]])


def _filled(centres: Floats) -> Floats:
    """Unseen animals stay where they were last; before they are first seen, where they will be."""
    filled = centres.copy()
    for animal in range(centres.shape[1]):
        known = np.flatnonzero(np.isfinite(centres[:, animal, 0]))
        if not len(known):
            filled[:, animal] = np.nanmean(centres, axis=(0, 1))
            continue
        source = known[np.maximum(np.searchsorted(known, np.arange(len(centres)), side="right") - 1, 0)]
        filled[:, animal] = centres[source, animal]
    return filled


def _steady(centres: Floats, slack_px: float) -> Floats:
    """Centres (N, I, 2) that move only when the animal is farther than ``slack_px`` from the last one."""
    held = centres.copy()
    for frame in range(1, len(centres)):
        stays = np.linalg.norm(centres[frame] - held[frame - 1], axis=-1) <= slack_px
        held[frame, stays] = held[frame - 1, stays]
    return held


def _squares(centres: Floats, side: int, frame_size: tuple[int, int]) -> NDArray[np.int64]:
    """Squares (N, I, 4) around centres (N, I, 2), pushed into the frame."""
    bounds = np.array((frame_size[1], frame_size[0]))
    extent = np.minimum(side, bounds)
    corner = np.clip(np.round(centres - extent / 2), 0, bounds - extent).astype(np.int64)
    return np.concatenate((corner, corner + extent), axis=-1)
