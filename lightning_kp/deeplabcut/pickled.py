"""Texts, numbers and lists of them from a pickle, without unpickling.

pandas stores the names of a table's columns as a pickle.  To load a pickle is to do what it says, which may be to
call any function.  Here its instructions are read one by one; those that build texts, numbers, lists, tuples and
dictionaries are followed, and any other one is refused.
"""

import pickletools
from collections.abc import Callable
from typing import Any

_MARK = object()
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "SHORT_BINSTRING", "BINSTRING",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_STORE = {"PUT", "BINPUT", "LONG_BINPUT"}
_FETCH = {"GET", "BINGET", "LONG_BINGET"}


def plain_value(pickled: bytes) -> Any:
    """Value of a pickle (any protocol) of None, texts, numbers, lists, tuples and dictionaries.

    Raises ValueError if it holds anything else or is damaged; nothing is called, and nothing is imported.

    >>> import pickle
    >>> plain_value(pickle.dumps([("me", "nose", "x"), 1, None], 0))
    [('me', 'nose', 'x'), 1, None]
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "STOP":
                return stack.pop()
            if opcode.name in _STORE or opcode.name == "MEMOIZE":
                memo[argument if isinstance(argument, int) else len(memo)] = stack[-1]
            elif opcode.name in _FETCH:
                stack.append(memo[int(argument or 0)])
            elif opcode.name not in ("PROTO", "FRAME"):
                _follow(opcode.name, argument, stack)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it holds a damaged pickle ({error})") from error
    raise ValueError("it holds a pickle without an end")


def _follow(name: str, argument: Any, stack: list[Any]) -> None:
    """Follow one instruction that builds a plain value."""
    if name in _NEW:
        stack.append(_NEW[name]())
    elif name in _VALUES:
        stack.append(argument)
    elif name in _TUPLES:
        stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
    elif name in ("TUPLE", "LIST", "DICT"):
        items = _since_mark(stack)
        pairs = zip(items[::2], items[1::2], strict=False)
        stack.append(tuple(items) if name == "TUPLE" else items if name == "LIST" else dict(pairs))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _since_mark(stack)
        stack[-1].extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = _since_mark(stack) if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
        stack[-1].update(zip(items[::2], items[1::2], strict=False))
    else:
        raise ValueError(f"it holds a pickled object ({name}), which could run code when it is read")


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take everything after the last mark from the stack, and the mark."""
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]
