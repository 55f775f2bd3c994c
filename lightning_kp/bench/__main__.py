"""``make bench``: speed and memory, each compared with a reference that is measured in the same run.

``python -m lightning_kp.bench [--out FOLDER] [--only step,cache,track] [--quick]`` prints a table and
writes bench.json.
"""

import argparse
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_kp.bench.measuring import Row

# Each part is a module of this package with a function rows(quick=...).
PARTS = (
    "step",
    "cache",
    "track",
    "engine",
    "waiting",
    "few_labels",
    "behaviour",
    "peaks",
    "oks",
    "pose",
    "direct_pose",
)


def collect(parts: Sequence[str], *, quick: bool = False) -> "list[Row]":
    """Measure the parts and return their rows."""
    found: list[Row] = []
    for part in parts:
        module = import_module(f"lightning_kp.bench.{part}")
        found += module.rows(quick=quick)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write bench.json."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of bench.json")
    parser.add_argument("--only", type=_parts, default=PARTS, help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    options = parser.parse_args(arguments)
    # Before torch is imported: with several threads, waiting times would measure other programs on the machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from lightning_kp.bench.measuring import table, write_rows
    from lightning_kp.runs.allocator import keep_freed_memory

    keep_freed_memory()  # as in every training on a CPU; both sides benefit
    rows = collect(options.only, quick=options.quick)
    print(table(rows))
    write_rows(rows, options.out / "bench.json")
    print(f"Written to {options.out / 'bench.json'}.")


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))} is not a part; parts are {', '.join(PARTS)}"
        )
    return parts


if __name__ == "__main__":
    main()
