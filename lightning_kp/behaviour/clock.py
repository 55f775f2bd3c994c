"""From seconds to frames of a recording, whose frames need not be equally far apart."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

PAUSE_S, PAUSE_STEPS = 1.0, 3.0
"""Two frames are as far apart as a pause if it exceeds both: seconds, and usual distances of frames (ours)."""


class Clock(NamedTuple):
    """Times (N,) in seconds at which frames begin, and how far apart they usually are; without times, a rate."""

    times_s: NDArray[np.float64]
    step_s: float

    @classmethod
    def of(cls, times_s: NDArray[np.float64] | None, fps: float) -> Self:
        """The times of all frames if they increase, else the rate (0 = unknown)."""
        if times_s is None or len(times_s) < 2 or not (np.diff(times_s) > 0).all():
            return cls(np.empty(0), 1 / fps if fps > 0 else np.nan)
        step = float(np.median(np.diff(times_s)))
        return cls(np.append(times_s, times_s[-1] + step).astype(np.float64), step)

    def frame_at(self, seconds: float) -> int:
        """The frame that begins nearest to a time; within a pause, and after the last frame, the next one."""
        if not len(self.times_s):
            return round(seconds / self.step_s)
        after = int(np.searchsorted(self.times_s, seconds))
        if after == 0:
            return 0 if seconds >= 0 else round(seconds / self.step_s)
        if after == len(self.times_s):
            return after - 1 + round(float(seconds - self.times_s[-1]) / self.step_s)
        gap = float(self.times_s[after] - self.times_s[after - 1])
        length = self.step_s if self._is_pause(gap) else gap
        return after - bool(seconds - self.times_s[after - 1] < length / 2)

    def _is_pause(self, gap_s: float) -> bool:
        return gap_s > max(PAUSE_S, PAUSE_STEPS * self.step_s)

    def is_paused(self, start_s: float, stop_s: float) -> bool:
        """Whether a whole interval lies within a pause of the recording."""
        after = int(np.searchsorted(self.times_s, start_s))
        if not 0 < after < len(self.times_s):
            return False
        before, next_one = self.times_s[after - 1 : after + 1]
        is_inside = before + self.step_s <= start_s and stop_s <= next_one
        return bool(self._is_pause(next_one - before) and is_inside)
