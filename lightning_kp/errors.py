"""Errors that say what was needed, what was given and what to type."""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of system errors that free space would solve."""


class KeypointError(Exception):
    """Base of every error that a user of the ``kp`` command can cause and fix.

    The command line prints such an error as one line, without a traceback.
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".strip())


class ConfigurationError(KeypointError, ValueError):
    """Options that cannot be combined, or a value outside its range."""


class DataError(KeypointError, ValueError):
    """Input files that cannot be used as they are."""


class VideoError(DataError):
    """A video that cannot be opened or has no usable frame."""


class CheckpointError(KeypointError, RuntimeError):
    """A checkpoint that is damaged, unsafe, or belongs to another method."""


class ExportError(KeypointError, RuntimeError):
    """A method that cannot be exported, or whose exported graph computes different values."""


class DivergenceError(KeypointError, RuntimeError):
    """A loss term became NaN or infinite."""


class WorkerError(KeypointError, RuntimeError):
    """A process of a training on several devices that ended before the others."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name whose spelling is closest to the given one; None if no name is close.

    The given name itself is not among the answers: it was refused.

    >>> nearest("resnet5O", ["resnet18", "resnet50"])
    'resnet50'
    """
    by_lower = {option.lower(): option for option in known if option != name}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Suggest the nearest known name, or list all known names where none is close.

    >>> did_you_mean("nose", ["snout", "tail"])
    'There are: snout, tail.'
    """
    choices = sorted(known)
    near = nearest(name, choices)
    if near is not None:
        return f"Did you mean {prefix}{near}?"
    return f"There are: {', '.join(choices)}." if choices else ""


def require_positive(**options: Sequence[float]) -> None:
    """Raise ConfigurationError for an option of a method one of whose values is not above 0, or NaN."""
    for name, values in options.items():
        if wrong := [value for value in values if not value > 0]:  # this form refuses NaN, too
            raise ConfigurationError(
                f"{name} must be above 0, got {wrong[0]}.",
                remedy=f"Leave --model.{name} out to use its default.",
            )


def require_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ConfigurationError for an option of a method that is none of the ``allowed`` words."""
    if value not in allowed:
        raise ConfigurationError(
            f"{name} must be one of {', '.join(allowed)}, got {value!r}.",
            remedy=f"Use --model.{name}={allowed[0]}.",
        )


def explain(error: BaseException) -> str | None:
    """Describe an error that the user can fix (or one among its causes) in one line; None for a bug of ours."""
    for link in _chain(error):
        if isinstance(link, KeypointError):
            return one_line(str(link))
    for link in _chain(error):
        if isinstance(link, OSError) and (line := _explain_os_error(link)):
            return line
    return None


def disk_full_number(error: BaseException) -> int | None:
    """Return the system's number of a full disk that an error, or one among its causes, tells of; None for others.

    HDF5 and other libraries in C tell it in the text of errors of their own.

    >>> disk_full_number(RuntimeError("file write failed: errno = 28, error message = 'No space left on device'"))
    28
    """
    for link in _chain(error):
        stated = re.search(r"\berrno = (\d+)", str(link))
        number = (
            link.errno if isinstance(link, OSError) and link.errno else int(stated[1]) if stated else None
        )
        if number in DISK_FULL:
            return number
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, outermost first."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _explain_os_error(error: OSError) -> str | None:
    path = error.filename2 or error.filename
    name = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
    if error.errno in DISK_FULL:
        where = f" while writing {name}" if name else ""
        return f"The disk is full{where}. Free some space, or write to another disk."
    if not name:
        return None
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission for {name}. Choose a folder that you may write to, or change its permissions."
    return f"{error.strerror}: {name}."


def one_line(text: str) -> str:
    """Replace every run of white space in the text by one blank."""
    return " ".join(text.split())
