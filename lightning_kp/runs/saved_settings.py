"""Settings that a checkpoint holds: refused where the options they came from could not have them.

Values are compared with the annotations of the class that they are for.  Nothing is imported or built for it, unlike by
the parser of the command line: a class path in a file must not run code.
"""

import collections.abc
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from torch import Tensor, nn

from lightning_kp.errors import CheckpointError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}
_LISTS = (
    list,
    tuple,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_MAPPINGS = (dict, collections.abc.Mapping)
MAX_SHOWN = 60
MIN_SIZE, MAX_SIZE = 8, 4096
"""Side of a network's image in pixels, least and most (ours): a batch of larger ones fits into no memory."""


class Mismatch(NamedTuple):
    """A value that does not fit its argument: its name, what is needed, and the value, in words."""

    name: str
    needed: str
    given: str


def impossible(file: Path, problem: str) -> CheckpointError:
    """Return the error for a checkpoint whose settings nobody can have trained with."""
    return CheckpointError(
        f"The checkpoint {file} holds settings that cannot be: {problem}",
        remedy="Copy it again, or use an earlier one.",
    )


def refuse_unfit(file: Path, kind: type, options: Mapping[str, Any]) -> None:
    """Raise CheckpointError for a setting of another type than the argument of ``kind`` that it is for."""
    if (wrong := first_mismatch(kind, options)) is not None:
        raise impossible(file, f"its {wrong.name} is {wrong.given}, and {wrong.needed} is needed.")


def refuse_size(file: Path, size: Any) -> None:
    """Raise CheckpointError for a side of the network's image that is no number of pixels from 8 to 4096."""
    if not isinstance(size, int) or isinstance(size, bool) or not MIN_SIZE <= size <= MAX_SIZE:
        wanted = f"a whole number of pixels from {MIN_SIZE} to {MAX_SIZE} is needed."
        raise impossible(file, f"its size is {shown(size)}, and {wanted}")


def refuse_other_shapes(
    file: Path, content: Mapping[str, Any], network: nn.Module, now: Mapping[str, Any]
) -> None:
    """Raise CheckpointError unless the weights of a checkpoint have the shapes of ``network``'s.

    ``now`` are the hyper-parameters of the network, which are compared first: their names say more than shapes.
    """
    saved: dict[str, Tensor] = content["state_dict"]
    own = network.state_dict()
    different = [name for name in own if name in saved and saved[name].shape != own[name].shape]
    then = dict(content.get("hyper_parameters") or {})
    # A method that takes its keypoint names from the data has no network yet; one that takes its classes from them may
    # lack the part that tells them apart.
    waits = now.get("classes") == [] and bool(then.get("classes"))
    fits = own.keys() <= saved.keys() if waits else own.keys() == saved.keys()
    if not own or (not different and fits):
        return
    changed = [name for name in now if name in then and then[name] != now[name]]
    if "keypoints" in changed:
        changed = ["keypoints"]
    if changed:
        differences = ", ".join(f"{name}={shown(then[name])} (here {shown(now[name])})" for name in changed)
        raise CheckpointError(
            f"The checkpoint {file} was trained with {differences}.",
            remedy="Use "
            + " ".join(f"--model.{name}={then[name]}" for name in changed)
            + ", another checkpoint, or another run folder.",
        )
    name = different[0] if different else min(saved.keys() ^ own.keys())
    detail = (
        f"{tuple(saved[name].shape)}, not {tuple(own[name].shape)}" if different else "in only one of them"
    )
    raise CheckpointError(f"The checkpoint {file} does not fit {type(network).__name__}: {name} is {detail}.")


def first_mismatch(kind: type, values: Mapping[str, Any]) -> Mismatch | None:
    """Return the first value that does not fit the argument of that name of ``kind``; None if all fit.

    Arguments of base classes count too.  Names that no argument has, and annotations other than plain types, literals,
    lists and mappings of them, fit anything.
    """
    for base in kind.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        try:
            known = typing.get_type_hints(vars(base)["__init__"])
        except (NameError, TypeError):  # an annotation that exists for type checkers only
            continue
        for name, value in values.items():
            if name in known and not _fits(value, known[name]):
                return Mismatch(name, _in_words(known[name]), shown(value))
    return None


def shown(value: Any) -> str:
    """The value as text of one line, shortened.

    >>> shown("abc"), shown(list(range(100)))[-12:]
    ("'abc'", '4, 15, 16...')
    """
    text = " ".join(repr(value[:MAX_SHOWN] if isinstance(value, (str, list, tuple)) else value).split())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _fits(value: Any, wanted: Any) -> bool:
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted in (bool, str, type(None)):
        return isinstance(value, wanted)
    if (origin or wanted) in _LISTS:
        return _fits_list(value, inner)
    if (origin or wanted) in _MAPPINGS:
        return isinstance(value, Mapping)
    return True


def _fits_list(value: Any, inner: tuple[Any, ...]) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return False
    is_of_length = bool(inner) and Ellipsis not in inner and len(inner) > 1
    if is_of_length:
        return len(value) == len(inner) and all(map(_fits, value, inner))
    return not inner or all(_fits(each, inner[0]) for each in value)


def _in_words(wanted: Any) -> str:
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_in_words(each) for each in inner))
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if (origin or wanted) in _LISTS:
        return "a list"
    if (origin or wanted) in _MAPPINGS:
        return "a mapping"
    return _WORDS.get(wanted, str(getattr(wanted, "__name__", wanted)))
