"""Gaps between the frames of a pair, and which frames a cache keeps when it cannot hold them all."""

import math
import re
from typing import NamedTuple

from lightning_kp.errors import ConfigurationError

_GAP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms)?")


def parse_gap(gap: int | str, fps: float) -> int:
    """Frames between the two frames of a pair, at least 1: ``6`` counts frames, ``"0.2s"`` is time."""
    match = _GAP.fullmatch(str(gap).strip())
    number, unit = (float(match[1]), match[2]) if match else (0.0, None)
    if number <= 0 or (unit is None and number != int(number)):
        raise ConfigurationError(
            f"gap is '{gap}'; it must be a positive number of frames or a time.",
            remedy="Write it as 6 (frames) or 0.2s (seconds).",
        )
    if unit is None:
        return int(number)
    return max(1, round(number * fps / (1000 if unit == "ms" else 1)))


class Thinning(NamedTuple):
    """Frames are kept if their number modulo ``period`` is in ``residues``.

    A frame is of use only with its partner ``gap`` frames away.  With the gap itself as the period
    both have the same residue, so every kept frame finds its partner, whatever the share.
    """

    period: int = 1
    residues: tuple[int, ...] = (0,)

    def keeps(self, index: int) -> bool:
        """Whether displayed frame ``index`` is kept."""
        return index % self.period in self.residues

    @property
    def share(self) -> float:
        """Share of the frames that is kept."""
        return len(self.residues) / self.period

    @classmethod
    def to_share(cls, share: float, gap: int | None) -> "Thinning":
        """Keep at most ``share`` of the frames, spread evenly over the video, in pairs ``gap`` apart."""
        if share >= 1:
            return cls()
        if gap is None:
            return cls(math.ceil(1 / share), (0,))
        kept = int(share * gap)
        if kept >= 1:
            return cls(gap, tuple(i * gap // kept for i in range(kept)))
        # Less than one frame per gap: single pairs, further apart than the gap.
        return cls(math.ceil(2 / share), (0, gap))
