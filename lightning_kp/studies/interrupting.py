"""Runs ``kp`` in a child process and ends or limits it at a chosen point; finds torn files in what it leaves.

A child is a copy of this process (``os.fork``), so that a call costs no second for imports.  It counts the operations
by which Python changes files (open to write, rename, remove, make a folder); C libraries write through files that are
opened or renamed so.
"""

import contextlib
import csv
import io
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

CHANGES = frozenset(
    ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
)
Prepare = Callable[[], object]


@dataclass(frozen=True)
class Ended:
    """How a call of ``kp`` ended: exit code (negative: the signal that killed it) and what it printed."""

    code: int
    text: str

    @property
    def has_traceback(self) -> bool:
        """Whether it printed one, or an error of several lines."""
        return "Traceback (most recent call last)" in self.text or "Exception ignored in" in self.text


def call(words: list[str], log: Path, prepare: Prepare = lambda: None) -> Ended:
    """Run ``kp`` with these arguments in a copy of this process, after ``prepare`` has been called in it."""
    (kp,) = entry_points(group="console_scripts", name="kp")
    main = kp.load()

    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), write_through=True)
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), write_through=True)
            prepare()
            code = main(words)
        except BaseException:  # noqa: BLE001  (what main lets through is a finding)
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))


def killed_at(operation: int, folders: tuple[Path, ...], count: Path) -> Prepare:
    """Prepare a child to be killed (SIGKILL) before its change number ``operation`` (from 1) below ``folders``.

    With 0 it is never killed, and the number of changes is kept in the file ``count``.
    """
    places = tuple(f"{folder.resolve()}{os.sep}" for folder in folders)
    seen = 0

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        is_change = _writes(given[1], given[2]) if event == "open" else event in CHANGES
        path = given[0] if given else None
        if not is_change or not isinstance(path, (str, bytes)):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(places):  # noqa: PTH100  (an audit hook has to be quick)
            return
        seen += 1
        if seen == operation:
            os.kill(os.getpid(), signal.SIGKILL)
        if operation == 0:
            descriptor = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, str(seen).encode())
            os.close(descriptor)

    return lambda: sys.addaudithook(watch)


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def killed_beyond(size: int) -> Prepare:
    """Prepare a child to be killed in the middle of the write that makes a file larger than ``size`` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return prepare


def limited(limit: int, value: int) -> Prepare:
    """Prepare a child to run under a limit of :mod:`resource`, such as RLIMIT_FSIZE, as on a full disk."""
    return lambda: resource.setrlimit(limit, (value, value))


def torn_files(folder: Path) -> list[str]:
    """Names of the files below ``folder`` that cannot be read to their end; temporary and hidden ones do not count."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".part", ".log"):
            try:
                _read_whole(path)
            except Exception as error:  # noqa: BLE001  (whatever a library says of half a file)
                found.append(f"{name} ({type(error).__name__})")
    return found


def _read_whole(path: Path) -> None:
    """Read a file to its end by its suffix.  Raises an error of the library that reads it where it is torn."""
    reader = _READERS.get(path.suffix)
    if reader is not None:
        reader(path)


def _read_table(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if path.name == "metrics.csv":  # grows line by line; a last half line is not read
        rows = rows[:-1]
    if not rows or len({len(row) for row in rows}) > 1:
        raise ValueError("a line is cut short")


def _read_picture(path: Path) -> None:
    from PIL import Image as Pictures

    Pictures.open(path).load()


def _read_video(path: Path) -> None:
    import av

    with av.open(str(path)) as container:
        if not sum(1 for _ in container.decode(video=0)):
            raise ValueError("it has no frame")


def _read_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        file.visititems(lambda _, each: each[()] if isinstance(each, h5py.Dataset) else None)


def _read_checkpoint(path: Path) -> None:
    from lightning_kp.checkpoints import read_checkpoint

    read_checkpoint(path)


def _read_onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(onnx.load(path))


def _read_page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("it has no end")


def _read_yaml(path: Path) -> None:
    import yaml

    if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
        raise ValueError("it holds no settings")


_READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".csv": _read_table,
    ".png": _read_picture,
    ".mp4": _read_video,
    ".slp": _read_hdf5,
    ".h5": _read_hdf5,
    ".ckpt": _read_checkpoint,
    ".onnx": _read_onnx,
    ".html": _read_page,
    ".yaml": _read_yaml,
}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in ``folder`` for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
