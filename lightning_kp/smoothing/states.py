"""In which frames keypoints stand exchanged, or one keypoint away from its place: two states over time, by Viterbi.

Four things speak for a state: the steps from frame to frame, which are short beside that of the whole body; the
distances within the body; the side of the body on which a keypoint lies, seen from above; and the order of the
keypoints in the direction in which the animal walks.  Costs are in
nats, lengths in body lengths.  A deviation of d standard deviations costs min(d^2, 9) / 2, so that no single frame
decides.  All scales are ours.
"""

import warnings
from itertools import combinations

import numpy as np

from lightning_kp.smoothing.body import Body, Bools, Floats, Index, along_walk, centres, walking_direction
from lightning_kp.smoothing.viterbi import most_likely_states

STEP_SPREAD = 0.1
"""Usual step of a keypoint beside that of the whole body."""
CHANGE_COST = 1.0
"""Cost of a change of state, where no motion speaks for or against it, as in a gap."""
EXCHANGED_COST = 0.02
"""Cost of an exchanged frame: a network is right more often than wrong."""
SHAPE_WEIGHT, SHAPE_SPREAD = 0.2, 0.1
"""Weight of a frame's distances, since neighbouring frames say the same; and the least standard deviation of one."""
SIDE_SPREAD = 0.02
"""Least standard deviation of the area between three keypoints, in squared lengths."""
WALK_WEIGHT, WALK_SPREAD = 2.0, 0.15
"""Weight of the order along the walk for each length walked; and the least standard deviation of a position in it."""
LONGEST_STRIDE = 0.5
"""Most that counts as walked in one frame."""
ROUNDS = 2
"""Times that the usual shape and order are taken from the tracks: first as they are, then as mended so far."""
JUMP = 0.4
"""A step of a keypoint beside that of the whole body that is a jump."""
AWAY_COST = 2.0
"""Cost of a frame away, on the scale of the mean cost of a distance to another keypoint: two standard deviations."""
UNSEEN_JUMP_COST = 6.0
"""Cost of leaving the usual place, or of coming back to it, without a jump."""
IGNORED_JUMP_COST = 3.0
"""Cost of a jump that leads neither there nor back."""


def exchanged_frames(body: Body, order: Index) -> Bools:
    """Frames (N, I) in which the keypoints of a body stand as the permutation ``order`` (k,) says instead of as usual.

    ``order`` exchanges pairs, so that applying it twice changes nothing.
    """
    points, members = body.points_px, np.flatnonzero(order != np.arange(len(order)))
    moved = np.diff(centres(points), axis=0, prepend=np.nan)[:, :, None]
    expected = (np.roll(points, 1, axis=0) + moved)[:, :, members]

    def step_cost(now: Floats) -> Floats:
        cost = _cost(np.linalg.norm(now - expected, axis=-1) / (STEP_SPREAD * body.length_px)).sum(-1)
        return np.where(body.continues[:, None], cost, 0.0)

    same, change = step_cost(points[:, :, members]), step_cost(points[:, :, order[members]]) + CHANGE_COST
    states = np.zeros(points.shape[:2], bool)
    for _ in range(ROUNDS):
        mended = permuted(points, order, states)
        own = np.stack(
            [_own_cost(body, each, mended, order) for each in (points, points[:, :, order])], axis=-1
        )
        own[..., 1] += EXCHANGED_COST
        states = most_likely_states(own, same, change)
    return states


def away_frames(body: Body) -> Bools:
    """Frames (N, I, k) in which a keypoint of a body has jumped away from its usual place and not come back."""
    points = body.points_px
    frames, count = len(points), points.shape[2]
    steps = np.diff(points, axis=0, prepend=np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames without any keypoint
        steps -= np.nanmedian(steps, axis=2, keepdims=True)
    jumps = (np.linalg.norm(steps, axis=-1) > JUMP * body.length_px) & body.continues[:, None, None]
    if not jumps.any():
        return np.zeros(jumps.shape, bool)
    misfit = np.zeros(jumps.shape)
    for a, b in combinations(range(count), 2):
        distance = np.linalg.norm(points[:, :, a] - points[:, :, b], axis=-1) / body.length_px
        misfit[..., [a, b]] += _deviation_cost(distance, distance, SHAPE_SPREAD)[..., None] / (count - 1)
    own = SHAPE_WEIGHT * np.stack((misfit, np.full_like(misfit, AWAY_COST)), axis=-1)
    states = most_likely_states(
        own.reshape(frames, -1, 2),
        IGNORED_JUMP_COST * jumps.reshape(frames, -1),
        UNSEEN_JUMP_COST * ~jumps.reshape(frames, -1),
    )
    return states.reshape(jumps.shape) & np.isfinite(points).all(-1)


def permuted(points: Floats, order: Index, states: Bools) -> Floats:
    """Values (N, I, k, ...) with the keypoints in ``order`` (k,) where ``states`` (N, I) say so."""
    where = states.reshape(*states.shape, *(1,) * (points.ndim - 2))
    return np.where(where, points[:, :, order], points)


def _own_cost(body: Body, points: Floats, usual: Floats, order: Index) -> Floats:
    """Cost (N, I) of the shape and the order along the walk of ``points``, against those of ``usual`` (N, I, k, 2)."""
    members = np.flatnonzero(order != np.arange(len(order)))
    shape = np.zeros(points.shape[:2])
    concerned = [pair for pair in combinations(range(points.shape[2]), 2) if {*pair} & {*members.tolist()}]
    for a, b in concerned:
        here, there = (np.linalg.norm(each[:, :, a] - each[:, :, b], axis=-1) for each in (points, usual))
        shape += _deviation_cost(here / body.length_px, there / body.length_px, SHAPE_SPREAD)
    _, walked = walking_direction(body, usual)
    here, there = along_walk(body, points), along_walk(body, usual)
    walk = np.mean([_deviation_cost(here[..., k], there[..., k], WALK_SPREAD) for k in members], axis=0)
    stride = np.minimum(walked, LONGEST_STRIDE)
    distances = shape / max(1, len(concerned)) * len(members)
    sides = _side_cost(body, points, usual, order)
    return np.asarray(SHAPE_WEIGHT * (distances + sides) + WALK_WEIGHT * stride * walk)


def _side_cost(body: Body, points: Floats, usual: Floats, order: Index) -> Floats:
    """Cost (N, I) of the sides on which exchanging keypoints lie of the others, seen from above.

    The signed area of a triangle changes its sign where two corners are exchanged, such as the left and the right ear.
    """
    cost = np.zeros(points.shape[:2])
    pairs = [(first, int(second)) for first, second in enumerate(order) if first < second]
    for a, b in pairs:
        others = [k for k in range(len(order)) if order[k] == k]
        for third in others:
            here, there = (_areas(each, a, b, third) / body.length_px**2 for each in (points, usual))
            cost += 2 * _deviation_cost(here, there, SIDE_SPREAD) / len(others)
    return cost


def _areas(points: Floats, a: int, b: int, c: int) -> Floats:
    """Signed areas (N, I) of a parallelogram between three keypoints of points (N, I, k, 2), in px^2."""
    one, other = points[:, :, b] - points[:, :, a], points[:, :, c] - points[:, :, a]
    return np.asarray(one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0])


def _deviation_cost(values: Floats, usual: Floats, least_spread: float) -> Floats:
    """Cost of values (N, I) that deviate from the median of ``usual`` (N, I); 0 where unknown."""
    known = usual[np.isfinite(usual)]
    if not known.size:
        return np.zeros_like(values)
    middle = np.median(known)
    spread = max(least_spread, 1.4826 * float(np.median(np.abs(known - middle))))
    return _cost((values - middle) / spread)


def _cost(deviations: Floats) -> Floats:
    """Cost in nats of deviations in standard deviations; 0 for NaN."""
    return np.asarray(np.nan_to_num(np.minimum(np.square(deviations), 9.0) / 2))
