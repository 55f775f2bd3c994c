"""Presentation times of frames: increasing ones made of what a file states, and whether the frame rate varies."""

import numpy as np

FALLBACK_FPS = 25.0
"""Frame rate assumed for files that state none."""
MIN_RATE_VARIATION = 0.25
"""Variation of the frame interval, as a share of the shortest one, above which the frame rate counts as variable."""
MIN_RATE_VARIATION_S = 0.0021
"""Lower limit of this variation in seconds: containers that store whole milliseconds alternate 33, 33, 34 ms."""
VARIABLE_RATE = "the frame rate varies: gaps are counted in frames, and each frame keeps its own time stamp"


class Clock:
    """Presentation times that always increase; a missing or repeated one becomes one frame after the last one.

    ``guessed`` counts the times that were made so.
    """

    def __init__(self, fps: float) -> None:
        self._step = 1.0 / fps
        self._last: float | None = None
        self._shortest, self._longest = np.inf, 0.0
        self.guessed = 0

    def tick(self, time_s: float | None) -> float:
        """Return the time of the next frame in seconds, given its stored time stamp if there is one."""
        if time_s is None or (self._last is not None and time_s <= self._last):
            self.guessed += 1
            time_s = 0.0 if self._last is None else self._last + self._step
        elif self._last is not None:
            self._shortest = min(self._shortest, time_s - self._last)
            self._longest = max(self._longest, time_s - self._last)
        self._last = time_s
        return time_s

    @property
    def is_variable(self) -> bool:
        """Whether the stored times of the frames so far are unevenly spaced."""
        return varies(self._shortest, self._longest)


def varies(shortest: float, longest: float) -> bool:
    """Whether frame intervals between ``shortest`` and ``longest`` seconds are a variable frame rate.

    >>> varies(0.033, 0.034), varies(0.033, 0.067)
    (False, True)
    """
    if not np.isfinite(shortest):
        return False
    return bool(longest - shortest > max(MIN_RATE_VARIATION * shortest, MIN_RATE_VARIATION_S))
