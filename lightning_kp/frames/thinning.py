"""The gap between the frames of a pair, and which frames a cache keeps if it cannot hold all."""

import math
import re
from typing import NamedTuple

from lightning_kp.errors import ConfigurationError

_GAP = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|ms)?")


def parse_gap(gap: int | str, fps: float) -> int:
    """Convert a gap to a number of frames, at least 1: ``6`` is in frames, ``"0.2s"`` or ``"200ms"`` a time.

    Raises ConfigurationError if it is neither.

    >>> parse_gap("0.2s", fps=30.0)
    6
    """
    match = _GAP.fullmatch(str(gap).strip())
    number, unit = (float(match[1]), match[2]) if match else (0.0, None)
    if number <= 0 or (unit is None and number != int(number)):
        raise ConfigurationError(
            f"gap is '{gap}', but it must be a positive number of frames or a positive time.",
            remedy="Write it as 6 (frames) or 0.2s (seconds).",
        )
    if unit is None:
        return int(number)
    return max(1, round(number * fps / (1000 if unit == "ms" else 1)))


class Thinning(NamedTuple):
    """Which frames are kept: those whose index modulo ``period`` is in ``residues``.

    A frame is useful only together with its partner ``gap`` frames later.  If the gap itself is the period, both have
    the same residue, so that every kept frame has its partner, whatever the share.
    """

    period: int = 1
    residues: tuple[int, ...] = (0,)

    def keeps(self, index: int) -> bool:
        """Whether displayed frame ``index`` is kept."""
        return index % self.period in self.residues

    @property
    def share(self) -> float:
        """Share of the frames that are kept, in (0, 1]."""
        return len(self.residues) / self.period

    @classmethod
    def to_share(cls, share: float, gap: int | None) -> "Thinning":
        """Keep at most ``share`` of the frames, evenly spread over the video, in pairs ``gap`` frames apart.

        ``gap`` None keeps single frames.

        >>> Thinning.to_share(0.5, gap=6)
        Thinning(period=6, residues=(0, 2, 4))
        """
        if share >= 1:
            return cls()
        if gap is None:
            return cls(math.ceil(1 / share), (0,))
        kept = int(share * gap)
        if kept >= 1:
            return cls(gap, tuple(i * gap // kept for i in range(kept)))
        # Fewer than one frame per gap: isolated pairs, farther from each other than the gap.
        return cls(math.ceil(2 / share), (0, gap))
