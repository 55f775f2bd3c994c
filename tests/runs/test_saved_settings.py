"""Settings of a checkpoint against the annotations of the class that they are for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest

from lightning_kp.runs.saved_settings import MAX_SHOWN, first_mismatch, shown


class Base:
    def __init__(self, root: str = ".") -> None: ...


class Owner(Base):
    def __init__(
        self,
        size: int = 96,
        share: float = 0.1,
        fit: Literal["pad", "crop"] = "pad",
        is_on: bool = False,
        names: list[str] | None = None,
        box: tuple[int, int] | str | None = None,
        widths: Sequence[int] = (),
        weights: Mapping[str, float] | None = None,
        optimizer: Callable[..., Any] | None = None,
        **more: Any,
    ) -> None: ...


@pytest.mark.parametrize(
    "values",
    [
        {}, {"size": 3}, {"share": 1}, {"share": 0.5}, {"fit": "crop"}, {"is_on": True}, {"names": None},
        {"names": ["a"]}, {"names": ("a",)}, {"box": [1, 2]}, {"box": "follow"}, {"widths": [8, 8]},
        {"weights": {"a": 1.0}}, {"optimizer": "anything"}, {"unknown": object()}, {"root": "/a"},
    ],
)  # fmt: skip
def test_what_an_option_could_have_passes(values: dict[str, Any]) -> None:
    assert first_mismatch(Owner, values) is None


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"size": "abc"}, ("size", "a whole number", "'abc'")),
        ({"size": 1.5}, ("size", "a whole number", "1.5")),
        ({"size": True}, ("size", "a whole number", "True")),
        ({"size": None}, ("size", "a whole number", "None")),
        ({"share": "0.1"}, ("share", "a number", "'0.1'")),
        ({"fit": "squash"}, ("fit", "one of pad, crop", "'squash'")),
        ({"is_on": 1}, ("is_on", "true or false", "1")),
        ({"names": "nose"}, ("names", "a list or nothing", "'nose'")),
        ({"names": ["nose", 3]}, ("names", "a list or nothing", "['nose', 3]")),
        ({"box": [1, 2, 3]}, ("box", "a list or text or nothing", "[1, 2, 3]")),
        ({"weights": [1]}, ("weights", "a mapping or nothing", "[1]")),
        ({"size": 3, "root": 3}, ("root", "text", "3")),
    ],
)
def test_other_types_are_named(values: dict[str, Any], wrong: tuple[str, str, str]) -> None:
    assert first_mismatch(Owner, values) == wrong


def test_values_are_shown_in_short() -> None:
    assert shown({"a": "b\nc"}) == "{'a': 'b\\nc'}"
    assert len(shown(["name"] * 1_000_000)) == MAX_SHOWN
