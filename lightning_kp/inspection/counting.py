"""How many animals a video shows, and how sure that is.

Single frames mislead: animals touch, a wall reflects one of them, a cloth lies in the picture for a while.  So bodies
are linked into tracklets.  A tracklet is an animal's if it walks, or looks like one that walks.  What is small and
always beside something larger is its shadow, its reflection or a part of it.  The count is the largest number of
animals that are seen apart in a tenth of the frames.  All limits are ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_kp.inspection.bodies import (
    AREA,
    LENGTH,
    LOOK,
    SAME_AREA,
    SAME_LOOK,
    Bodies,
    Floats,
    X,
    Y,
    link_bodies,
    look_distance,
)
from lightning_kp.inspection.places import place_in_words
from lightning_kp.motion import foreground as fg

WALKED = 0.75  # body lengths between the farthest places of a tracklet: less may be a change of posture
WALK_FRAMES = 5  # frames of such a tracklet
COMPANION_AREA = 0.5  # of what is beside it: such a thing is its shadow, its reflection or a part ...
BESIDE = 0.6  # ... if it is nearer than this many of its lengths ...
BESIDE_SHARE = 0.9  # ... in this share of the frames; the reflection of a mouse in a wall stays within 0.5
TOGETHER = 0.1  # share of the frames in which all animals are seen apart
CERTAIN_SHARE = 0.4  # of the frames that show all animals; frames in which they touch count half
CONSERVED = 0.8  # of the animals' total area: where fewer bodies have it, animals touch
STEADY_FRAMES = 10  # frames that a tracklet lasts, on average: flicker and leaves are gone sooner
MOST = 8  # animals; more are a crowd
SURE = 0.7  # certainty from which nothing is asked
GUESS = 0.5  # certainty at most, where something never moves that looks like an animal, or the camera moves
STANDING_OUT = 1.25  # of the mean contrast of an animal: the highest contrast of something that never moves
STILL_AREAS = (0.25, 16.0)  # of the animal's area: a female spider is 12 times larger than the male
STILL_LENGTH = 10.0  # sizes of the animal; longer things are walls


class AnimalCount(NamedTuple):
    """How many animals a video shows.

    Attributes:
        animals: Their number; 0 if nothing moves.
        certainty: From 0 (a guess) to 1 (all evidence agrees): the weakest of what speaks for this number.
        look_alike: Whether they are alike in size and colour in most of the frames that show all of them apart.
        touching: Share of the frames in which some of them touch or overlap.
        still: How many of them never move; that they are animals is a guess.
        reason: What the number follows from, in words.
    """

    animals: int
    certainty: float
    look_alike: bool
    touching: float
    still: int
    reason: str

    @property
    def moving(self) -> int:
        """How many of them move: only these can be followed."""
        return self.animals - self.still

    @property
    def is_sure(self) -> bool:
        """Whether nobody needs to be asked."""
        return self.certainty >= SURE

    def __str__(self) -> str:
        sure = "sure" if self.is_sure else "not sure"
        question = "" if self.is_sure else "; if this is wrong, say --animals N"
        return f"{self.animals} ({sure}, {self.certainty:.2f}): {self.reason}{question}"


def count_animals(
    bodies: Sequence[Bodies], background: fg.Images, *, is_steady: bool = True
) -> tuple[AnimalCount, NDArray[np.int64]]:
    """Count the animals by their ``bodies`` in T frames, in order of time, and the background (h, w, C) of these.

    ``is_steady`` says whether the camera stands still.  Returns the count, and how many of the animals that move each
    frame shows, (T,); animals that touch are shown.
    """
    seen = [each for each in bodies if len(each)]
    if not seen:
        nothing = "nothing moves, and an animal at rest looks like the background"
        return AnimalCount(0, 0.0, False, 0.0, 0, nothing), np.zeros(len(bodies), dtype=np.int64)
    tracklets = _Tracklets.of(seen)
    shown = np.array([each.sum() for each in tracklets.is_animal])
    shares = [float((shown >= number).mean()) for number in range(1, MOST + 2)]
    moving = max(1, _seen_together(shown))
    touch = _touch(seen, shown, moving) if moving > 1 else np.zeros(len(seen), dtype=np.bool_)
    touching = float(touch.mean())
    still = _still_place(seen, tracklets.is_animal, background)
    doubts = {
        "often not all of them are seen": (shares[moving - 1] + touching / 2) / CERTAIN_SHARE,
        f"{100 * shares[moving]:.0f} % of the frames seem to show more": 1 - shares[moving] / TOGETHER,
        "what moves comes and goes, as leaves or reflections do": tracklets.frames / STEADY_FRAMES,
        f"not more than {tracklets.walkers} at a time leave their place": (
            1.0 if moving <= tracklets.walkers else GUESS
        ),
        "something small stays beside it: a shadow, a reflection or a young animal": 1 - tracklets.beside / 2,
        "the camera moves": 1.0 if is_steady else GUESS,
        f"what stands out at the {still} looks like one more that rests all the time": GUESS
        if still
        else 1.0,
    }
    doubt = min(doubts, key=lambda each: doubts[each])
    certainty = round(min(1.0, max(0.0, doubts[doubt])), 2)
    animals = moving + bool(still)
    reason = _reason(moving, shares[moving - 1], touching)
    every = np.zeros(len(bodies), dtype=np.int64)
    every[[len(each) > 0 for each in bodies]] = np.where(touch, moving, np.minimum(shown, moving))
    count = AnimalCount(
        animals,
        certainty,
        animals > 1 and not still and _look_alike(seen, tracklets.is_animal, moving),
        touching,
        int(bool(still)),
        reason if certainty >= SURE else f"{reason}; {doubt}",
    )
    return count, every


def _reason(moving: int, share: float, touching: float) -> str:
    if moving == 1:
        return "only one is seen at a time"
    meet = f", touching in {100 * touching:.0f} %" if touching > 0 else ""
    return f"{moving} are seen apart in {100 * share:.0f} % of the frames{meet}"


class _Tracklets(NamedTuple):
    """What tracklets say about the bodies of T frames.

    Attributes:
        is_animal: Which bodies are animals, T arrays (R,).
        frames: How many frames a tracklet lasts, on average over bodies.
        beside: Share of the frames in which something lasting is beside an animal that is much larger.
        walkers: How many animals that leave their place are seen at a time, in a tenth of the frames.
    """

    is_animal: list[fg.Masks]
    frames: float
    beside: float
    walkers: int

    @classmethod
    def of(cls, bodies: Sequence[Bodies]) -> "_Tracklets":
        """Tracklets of the bodies of T frames, each with at least one."""
        numbers = np.concatenate(link_bodies(bodies))
        table = np.concatenate(bodies)
        order = np.argsort(numbers, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        usual = np.stack([np.median(table[each], axis=0) for each in members])
        lasted = np.array([len(each) for each in members])
        walked = np.array([np.linalg.norm(np.ptp(table[each, X : Y + 1], axis=0)) for each in members])
        walks = (walked >= WALKED * usual[:, LENGTH]) & (lasted >= WALK_FRAMES)
        companions = _companions(bodies, members)
        ends = np.cumsum([len(each) for each in bodies])[:-1]
        walkers = _seen_together([each.sum() for each in np.split((walks & ~companions)[numbers], ends)])
        if not walkers:
            walks = lasted >= WALK_FRAMES
        is_animal = (walks | _looks_like(usual, usual[walks])) & ~companions
        beside = [each.any() for each in np.split((companions & (lasted >= WALK_FRAMES))[numbers], ends)]
        return cls(
            is_animal=np.split(is_animal[numbers], ends),
            frames=float((lasted**2).sum() / lasted.sum()),
            beside=float(np.mean(beside)),
            walkers=walkers,
        )


def _seen_together(shown: Sequence[int] | NDArray[np.int64]) -> int:
    """Largest number that at least a tenth of the frames show, given how many each shows; at most ``MOST``."""
    return sum(float((np.asarray(shown) >= number).mean()) >= TOGETHER for number in range(1, MOST + 1))


def _looks_like(usual: Floats, walking: Floats) -> fg.Masks:
    """Whether each of (N, 4 + C) tracklets is like one that walks (M, 4 + C), in area and colour: (N,)."""
    ratio = np.abs(np.log2(usual[:, None, AREA] / walking[:, AREA]))
    distance = look_distance(usual[:, None, LOOK:], walking[:, LOOK:])
    return np.asarray(((ratio <= np.log2(SAME_AREA)) & (distance <= SAME_LOOK)).any(axis=1), dtype=np.bool_)


def _companions(bodies: Sequence[Bodies], members: Sequence[NDArray[np.int64]]) -> fg.Masks:
    """Whether each tracklet, given by the numbers of its bodies, stays beside something clearly larger."""
    frame_of = np.repeat(np.arange(len(bodies)), [len(each) for each in bodies]).tolist()
    beside = np.array([
        _is_beside(body, bodies[frame]) for body, frame in zip(np.concatenate(bodies), frame_of, strict=True)
    ])  # fmt: skip
    return np.array([beside[rows].mean() >= BESIDE_SHARE for rows in members])


def _is_beside(body: Floats, others: Bodies) -> bool:
    """Whether something that is clearly larger lies beside a body (4 + C,)."""
    larger = others[others[:, AREA] > body[AREA] / COMPANION_AREA]
    gap = (
        np.linalg.norm(larger[:, X : Y + 1] - body[X : Y + 1], axis=-1)
        - (larger[:, LENGTH] + body[LENGTH]) / 2
    )
    return bool((gap < BESIDE * larger[:, LENGTH]).any())


def _touch(bodies: Sequence[Bodies], shown: NDArray[np.int64], number: int) -> fg.Masks:
    """Which frames (T,) show fewer than ``number`` bodies, but with the area of all animals."""
    total = np.array([each[:, AREA].sum() for each in bodies])
    whole = float(np.median(total[shown == number])) if (shown == number).any() else np.inf
    return np.asarray((shown < number) & (total >= CONSERVED * whole), dtype=np.bool_)


def _look_alike(bodies: Sequence[Bodies], is_animal: Sequence[fg.Masks], number: int) -> bool:
    """Whether the animals have like areas and colours in most of the frames that show all of them apart."""
    alike = []
    for each, chosen in zip(bodies, is_animal, strict=True):
        if chosen.sum() == number:
            area, look = each[chosen, AREA], each[chosen, LOOK:]
            far = look_distance(look[:, None], look).max()
            alike.append(area.max() <= SAME_AREA * area.min() and far <= SAME_LOOK)
    return bool(alike) and float(np.mean(alike)) > 0.5


def _still_place(
    bodies: Sequence[Bodies], is_animal: Sequence[fg.Masks], background: fg.Images
) -> str | None:
    """Where the one compact thing of a background (h, w, C) is that stands out more than the animals do, or None.

    Several such things are furniture.  Things at the border or much longer than an animal are walls.
    """
    table = np.concatenate([each[chosen] for each, chosen in zip(bodies, is_animal, strict=True)])
    if not len(table):
        return None
    grey = background.mean(axis=-1)
    area = float(np.median(table[:, AREA]))
    y, x = (table[:, (Y, X)].round().astype(int).clip(0, np.array(grey.shape) - 1)).T
    contrast = float(np.median(table[:, LOOK:].mean(axis=1) - grey[y, x]))
    signed = grey * np.sign(contrast)
    side = 2 * round(2 * np.sqrt(area)) + 1
    height = signed - ndimage.grey_opening(signed, (side, side))
    labels, _ = ndimage.label(height >= abs(contrast) / 2, structure=np.ones((3, 3)))
    places = []
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[window] == number
        stands_out = height[window][own].max() >= STANDING_OUT * abs(contrast)
        inside = all(
            part.start > 1 and part.stop < whole - 1 for part, whole in zip(window, grey.shape, strict=True)
        )
        is_compact = 2 * max(own.shape) <= own.sum() and max(own.shape) <= STILL_LENGTH * np.sqrt(area)
        if (
            stands_out
            and inside
            and is_compact
            and STILL_AREAS[0] * area <= own.sum() <= STILL_AREAS[1] * area
        ):
            places.append(place_in_words([(part.start + part.stop) / 2 for part in window[::-1]], grey.shape))
    return places[0] if len(places) == 1 else None
