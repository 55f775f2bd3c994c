"""One process at a time in a folder: a second one is refused instead of mixing its files with those of the first."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning_kp.errors import DataError

LOCK_NAME = ".kp.lock"
RANKS = ("LOCAL_RANK", "RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Variables that number the processes of one training, on one computer or on several."""
_held: set[Path] = set()
_POLL_S = 0.1


def is_first_process() -> bool:
    """Whether this is the only process of a training, or the first of those that DDP starts."""
    return all(os.environ.get(name, "0") in ("", "0") for name in RANKS)


def hold(descriptor: int) -> bool:
    """Lock an open file until it is closed; False if another process, or another opening of the file, holds it.

    True also where there are no locks: on Windows and on some network folders.
    """
    try:
        import fcntl
    except ImportError:
        return True
    return _acquired(fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, descriptor, 0.0)


@contextlib.contextmanager
def locked(folder: Path, work: str, *, wait_s: float = 0.0, option: str = "--out") -> Iterator[int | None]:
    """Keep other processes that ask for the same lock out of ``folder``; yields the lock's file descriptor.

    The system frees the lock when the process ends, however it ends, so nothing is left to clean up.  A child process
    that inherits the descriptor holds the lock too.  Nothing is locked, and None is yielded, on Windows, in a folder
    that cannot be written, on file systems without locks, where this process holds the lock already, and in the
    further processes of DDP, whose first one holds it.

    Args:
        folder: An existing folder.
        work: What the error says is going on there, such as "a sweep".
        wait_s: Seconds to wait for a process that is about to end.
        option: The option that names the folder, for the error.

    Raises:
        DataError: Another process holds the lock.
    """
    key = folder.resolve()
    if key in _held or not is_first_process():
        yield None
        return
    try:
        import fcntl

        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except (ImportError, OSError):  # what follows finds out whether the folder can be written
        yield None
        return
    try:
        if not _acquired(fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, descriptor, wait_s):
            raise _in_use(folder, work, descriptor, option)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        _held.add(key)
        yield descriptor
    finally:
        _held.discard(key)
        os.close(descriptor)


def _acquired(flock: Callable[[int, int], None], operation: int, descriptor: int, wait_s: float) -> bool:
    """Whether the lock was free, or became so in time; also where the file system has no locks."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            flock(descriptor, operation)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        except OSError:  # a network folder without locks
            return True
        else:
            return True


def _in_use(folder: Path, work: str, descriptor: int, option: str) -> DataError:
    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    process = f" (process {holder}, or one that it started)" if holder.isdigit() else ""
    return DataError(
        f"{work} is at work in {folder} already{process}.",
        remedy=f"Wait for its end, or choose another folder ({option} DIR).",
    )
