"""Errors that say what was needed, what was given and what to type."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of system errors that free space would mend."""


class KeypointError(Exception):
    """Base of every error that a user of the ``kp`` command can cause and mend.

    The command line prints such an error as one line, without a traceback.
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".strip())


class ConfigurationError(KeypointError, ValueError):
    """Options that cannot work together, or a value out of its range."""


class DataError(KeypointError, ValueError):
    """Input files that cannot be used as they are."""


class VideoError(DataError):
    """A video without a usable frame, or one that cannot be opened."""


class CheckpointError(KeypointError, RuntimeError):
    """A checkpoint that is damaged, unsafe, or belongs to another model."""


class ExportError(KeypointError, RuntimeError):
    """A method that cannot be exported, or whose exported graph computes something else."""


class DivergenceError(KeypointError, RuntimeError):
    """A loss term became NaN or infinite."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelt most like the given one, if any comes near."""
    by_lower = {option.lower(): option for option in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The remedy for a misspelt name: the nearest one, or all there are."""
    choices = sorted(known)
    near = nearest(name, choices)
    if near is not None:
        return f"Did you mean {prefix}{near}?"
    return f"There are: {', '.join(choices)}." if choices else ""


def explain(error: BaseException) -> str | None:
    """One line for an error that the user can mend (also one nested in another); None for a bug of ours."""
    for link in _chain(error):
        if isinstance(link, KeypointError):
            return one_line(str(link))
    for link in _chain(error):
        if isinstance(link, OSError) and (line := _explain_os_error(link)):
            return line
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _explain_os_error(error: OSError) -> str | None:
    path = error.filename2 or error.filename
    place = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
    if error.errno in DISK_FULL:
        where = f" while writing {place}" if place else ""
        return f"The disk is full{where}. Free some space, or write to another disk."
    if not place:
        return None
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission for {place}. Choose a folder that you may write to, or change its permissions."
    return f"{error.strerror}: {place}."


def one_line(text: str) -> str:
    """The text with every run of white space as one blank."""
    return " ".join(text.split())
