"""Files written whole or not at all, JSON, fingerprints of files, and where caches lie.

Every file that replaces another one is written beside it under a temporary name and then renamed, so that a reader
sees the old or the new content and never a part.  The forms differ in what writes: :func:`write_whole` a text,
:func:`writing_text` a text or table line by line, :func:`writing` a binary file, :func:`replacing` a library that opens
a path itself, :func:`writing_cache` a cache.
"""

import contextlib
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from lightning_kp.errors import DISK_FULL, DataError, disk_full_number

CACHE_REMEDY = "Set cache_dir (or KP_CACHE_DIR) to a folder with room, or lower cache_gb."
UNENCODABLE = "backslashreplace"
"""How bytes of a file's name that are no UTF-8 are printed and written into texts: as escapes such as \\udcff."""
MAX_NAME_BYTES = 255
"""Longest name of a file, in bytes, that Linux, macOS and Windows accept."""
ROOM_BYTES = 63
"""Bytes that are kept free after a result's name, for endings and for temporary names (ours)."""
_BLOCK_BYTES = 1 << 16


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file gives an empty one.  Raises DataError for a damaged file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged ({error}).", remedy="Delete it; it will be written again."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file (UTF-8, line ends as given) that appears under its name only when it is complete."""
    with _renamed(_temporary(path, ".part"), path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=UNENCODABLE, newline="")


@contextlib.contextmanager
def writing_text(path: Path) -> Iterator[TextIO]:
    """Open a text file (UTF-8, line ends as given) that appears under its name only when it is complete."""
    with (
        _renamed(_temporary(path, ".part"), path) as temporary,
        temporary.open("w", encoding="utf-8", errors=UNENCODABLE, newline="") as file,
    ):
        yield file


@contextlib.contextmanager
def writing(path: Path, *, several_writers: bool = False, flush_to_disk: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that appears under its name only when it is complete; a failed one leaves nothing.

    Args:
        path: The final path.
        several_writers: Other processes may write the same path.  The temporary name then holds host and process,
            which also tells whether a leftover temporary is abandoned.
        flush_to_disk: Wait until the content is on the disk, so that it survives a power cut.
    """
    owner = f".{socket.gethostname()}.{os.getpid()}" if several_writers else ""
    with (
        _renamed(_temporary(path, f"{owner}.part"), path) as temporary,
        temporary.open("wb") as file,
    ):
        yield file
        if flush_to_disk:
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path, *, several_writers: bool = False, room: int = 0) -> Iterator[Path]:
    """Yield a temporary path with the suffix of ``path``, renamed to ``path`` when the block succeeds.

    For libraries that open a path themselves and choose the format by its suffix.

    Args:
        path: The final path.
        several_writers: As in :func:`writing`.
        room: Bytes that must be free beforehand, for libraries that notice a full disk late or never: HDF5 may close a
            file that lacks half of its content without an error.
    """
    owner = f".{socket.gethostname()}.{os.getpid()}" if several_writers else ""
    hidden = path.with_name(f".{path.stem}")
    with _renamed(_temporary(hidden, f"{owner}.partial{path.suffix}"), path) as temporary:
        if room:
            if printable(str(path)) != str(path):
                raise DataError(
                    f"{printable(str(path))} cannot be written: HDF5 needs names in UTF-8.",
                    remedy="Choose another folder (--out DIR).",
                )
            _require_room(temporary, room)
        yield temporary


def _require_room(path: Path, size: int) -> None:
    """Raise OSError unless ``size`` bytes can be written to ``path``; nothing stays written."""
    if not hasattr(os, "posix_fallocate"):  # Windows, macOS
        return
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            # Otherwise the file system cannot reserve room.
        file.truncate(0)


def _temporary(path: Path, ending: str) -> Path:
    """Name of a temporary beside ``path``, no longer than names may be."""
    return path.with_name(fitting_name(path.name, len(os.fsencode(ending))) + ending)


@contextlib.contextmanager
def writing_cache(path: Path) -> Iterator[BinaryIO]:
    """Open a cache file as :func:`writing` does for several writers.  Raises DataError that names the cache options."""
    try:
        with writing(path, several_writers=True) as file:
            yield file
    except OSError as error:
        raise cache_error(error, path.parent) from error


def cache_error(error: OSError, folder: Path) -> DataError:
    """Explain why the cache in ``folder`` cannot be written, and which options help."""
    if error.errno in DISK_FULL:
        problem = f"The disk is full: the frame cache in {folder} could not be written."
    else:
        problem = f"The frame cache in {folder} cannot be written: {error.strerror or error}."
    return DataError(problem, remedy=CACHE_REMEDY)


@contextlib.contextmanager
def _renamed(temporary: Path, path: Path) -> Iterator[Path]:
    """Yield ``temporary`` to be written, then give it its name; remove it if anything fails.

    An OSError about the temporary names ``path`` instead, which is the name that users know.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        unnamed_full_disk = error.filename is None and error.errno in DISK_FULL
        if unnamed_full_disk or str(temporary) in map(str, (error.filename, error.filename2)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    except Exception as error:
        if (number := disk_full_number(error)) is not None:  # a library's own error, such as HDF5's
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def fitting_name(name: str, room: int = ROOM_BYTES) -> str:
    """Shorten a name so that ``room`` more bytes fit into a file's name; a digest keeps shortened names apart.

    >>> fitting_name("mouse"), len(fitting_name("x" * 255)), fitting_name("x" * 255)[-10:]
    ('mouse', 192, 'x-d22609da')
    """
    stored = os.fsencode(name)
    if len(stored) <= MAX_NAME_BYTES - room:
        return name
    mark = f"-{hashlib.sha256(stored).hexdigest()[:8]}"
    kept = stored[: MAX_NAME_BYTES - room - len(mark)].decode("utf-8", "ignore")  # whole letters only
    return kept + mark


def unique_stems(paths: list[Path]) -> list[str]:
    """Return one result name per video: its stem, numbered where several videos share it; see :func:`fitting_name`.

    >>> unique_stems([Path("a/mouse.mp4"), Path("b/mouse.avi"), Path("c/fly.mp4")])
    ['mouse', 'mouse_2', 'fly']
    """
    names: list[str] = []
    for path in paths:
        path = path if path.name not in ("", "..") else path.resolve()  # "." has no name of its own
        stem = fitting_name(path.stem if path.suffix and not path.is_dir() else path.name)
        stem = stem.encode(errors="surrogateescape").decode(errors="replace")  # libraries need names in UTF-8
        choices = (stem, *(f"{stem}_{number}" for number in range(2, len(paths) + 2)))
        names.append(next(name for name in choices if name not in names))
    return names


def printable(name: str) -> str:
    r"""Return the name of a file for people and pictures: bytes that are no UTF-8 become escapes.

    >>> printable("mouse"), printable("mouse\udcff")
    ('mouse', 'mouse\\udcff')
    """
    return name.encode(errors=UNENCODABLE).decode()


def companion(stem: Path, suffix: str) -> Path:
    """Append ``suffix`` to ``stem``; unlike ``with_suffix``, right for names with dots (session.2024-05-01)."""
    return stem.with_name(stem.name + suffix)


def default_cache_dir() -> Path:
    """Return ``KP_CACHE_DIR`` or the user's cache folder, since videos often lie in read-only folders."""
    if "KP_CACHE_DIR" in os.environ:
        return Path(os.environ["KP_CACHE_DIR"]).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lightning_kp"


def file_fingerprint(path: Path, *, with_time: bool = False) -> str:
    """Hash the size of a file and 64 KiB at its start, middle and end; for a folder, the names and sizes of its files.

    Without ``with_time`` a copy has the fingerprint of its original; with it, the time of the last change counts too.
    """

    def facts(entry: Path) -> str:
        status = entry.stat()
        return f"{status.st_size} {status.st_mtime_ns}" if with_time else str(status.st_size)

    digest = hashlib.sha256()
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            digest.update(os.fsencode(f"{entry.name} {facts(entry)}\n"))
        return digest.hexdigest()
    status = path.stat()
    digest.update(facts(path).encode())
    with path.open("rb") as file:
        for position in (0, status.st_size // 2, max(0, status.st_size - _BLOCK_BYTES)):
            file.seek(position)
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()
