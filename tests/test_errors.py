"""Errors: one line with the problem and the remedy."""

import pytest

from lightning_kp import errors
from lightning_kp.errors import KeypointError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KeypointError)]


@pytest.mark.parametrize("kind", KINDS)
def test_message_is_problem_then_remedy(kind: type[KeypointError]) -> None:
    error = kind("No frame in a.mp4.", remedy="Convert it with FFmpeg.")
    assert str(error) == "No frame in a.mp4. Convert it with FFmpeg."
    assert (error.problem, error.remedy) == ("No frame in a.mp4.", "Convert it with FFmpeg.")
    assert str(kind("Only a problem.")) == "Only a problem."


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigurationError, ValueError),  # jsonargparse reports a ValueError as a usage error
        (errors.DataError, ValueError),
        (errors.VideoError, errors.DataError),
        (errors.CheckpointError, RuntimeError),
        (errors.DivergenceError, RuntimeError),
    ],
)
def test_kinds_are_caught_as_what_they_are(kind: type[KeypointError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin) as caught:
        raise kind("x")
    assert isinstance(caught.value, KeypointError)


def test_every_kind_is_tested() -> None:
    assert len(KINDS) >= 6
