"""Plain values of a pickle are read at every protocol; nothing in it is ever called."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_kp.deeplabcut.pickled import plain_value

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    found = plain_value(pickle.dumps(value, protocol))
    assert found == value
    assert type(found) is type(value)


def test_python_2_wrote_byte_strings_and_long_numbers() -> None:
    assert plain_value(b"(lp0\n(L1L\n(S'me'\np1\nS'x'\np2\ntp3\ntp4\na.") == [(1, ("me", "x"))]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [(1, [x])], lambda x: {"names": x}])
def test_objects_are_refused_and_not_run(protocol: int, wrap: Any, tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    pickled = pickle.dumps(wrap(Trap(mark)), protocol)
    with pytest.raises(ValueError, match="pickled object"):
        plain_value(pickled)
    assert not mark.exists()
    pickle.loads(pickled)
    assert mark.exists()  # so the trap works


@pytest.mark.parametrize("value", [np.float64(1), {1, 2}, b"bytes", print, Path("x"), 1j])
def test_other_kinds_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="it holds"):
        plain_value(pickle.dumps(value))


@pytest.mark.parametrize(
    "damaged",
    [b"", b".", b"(l", b"(lp0\n", b"t.", b"a.", b"g5\n.", b"(I1\nNs.", b"]]s.", b"Va\nVb\na.", b"\x80\x04\x96",
     b"nonsense"],
)  # fmt: skip
def test_damage_is_a_value_error(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_value(damaged)


def test_a_far_memo_takes_no_memory() -> None:
    assert plain_value(b"N" + b"p4000000000\n" + b".") is None
