"""Files written whole or not at all, JSON, the mark of a file, and where caches lie."""

import contextlib
import errno
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lightning_kp.errors import DataError

_BLOCK = 1 << 16
_REMEDY = "Set cache_dir (or KP_CACHE_DIR) to a folder with room, or lower cache_gb."


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the run folder; empty where there is no file.  Raises DataError for a damaged one."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}).", remedy="Delete it; it is then written anew."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def unique_stems(paths: list[Path]) -> list[str]:
    """A result name per video: its stem, with a number where two videos share one."""
    names: list[str] = []
    for path in paths:
        path = path if path.name not in ("", "..") else path.resolve()  # "." has no name of its own
        stem = path.stem if path.suffix and not path.is_dir() else path.name
        choices = (stem, *(f"{stem}_{number}" for number in range(2, len(paths) + 2)))
        names.append(next(name for name in choices if name not in names))
    return names


def companion(stem: Path, suffix: str) -> Path:
    """``stem`` plus ``suffix``; unlike ``with_suffix`` right for names with dots (session.2024-05-01)."""
    return stem.with_name(stem.name + suffix)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` with the same suffix; renamed to ``path`` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
