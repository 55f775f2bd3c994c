"""What is left of the work where a verb is killed, the disk is full, or memory and file descriptors run out.

``python -m lightning_kp.studies.faults`` (``make faults``) makes a small video and runs, calls each verb undisturbed,
then once for every change of a file, killed (SIGKILL) just before that change; in the middle of files of several
sizes; on a disk that takes no more than so many bytes; with 64 file descriptors; and with little memory.  After each
the same command is typed again.  It prints a table:

- tried: faults; a fault that came after the end of the command does not count.
- survived: typed again, the command ended well, with all files of the undisturbed call.
- torn: faults after which a file lay there that could not be read.
- lost: faults after which the command, typed again, failed or lacked a file.
- other: faults after which the tracks differ from the undisturbed ones by more than rounding.
- traceback: calls, the disturbed or the next, that printed one.
"""

import argparse
import csv
import io
import math
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_kp.files import write_whole
from lightning_kp.studies.interrupting import (
    Ended,
    Prepare,
    call,
    inside,
    killed_at,
    killed_beyond,
    limited,
    torn_files,
)

SIZES = (1_000, 5_000, 20_000, 50_000, 100_000, 200_000)
"""Sizes in bytes beyond which a file is cut, or a disk is full."""
CACHE = "cache"
"""Folder of the frame cache within the working folder, which is empty at the start of every call."""
ROUNDING = 1e-5
"""Difference of two numbers, relative and absolute, that single precision explains."""
DESCRIPTORS = 64
MEMORY_MB = (64, 256)
"""Address space that a call may use beyond that of its start."""
TINY = (
    "--model.encoder=tiny", "--model.keypoints=3", "--model.pose_width=8", "--data.size=48", "--data.batch_size=2",
    "--data.gap=2", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.max_epochs=2",
)  # fmt: skip
VERBS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "arena.mp4", "--out", "inspected"),
    "discover": ("discover", "arena.mp4", "--out", "new", *TINY),
    "track": ("track", "run", "other.mp4", "--out", "tracked", "--overlay"),
    "report": ("report", "run", "--judge"),
    "suggest": ("suggest", "run", "--count", "4", "--out", "suggested"),
    "name": ("name", "run", "arena.truth.npz", "--out", "named"),
    "export": ("export", "run", "--out", "exported/model.onnx"),
}
"""Calls by verb, in a folder with two videos (arena, other), labels and the folder of a discovery (run)."""
COLUMNS = ("verb", "fault", "tried", "survived", "torn", "lost", "other", "traceback")


@dataclass
class Row:
    """Counts of one line of the table, and what was found."""

    verb: str
    fault: str
    tried: int = 0
    survived: int = 0
    torn: int = 0
    lost: int = 0
    other: int = 0
    traceback: int = 0
    findings: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of COLUMNS."""
        return tuple(str(getattr(self, name)) for name in COLUMNS)


class Scene:
    """A folder that every trial starts from, and a copy of it that the trial changes."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "base"
        self.work = folder / "work"
        self.log = folder / "output.txt"
        self.count = folder / "operations.txt"

    def build(self) -> None:
        """Render the videos and discover keypoints in one of them."""
        from lightning_kp.arena.recording import ArenaSettings, write_arena

        for seed, name in enumerate(("arena", "other")):
            write_arena(ArenaSettings(size=48, frames=24, animals=1, seed=seed), self.base, name)
        self._fresh()
        done = self._run(("discover", "arena.mp4", "--out", "run", "--no-overlay", *TINY))
        if done.code:
            raise RuntimeError(f"The run that faults are tried on could not be made: {done.text[-500:]}")
        shutil.copytree(self.work / "run", self.base / "run")

    def verb(self, verb: str, every: int) -> Iterator[Row]:
        """Try all faults on a verb; of the changes of files every ``every``-th."""
        words = VERBS[verb]
        self._fresh()
        whole = self._run(words, killed_at(0, (self.work,), self.count))
        if whole.code:
            raise RuntimeError(f"kp {verb} failed undisturbed: {whole.text[-500:]}")
        wanted, changes = self._outcome(), int(self.count.read_text())
        kills = [killed_at(number, (self.work,), self.count) for number in range(1, changes + 1, every)]
        yield self._row(verb, "killed at a change", kills, words, wanted)
        yield self._row(verb, "killed in a write", [killed_beyond(size) for size in SIZES], words, wanted)
        full = [limited(resource.RLIMIT_FSIZE, size) for size in SIZES]
        yield self._row(verb, "full disk", full, words, wanted)
        few = [limited(resource.RLIMIT_NOFILE, DESCRIPTORS)]
        yield self._row(verb, f"{DESCRIPTORS} descriptors", few, words, wanted)
        little = [_little_memory(size) for size in MEMORY_MB]
        yield self._row(verb, "little memory", little, words, wanted)

    def _row(
        self, verb: str, fault: str, prepared: list[Prepare], words: Sequence[str], wanted: dict[str, bytes]
    ) -> Row:
        row = Row(verb, fault)
        for number, prepare in enumerate(prepared, start=1):
            self._fresh()
            disturbed = self._run(words, prepare)
            if disturbed.code == 0 and self._outcome() == wanted:  # to the byte: nothing has happened
                continue  # the fault did not reach this call
            row.tried += 1
            torn = torn_files(self.work)
            again = self._run(words)
            found = self._outcome()
            missing = sorted(wanted.keys() - found.keys())
            different = sorted(
                name for name in wanted.keys() & found.keys() if not same_table(wanted[name], found[name])
            )
            row.torn += bool(torn)
            row.lost += bool(again.code or missing)
            row.other += bool(different)
            row.survived += not (again.code or missing)
            tracebacks = [each for each in (disturbed, again) if each.has_traceback]
            row.traceback += bool(tracebacks)
            kinds = {"torn": torn, "missing": missing, "other": different}
            notes = [f"{kind}: {names[0]} ({len(names)} in all)" for kind, names in kinds.items() if names]
            notes += [f"typed again: code {again.code}: {_last_line(again)}"] if again.code else []
            notes += [f"traceback: {_last_line(each)}" for each in tracebacks]
            row.findings += [f"{verb}, {fault} {number}: {note}" for note in notes]
        return row

    def _fresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.base, self.work)

    def _run(self, words: Sequence[str], prepare: Prepare = lambda: None) -> Ended:
        with inside(self.work):
            return call(list(words), self.log, prepare)

    def _outcome(self) -> dict[str, bytes]:
        """Files below the working folder by name: the content of tables of tracks, nothing of other files."""
        found = {}
        for path in self.work.rglob("*"):
            name = path.relative_to(self.work).as_posix()
            is_whole = path.is_file() and not path.name.startswith(".") and not name.startswith(CACHE)
            if is_whole:
                found[name] = (
                    path.read_bytes() if path.parent.name == "tracks" and path.suffix == ".csv" else b""
                )
        return found


def same_table(one: bytes, other: bytes) -> bool:
    """Whether two csv tables are the same but for the rounding of numbers.

    >>> same_table(b"1,kp01,0.1234567", b"1,kp01,0.1234568"), same_table(b"1,kp01,0.12", b"1,kp02,0.12")
    (True, False)
    """
    rows, others = (list(csv.reader(io.StringIO(each.decode()))) for each in (one, other))
    if [len(row) for row in rows] != [len(row) for row in others]:
        return False
    return all(
        a == b or _is_rounding(a, b)
        for row, second in zip(rows, others, strict=True)
        for a, b in zip(row, second, strict=True)
    )


def _is_rounding(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=ROUNDING, abs_tol=ROUNDING)
    except ValueError:  # not numbers
        return False


def _little_memory(more_mb: int) -> Prepare:
    """Prepare a child that may take only so many MB of address space more than it has at its start."""

    def prepare() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (more_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return prepare


def _last_line(ended: Ended) -> str:
    lines = [line for line in ended.text.replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "no output"


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table with a line of sums."""
    from lightning_kp.runs.loggers import markdown

    total = Row("all", "")
    for row in rows:
        for name in COLUMNS[2:]:
            setattr(total, name, getattr(total, name) + getattr(row, name))
    return markdown(list(COLUMNS), [list(row.cells()) for row in (*rows, total)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns 0 if nothing was torn or lost and nothing printed a traceback, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_kp.studies.faults", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/faults"), help="folder (default: runs/faults)")
    parser.add_argument("--verbs", default=",".join(VERBS), help="comma-separated (default: all)")
    parser.add_argument("--every", type=int, default=1, help="try every so many changes only (default: 1)")
    given = parser.parse_args(arguments)
    if not hasattr(os, "fork") or not Path("/proc/self/statm").exists():
        parser.error("the study copies its own process and sets limits, which Linux alone can do")
    verbs = given.verbs.split(",")
    if unknown := [verb for verb in verbs if verb not in VERBS]:
        parser.error(f"there is no verb {unknown[0]} to disturb; choose from {', '.join(VERBS)}")
    os.environ.update(OMP_NUM_THREADS="1", KP_CACHE_DIR=str((given.out / "work" / CACHE).resolve()))
    os.environ.pop("KP_DEBUG", None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _load_libraries()
    scene = Scene(given.out.resolve())
    shutil.rmtree(scene.base, ignore_errors=True)
    scene.build()
    rows: list[Row] = []
    for verb in verbs:
        for row in scene.verb(verb, max(1, given.every)):
            rows.append(row)
            print("  ".join(row.cells()), *row.findings, sep="\n  ", flush=True)
    text = table(rows)
    write_whole(given.out / "faults.md", text + "\n")
    write_whole(given.out / "findings.txt", "".join(f"{each}\n" for row in rows for each in row.findings))
    print(text, f"Tables: {given.out / 'faults.md'}, {given.out / 'findings.txt'}", sep="\n")
    return int(any(row.torn or row.lost or row.traceback for row in rows))


def _load_libraries() -> None:
    """Import what the verbs import, so that the copies of this process need not."""
    import importlib
    import pkgutil

    import torch

    import lightning_kp

    torch.set_num_threads(1)
    for name in (
        *(each.name for each in pkgutil.walk_packages(lightning_kp.__path__, "lightning_kp.")
          if ".bench" not in each.name and ".studies" not in each.name and not each.name.endswith("__main__")),
        "sleap_io", "tables", "h5py", "av", "matplotlib.figure", "onnxruntime", "onnxscript",
    ):  # fmt: skip
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
