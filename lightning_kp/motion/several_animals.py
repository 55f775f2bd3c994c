"""The places of several animals over a whole video, with their identities.

The animals are followed forwards and backwards from a frame that shows all of them apart.  In each frame the bodies are
assigned to the animals by place, area and grey value at the least total cost (Hungarian algorithm); a body of the
wrong size or grey value is no animal, however near or large it is.  Touching animals are divided
(:func:`lightning_kp.motion.bodies.divide`).  Where an animal is not seen its place is NaN.  All costs are ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lightning_kp.motion.bodies import Body, divide
from lightning_kp.motion.foreground import GAUSSIAN_MAD

Floats = NDArray[np.float64]

LARGER, SMALLER = 0.8, 1.0
"""Deviation of the area that costs 1, as a binary logarithm; above 3 times or below 1/4 of it, it is no animal."""
GREY_LEVELS = 25.0
"""Deviation of the grey value that costs 1."""
NOT_AN_ANIMAL = 4.0
"""Highest cost of a body's area and grey value."""
UNSEEN = 4.0
"""Cost of not seeing an animal in a frame."""
JUMP = 6.0
"""Highest cost of a step; below it, the square of its length in body lengths."""
RETURN = 3.0
"""Highest cost of a step of an animal that was not seen before it: it may return anywhere."""
VELOCITY_KEPT = 0.5
"""Share of the last step that is expected again."""
MERGED_AREA = 1.25
"""A region larger than this, in usual areas of the animals expected there, may hold all of them."""
REACH = 1.5
"""Body lengths within which an animal is expected to be in a region."""
ADAPTING = 0.02
"""Weight of a frame in the running means of an animal's area and grey value."""
SPREAD_FACTOR = 2.0
"""Usual deviation of the grey value, in robust standard deviations of all bodies."""
FIRST = 3.5
"""Cost of a body for an animal that was never seen: an animal that returns is likelier."""
FRAGMENT_AREA = 0.25
"""A region smaller than this, in typical areas of one animal, is a part of an animal, or dust."""
RARE = 0.1
"""Share of the frames: where fewer show all animals, those may be fragments of one."""
ALONE_AREA = 1.6
"""A region larger than this, in typical areas of one animal, may be two."""


class Placed(NamedTuple):
    """Where the animals I are in the T frames of a video, in pixels of the masks.

    Attributes:
        centre: (x, y), (T, I, 2); NaN where an animal is not seen.
        covariance: Of the pixels of its body as (var x, var y, cov xy) in square pixels, (T, I, 3); NaN likewise.
        length: Typical length of one animal in pixels; NaN where nothing ever moves.
    """

    centre: Floats
    covariance: Floats
    length: float


class Usual(NamedTuple):
    """What animals usually look like: area and length in pixels, grey value and how much it differs among them."""

    area: float
    length: float
    grey: float
    grey_spread: float


def place_animals(frames: Sequence[Sequence[Body]], animals: int) -> Placed:
    """Assign the bodies of T frames to ``animals`` animals.

    In the frame from which they are followed, the animals are numbered from top to bottom.
    """
    centre = np.full((len(frames), animals, 2), np.nan)
    covariance = np.full((len(frames), animals, 3), np.nan)
    usual = usual_look(frames, animals)
    if usual is None:
        return Placed(centre, covariance, float("nan"))
    start = _starting_frame(frames, animals, usual)
    for order in (range(start, len(frames)), range(start - 1, -1, -1)):
        followed = [_Animal(usual) for _ in range(animals)]
        if order.step < 0:
            _step(followed, frames[start], usual)
        for frame in order:
            for animal, body in enumerate(_step(followed, frames[frame], usual)):
                if body is not None:
                    centre[frame, animal] = body.centre
                    covariance[frame, animal] = body.covariance[[0, 1, 0], [0, 1, 1]]
    return Placed(centre, covariance, usual.length)


def usual_look(frames: Iterable[Sequence[Body]], animals: int) -> Usual | None:
    """Typical area, length and grey value of one animal; None where nothing ever moves.

    The area is the median over the largest bodies of frames with ``animals`` bodies or more, fragments not counted, or
    of all frames if such frames are rare; the length is the upper quartile over bodies of such an area.
    """
    seen = [
        [body for body in bodies if body.area >= FRAGMENT_AREA * bodies[0].area]
        for bodies in frames
        if bodies
    ]
    if not seen:
        return None
    whole = [bodies[:animals] for bodies in seen if len(bodies) >= animals]
    if len(whole) < RARE * len(seen):
        whole = [bodies[:1] for bodies in seen]
    chosen = [body for bodies in whole for body in bodies]
    area = float(np.median([body.area for body in chosen]))
    alone = [body for body in chosen if FRAGMENT_AREA * area < body.area < ALONE_AREA * area] or chosen
    length = float(np.quantile([body.length for body in alone], 0.75))
    greys = np.array([body.grey for body in alone])
    grey = float(np.median(greys))
    return Usual(area, length, grey, SPREAD_FACTOR * GAUSSIAN_MAD * float(np.median(np.abs(greys - grey))))


@dataclass
class _Animal:
    """What is known of one animal while it is followed."""

    usual: Usual
    body: Body | None = None
    step: Floats | None = None
    unseen: int = 0

    def __post_init__(self) -> None:
        self.area, self.grey = self.usual.area, self.usual.grey
        self._is_known = False

    @property
    def expected(self) -> Floats | None:
        """Place (2,) where the animal is expected in this frame; None before it was first seen."""
        if self.body is None:
            return None
        if self.step is None or self.unseen:
            return self.body.centre
        return self.body.centre + VELOCITY_KEPT * self.step

    def look_cost(self, body: Body) -> float:
        """Cost of the area and grey value of a body."""
        size = float(np.log2(max(body.area, 1.0) / self.area))
        # Coats may differ: only an animal that was seen has a grey value of its own.
        spread = GREY_LEVELS if self._is_known else max(GREY_LEVELS, self.usual.grey_spread)
        grey = (body.grey - self.grey) / spread
        return float((size / (LARGER if size > 0 else SMALLER)) ** 2 + grey**2)

    def see(self, body: Body, *, is_whole: bool) -> None:
        """Take a body as the animal of this frame."""
        if self.body is not None:
            self.step = (body.centre - self.body.centre) / (self.unseen + 1)
        self.body, self.unseen = body, 0
        if is_whole:  # the halves of a merged region do not show what an animal looks like
            weight = ADAPTING if self._is_known else 0.5
            self.area += weight * (body.area - self.area)
            self.grey += weight * (body.grey - self.grey)
            self._is_known = True


def _starting_frame(frames: Sequence[Sequence[Body]], animals: int, usual: Usual) -> int:
    """A frame that shows as many animals as possible, of the usual look, as far apart as possible."""
    best, best_rank = 0, (-1, -1.0)
    judge = _Animal(usual)
    for number, bodies in enumerate(frames):
        likely = [body.centre for body in bodies if judge.look_cost(body) < NOT_AN_ANIMAL][:animals]
        if len(likely) < best_rank[0] or not likely:
            continue
        places = np.stack(likely)
        apart = np.linalg.norm(places[:, None] - places, axis=-1)[np.triu_indices(len(places), 1)]
        rank = (len(likely), min(float(apart.min(initial=np.inf)), 3 * usual.length))
        if rank > best_rank:
            best, best_rank = number, rank
    return best


def _step(animals: list[_Animal], bodies: Sequence[Body], usual: Usual) -> list[Body | None]:
    """Assign the bodies of one frame to the animals; returns the body of each, None where it is not seen."""
    if all(animal.body is None for animal in animals):
        return _first(animals, bodies)
    parts = [part for body in _divided(animals, bodies, usual) for part in body]
    cost = np.full((len(animals), len(parts) + len(animals)), np.inf)
    for row, animal in enumerate(animals):
        cost[row, len(parts) + row] = UNSEEN
        for column, (part, _) in enumerate(parts):
            if (look := animal.look_cost(part)) < NOT_AN_ANIMAL:
                cost[row, column] = look + _step_cost(animal, part, usual)
    rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, 1e9))
    found: list[Body | None] = [None] * len(animals)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if column < len(parts) and np.isfinite(cost[row, column]):
            found[row] = parts[column][0]
            animals[row].see(parts[column][0], is_whole=parts[column][1])
        else:
            animals[row].unseen += 1
    return found


def _first(animals: list[_Animal], bodies: Sequence[Body]) -> list[Body | None]:
    likely = [body for body in bodies if animals[0].look_cost(body) < NOT_AN_ANIMAL][: len(animals)]
    found: list[Body | None] = [*sorted(likely, key=lambda body: float(body.centre[1]))]
    found += [None] * (len(animals) - len(found))
    for animal, body in zip(animals, found, strict=True):
        if body is not None:
            animal.see(body, is_whole=True)
    return found


def _step_cost(animal: _Animal, body: Body, usual: Usual) -> float:
    if animal.expected is None:
        return FIRST
    reach = usual.length * (1 + animal.unseen)
    most = RETURN if animal.unseen else JUMP
    return min(most, float(((body.centre - animal.expected) ** 2).sum()) / reach**2)


def _divided(animals: list[_Animal], bodies: Sequence[Body], usual: Usual) -> list[list[tuple[Body, bool]]]:
    """The bodies of a frame, each with whether it is a whole region; merged ones are divided among their animals."""
    expected = _expected_in(animals, bodies, usual)
    divided = []
    for number, body in enumerate(bodies):
        inside = [animal for animal, where in zip(animals, expected, strict=True) if where == number]
        area = sum(animal.area for animal in inside) / max(1, len(inside))
        if len(inside) < 2 or body.area < MERGED_AREA * area:
            divided.append([(body, True)])
            continue
        known = [animal.body for animal in inside if animal.body is not None]
        places = [animal.expected for animal in inside if animal.expected is not None]
        parts = divide(body, np.stack(places), np.stack([each.covariance for each in known]))
        divided.append([(part, False) for part in parts if part.area])
    return divided


def _expected_in(animals: list[_Animal], bodies: Sequence[Body], usual: Usual) -> list[int | None]:
    """The body in which each animal is expected: the one with the pixel nearest to its expected place, if in reach.

    A body can be expected to hold several animals only if no other body is nearer to one of them.
    """
    found: list[int | None] = []
    for animal in animals:
        if (place := animal.expected) is None or not bodies:
            found.append(None)
            continue
        nearest = [float(((body.pixels - place) ** 2).sum(axis=-1).min()) for body in bodies]
        body = int(np.argmin(nearest))
        found.append(body if nearest[body] <= (REACH * usual.length) ** 2 else None)
    return found
