"""The most likely course of a state with two values over time (Viterbi 1967), for many animals at once."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def most_likely_states(own: Floats, same: Floats, change: Floats) -> NDArray[np.bool_]:
    """States of least total cost.

    Args:
        own: (N, I, 2), cost of either state in each frame.
        same: (N, I), cost of keeping the state since the frame before; the first row counts for nothing.
        change: (N, I), cost of changing it.

    Returns:
        (N, I), True where the second state is the more likely one; of equal courses the first state.

    Example:
        >>> own = np.array([[[0.0, 9.0]], [[3.0, 0.0]], [[0.0, 9.0]]])
        >>> most_likely_states(own, np.zeros((3, 1)), np.full((3, 1), 1.0))[:, 0].tolist()
        [False, True, False]
        >>> most_likely_states(own, np.zeros((3, 1)), np.full((3, 1), 2.0))[:, 0].tolist()
        [False, False, False]
    """
    frames, animals = own.shape[:2]
    came_from = np.zeros((frames, animals, 2), bool)
    total = own[0].copy() if frames else np.zeros((animals, 2))
    for t in range(1, frames):
        stay, switch = total + same[t][:, None], total[:, ::-1] + change[t][:, None]
        switches = switch < stay
        came_from[t] = switches
        total = np.where(switches, switch, stay) + own[t]
    states = np.zeros((frames, animals), bool)
    state = total[:, 1] < total[:, 0]
    for t in range(frames - 1, -1, -1):
        states[t] = state
        state = state ^ came_from[t, np.arange(animals), state.astype(int)]
    return states
