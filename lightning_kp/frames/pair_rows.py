"""Which cached frames form pairs (t, t + gap), and which block of a video is held out for validation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.frames.cache import CachedVideo


class PairRows(NamedTuple):
    """Pairs of frames: pair i consists of the rows ``now[i]`` and ``later[i]`` of the cache of video ``video[i]``.

    All three are arrays (N,), int64.
    """

    video: NDArray[np.int64]
    now: NDArray[np.int64]
    later: NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence["PairRows"]) -> "PairRows":
        """Concatenate the pairs of several videos."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def where(self, chosen: NDArray[np.bool_]) -> "PairRows":
        """Return the pairs that a mask (N,), bool, selects."""
        return PairRows(*(column[chosen] for column in self))


def pair_rows(video: CachedVideo, number: int, gap: int, stride: int = 1) -> PairRows:
    """Every ``stride``-th pair of cached frames of video ``number`` that are ``gap`` displayed frames apart.

    Pairs in which the animal that the squares follow is not seen are left out: there is nothing to learn from.
    """
    later = np.searchsorted(video.index, video.index + gap)
    now = np.flatnonzero(np.isin(video.index + gap, video.index, assume_unique=True))[::stride]
    now = now[video.seen[now] & video.seen[later[now]]]
    return PairRows(np.full(len(now), number), now, later[now])


def held_out_block(n_frames: int, gap: int, fraction: float, rng: np.random.Generator) -> tuple[int, int]:
    """First frame of a video's validation block, and the frame after its last one; its position is drawn from ``rng``.

    The video is divided into equal slots of ``fraction`` of its frames, but at least 2 gaps; the block is one of them.
    """
    length = min(n_frames, max(round(n_frames * fraction), 2 * gap))
    start = length * int(rng.integers(max(1, n_frames // length)))
    return start, start + length
