"""The folder of frame caches: where it is, writing whole files only, removing what is left over."""

import errno
import hashlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lightning_kp.errors import DataError

UNUSED_S = 3600.0
"""Caches are deleted to make room, and abandoned temporaries of other computers, after an hour unused."""
_BLOCK = 1 << 16
_REMEDY = "Set cache_dir (or KP_CACHE_DIR) to a folder with room, or lower cache_gb."


def default_cache_dir() -> Path:
    """``KP_CACHE_DIR``, or the user's cache folder: videos often lie where their user may not write."""
    if "KP_CACHE_DIR" in os.environ:
        return Path(os.environ["KP_CACHE_DIR"]).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lightning_kp"


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only when it is complete; nothing stays of one that is not.

    The temporary's name tells whose it is, so that a killed process's is found.
    """
    temporary = target.with_name(f"{target.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
        temporary.replace(target)
    except OSError as error:
        raise _explained(error, target.parent) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_room(folder: Path, needed: float, budget: float, in_use: Sequence[Path]) -> None:
    """Prepare ``folder`` for ``needed`` more bytes; raises :class:`DataError` if it cannot hold them.

    Removes what killed processes left, and, from the least recently used on, caches that nobody
    used for an hour while all together exceed ``budget`` bytes.  ``in_use`` are paths without suffix.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            if _is_abandoned(part):
                part.unlink(missing_ok=True)
        _evict(folder, budget - needed, {path.name for path in in_use})
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _explained(error, folder) from error
    if free < needed:
        raise DataError(
            f"The frame cache needs {needed / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB free.",
            remedy=_REMEDY,
        )


def _evict(folder: Path, allowed: float, in_use: set[str]) -> None:
    entries = [(path, path.stat()) for path in folder.glob("*.frames")]
    total = sum(status.st_size for _, status in entries)
    last_use = {path: _last_use(path) for path, _ in entries}
    for path, status in sorted(entries, key=lambda entry: last_use[entry[0]]):
        if total <= allowed or time.time() - last_use[path] < UNUSED_S:
            return
        if path.name.removesuffix(".frames") not in in_use:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            total -= status.st_size


def _last_use(frames: Path) -> float:
    """The json's time is renewed at every use; frames without one never became valid."""
    described = frames.with_suffix(".json")
    return described.stat().st_mtime if described.exists() else frames.stat().st_mtime


def _is_abandoned(part: Path) -> bool:
    host, _, process = part.name.removesuffix(".part").rpartition(".")
    if host.endswith(f".{socket.gethostname()}") and process.isdigit() and os.name == "posix":
        return not _is_alive(int(process))
    return time.time() - part.stat().st_mtime > UNUSED_S


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _explained(error: OSError, folder: Path) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"The disk is full: the frame cache in {folder} could not be written.", remedy=_REMEDY
        )
    return DataError(
        f"The frame cache in {folder} cannot be written: {error.strerror or error}.", remedy=_REMEDY
    )


def file_mark(path: Path, *, with_time: bool = False) -> str:
    """Changes with a file's size and its bytes at the head, the middle and the tail; of a folder, with its files.

    Without ``with_time`` a copy has the mark of its original.
    """

    def facts(entry: Path) -> str:
        status = entry.stat()
        return f"{status.st_size} {status.st_mtime_ns}" if with_time else str(status.st_size)

    digest = hashlib.sha256()
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            digest.update(f"{entry.name} {facts(entry)}\n".encode())
        return digest.hexdigest()
    status = path.stat()
    digest.update(facts(path).encode())
    with path.open("rb") as file:
        for position in (0, status.st_size // 2, max(0, status.st_size - _BLOCK)):
            file.seek(position)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
