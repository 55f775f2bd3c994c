"""Making room in the folder of frame caches: removes old caches and abandoned temporary files."""

import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from lightning_kp.errors import DataError
from lightning_kp.files import CACHE_REMEDY, cache_error

MIN_UNUSED_S = 3600.0
"""Caches may be deleted, and temporary files of other computers count as abandoned, after one hour without use."""


def make_room(folder: Path, needed: float, budget: float, in_use: Sequence[Path]) -> None:
    """Prepare ``folder`` for ``needed`` more bytes.  Raises DataError if the disk cannot hold them.

    Removes temporary files of killed processes.  If all caches together would exceed ``budget`` bytes, also removes
    caches that were not used for an hour, the least recently used first, but none of ``in_use`` (paths without suffix).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            if _is_abandoned(part):
                part.unlink(missing_ok=True)
        _evict(folder, budget - needed, {path.name for path in in_use})
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise cache_error(error, folder) from error
    if free < needed:
        raise DataError(
            f"The frame cache needs {needed / 1e9:.2f} GB, but {folder} has only {free / 1e9:.2f} GB free.",
            remedy=CACHE_REMEDY,
        )


def _evict(folder: Path, allowed: float, in_use: set[str]) -> None:
    """Delete the least recently used caches until the others take at most ``allowed`` bytes."""
    entries = [(path, path.stat()) for path in folder.glob("*.frames")]
    total = sum(status.st_size for _, status in entries)
    last_use = {path: _last_use(path) for path, _ in entries}
    for path, status in sorted(entries, key=lambda entry: last_use[entry[0]]):
        if total <= allowed or time.time() - last_use[path] < MIN_UNUSED_S:
            return
        if path.name.removesuffix(".frames") not in in_use:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            total -= status.st_size


def _last_use(frames: Path) -> float:
    """Time of the last use: every use touches the .json file; a .frames file without one is not a valid cache."""
    description = frames.with_suffix(".json")
    return description.stat().st_mtime if description.exists() else frames.stat().st_mtime


def _is_abandoned(part: Path) -> bool:
    """Whether the process that was writing a temporary file (NAME.HOST.PROCESS.part) is gone."""
    host, _, process = part.name.removesuffix(".part").rpartition(".")
    if host.endswith(f".{socket.gethostname()}") and process.isdigit() and os.name == "posix":
        return not _is_alive(int(process))
    return time.time() - part.stat().st_mtime > MIN_UNUSED_S


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
