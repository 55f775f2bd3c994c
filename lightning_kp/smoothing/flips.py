"""Head and tail exchanged: where keypoints of one animal exchange their places, found without labels and mended.

Two kinds are told apart.  Keypoints that *exchange* their places are put back: both positions were seen, only their
names were wrong.  A keypoint that *jumps* to the place of another and back has no position of its own in between:
nothing is invented for it, but its confidence is halved.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.smoothing.body import Body, Bools, along_walk, find_bodies, order_along_walk
from lightning_kp.smoothing.exchanges import beginnings, exchange_events, exchanging_groups
from lightning_kp.smoothing.smoother import DOUBTED
from lightning_kp.smoothing.states import away_frames, exchanged_frames, permuted
from lightning_kp.tracks.table import Tracks

EXCHANGE, JUMP = "exchange", "jump"


@dataclass(frozen=True)
class Flip:
    """A stretch of frames in which keypoints stand at wrong ends of an animal.

    Attributes:
        frame: First frame.
        last_frame: Last frame.
        start_s: Time of the first frame in seconds.
        end_s: Time of the last frame in seconds.
        animal: Number of the animal, counted from 1.
        keypoints: Names of the keypoints.
        kind: ``exchange`` or ``jump``.
        mended: Whether the tracks were changed: keypoints put back, or the confidence halved.
    """

    frame: int
    last_frame: int
    start_s: float
    end_s: float
    animal: int
    keypoints: tuple[str, ...]
    kind: str
    mended: bool


class Mended(NamedTuple):
    """Tracks with their flips.

    Attributes:
        tracks: The tracks, mended if that was asked for.
        flips: The flips in the order of their frames.
        order_before: Share in [0, 1] of the walking frames in which pairs of keypoints keep their usual order along the
            walk, as found; the mean over all bodies.  NaN if no animal walks.
        order_after: The same with every exchange put back.
    """

    tracks: Tracks
    flips: tuple[Flip, ...]
    order_before: float
    order_after: float


def mend_flips(tracks: Tracks, *, mend: bool = True) -> Mended:
    """Find the flips of tracks (N, I, K, 2) and put exchanged keypoints back, where that helps.

    It helps if at most half of the exchanges are left and the order along the walk is kept at least as often; what does
    not help is no flip.  With ``mend=False`` the tracks stay as they are and the flips are only listed.
    """
    place = np.broadcast_to(np.arange(tracks.points_px.shape[2]), tracks.confidence.shape).copy()
    doubted = np.zeros(tracks.confidence.shape, bool)
    flips: list[Flip] = []
    before, after = [], []
    for body in find_bodies(tracks):
        names = np.array(tracks.keypoint_names)[body.keypoints]
        before.append(order_along_walk(along_walk(body, body.points_px)))
        for order in exchanging_groups(body):
            states = exchanged_frames(body, order)
            better = body._replace(points_px=permuted(body.points_px, order, states))
            members = np.flatnonzero(order != np.arange(len(order)))
            if not _helps(body, better, order):
                continue
            body = better
            flips += _listed(tracks, states, names[members], EXCHANGE, mended=mend)
            where = np.where(states[..., None], body.keypoints[order], body.keypoints)
            place[..., body.keypoints[members]] = where[..., members]
        after.append(order_along_walk(along_walk(body, body.points_px)))
        away = away_frames(body)
        doubted[..., body.keypoints] = away
        for number in range(len(names)):
            flips += _listed(tracks, away[..., number], names[[number]], JUMP, mended=mend)
    found = tuple(sorted(flips, key=lambda each: (each.frame, each.animal, each.keypoints)))
    changed = _changed(tracks, place, doubted) if mend else tracks
    return Mended(changed, found, _mean(before), _mean(after))


def _helps(body: Body, better: Body, order: NDArray[np.int64]) -> bool:
    """Whether exchanging keypoints leaves at most half of the exchanges, and the order along the walk as often kept."""
    pairs = [(first, int(second)) for first, second in enumerate(order) if first < second]
    before, after = (
        sum(beginnings(exchange_events(each, first, second)) for first, second in pairs)
        for each in (body, better)
    )
    kept, kept_after = (order_along_walk(along_walk(each, each.points_px)) for each in (body, better))
    return 2 * after <= before and not kept_after < kept


def _listed(
    tracks: Tracks, states: Bools, names: NDArray[np.str_], kind: str, *, mended: bool
) -> Iterator[Flip]:
    """One flip for each run of True in states (N, I)."""
    edges = np.diff(np.pad(states, ((1, 1), (0, 0))).astype(np.int8), axis=0)
    for animal in range(states.shape[1]):
        starts, ends = (np.flatnonzero(edges[:, animal] == sign) for sign in (1, -1))
        for start, end in zip(starts.tolist(), (ends - 1).tolist(), strict=True):
            start_s, end_s = (round(float(tracks.times_s[frame]), 3) for frame in (start, end))
            yield Flip(start, end, start_s, end_s, animal + 1, tuple(names.tolist()), kind, mended)


def _changed(tracks: Tracks, place: NDArray[np.int64], doubted: Bools) -> Tracks:
    """Tracks in which keypoint k (N, I, K) has the values of keypoint ``place``, and doubted ones less confidence."""
    confidence = np.take_along_axis(tracks.confidence, place, axis=2)
    return dataclasses.replace(
        tracks,
        points_px=np.take_along_axis(tracks.points_px, place[..., None], axis=2),
        confidence=np.where(doubted, np.float32(DOUBTED) * confidence, confidence),
        covariance_px=np.take_along_axis(tracks.covariance_px, place[..., None], axis=2),
        peak=None if tracks.peak is None else np.take_along_axis(tracks.peak, place, axis=2),
    )


def _mean(shares: list[float]) -> float:
    known = [share for share in shares if np.isfinite(share)]
    return float(np.mean(known)) if known else float("nan")
