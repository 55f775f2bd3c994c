"""The most likely course of two states, against all courses."""

from itertools import product

import numpy as np
import pytest

from lightning_kp.smoothing.viterbi import most_likely_states


@pytest.mark.parametrize("seed", range(6))
def test_no_course_is_cheaper(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames, animals = 7, 2
    own, same, change = (
        rng.random((frames, animals, 2)),
        rng.random((frames, animals)),
        rng.random((frames, animals)),
    )

    def cost(course: tuple[int, ...], animal: int) -> float:
        steps = sum((change if course[t] != course[t - 1] else same)[t, animal] for t in range(1, frames))
        return float(steps + sum(own[t, animal, state] for t, state in enumerate(course)))

    found = most_likely_states(own, same, change)
    for animal in range(animals):
        best = min(product((0, 1), repeat=frames), key=lambda course: cost(course, animal))
        assert found[:, animal].astype(int).tolist() == list(best)


def test_without_frames_there_are_no_states() -> None:
    assert most_likely_states(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)
