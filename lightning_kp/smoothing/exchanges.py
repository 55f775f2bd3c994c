"""Which keypoints exchange their places, learnt from the tracks alone.

A network that was trained without labels may confuse the two ends of an animal: for some frames the keypoint of the
snout lies on the tail base and the other way round.  From one frame to the next, either place then fits the *other*
keypoint.  Pairs for which this happens at least :data:`MIN_EVENTS` times are found here; pairs that exchange at the
same times are one group.

Letters: N frames, I animals, k keypoints of one body; pixels, NaN = absent.
"""

import numpy as np

from lightning_kp.smoothing.body import Body, Bools, Floats, Index, centres

MIN_APART = 0.15
"""Body lengths between two keypoints in the frames of an exchange; nearer ones exchange by mere noise (ours)."""
FITS_BETTER = 1 / 3
"""Distance left over after an exchange, as a share of that without, and of that between the two places (ours)."""
REACHES = (1, 2)
"""Frames between the two that are compared: during an exchange, a keypoint may lie between its places for a frame."""
MIN_EVENTS = 2
"""Exchanges of a pair: one there and one back (ours)."""
SAME_TIME = 0.5
"""Pairs belong together if this share of the rarer one's exchanges happen with the other's (ours)."""


def exchange_events(body: Body, first: int, second: int) -> Bools:
    """Frames (N, I) in which two keypoints of a body have exchanged their places since one of the last two frames."""
    points = body.points_px
    centre = centres(points)
    found = np.zeros(points.shape[:2], bool)
    unbroken = np.cumsum(~body.continues)
    for reach in REACHES:
        now, then = slice(reach, None), slice(None, -reach)
        moved = centre[now] - centre[then]
        a, b, a_then, b_then = (
            points[now, :, first] - moved,
            points[now, :, second] - moved,
            points[then, :, first],
            points[then, :, second],
        )
        apart = np.minimum(_distance(a, b), _distance(a_then, b_then))
        as_is = _distance(a, a_then) + _distance(b, b_then)
        exchanged = _distance(a, b_then) + _distance(b, a_then)
        together = (unbroken[now] == unbroken[then])[:, None]
        fits = exchanged < FITS_BETTER * np.minimum(as_is, 2 * apart)
        found[now] |= together & (apart > MIN_APART * body.length_px) & fits
    return found


def exchanging_pairs(body: Body) -> list[tuple[tuple[int, int], Bools]]:
    """Pairs of keypoints (positions within the body) that exchange their places, with their events (N, I).

    A keypoint belongs to the pair in which it exchanges most often.  The pairs with the most events come first.
    """
    count = body.points_px.shape[2]
    candidates = []
    for first in range(count):
        for second in range(first + 1, count):
            events = exchange_events(body, first, second)
            if (number := beginnings(events)) >= MIN_EVENTS:
                candidates.append((number, (first, second), events))
    taken: set[int] = set()
    pairs = []
    for _, pair, events in sorted(candidates, key=lambda each: (-each[0], each[1])):
        if not taken & set(pair):
            taken |= set(pair)
            pairs.append((pair, events))
    return pairs


def exchanging_groups(body: Body) -> list[Index]:
    """Groups of keypoints that exchange together, as permutations (k,) of the body's keypoints."""
    groups: list[tuple[list[tuple[int, int]], Bools]] = []
    for pair, events in exchanging_pairs(body):
        for members, known in groups:
            if _share_together(events, known) >= SAME_TIME:
                members.append(pair)
                break
        else:
            groups.append(([pair], events))
    found = []
    for members, _ in groups:
        order = np.arange(body.points_px.shape[2])
        for first, second in members:
            order[[first, second]] = order[[second, first]]
        found.append(order)
    return found


def beginnings(events: Bools) -> int:
    """Number of runs of events (N, I) over time; an exchange is seen in one or two frames."""
    return int((events & ~np.roll(events, 1, axis=0)).sum())


def _share_together(one: Bools, other: Bools) -> float:
    """Share of the rarer one's events that lie within one frame of the other's."""
    rare, often = sorted((one, other), key=lambda each: int(each.sum()))
    near = often.copy()
    near[1:] |= often[:-1]
    near[:-1] |= often[1:]
    return float((rare & near).sum() / max(1, rare.sum()))


def _distance(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.linalg.norm(one - other, axis=-1))
