"""The folder of frame caches: where it is, writing whole files only, removing what is left over."""

import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.files import _REMEDY, _explained

UNUSED_S = 3600.0
"""Caches are deleted to make room, and abandoned temporaries of other computers, after an hour unused."""


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
