"""Timing two sides of a comparison in one run, on machines that others use as well."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One line of ``make bench``: ours against another side, both in ``unit``.

    ``target`` is what ``ratio`` = ours / other should reach: at most when it starts with <=, at
    least when it starts with >=, as in "<= 0.8"; a row without one only tells.
    """

    name: str
    ours: float
    other: float
    ratio: float
    target: str
    unit: str = "s"

    @property
    def is_met(self) -> bool | None:
        """Whether the ratio reaches the target; None without one."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return self.ratio <= float(bound) if sign == "<=" else self.ratio >= float(bound)


def compare(name: str, ours: float, other: float, target: str, unit: str = "s") -> Row:
    """A row from two measured values."""
    return Row(name, ours, other, ours / other, target, unit)


def medians(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median duration of each side, the sides taking turns so that a busy moment meets all of them.

    One round before the measured ones warms up.  The default clock counts the CPU time of this
    process, which neighbours on the machine disturb least; a GPU needs ``time.perf_counter`` and
    sides that wait for the device.
    """
    durations: dict[str, list[float]] = {name: [] for name in sides}
    for measured in range(repeats + 1):
        for name, run in sides.items():
            start = clock()
            run()
            if measured:
                durations[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in durations.items()}


def table(rows: Sequence[Row]) -> str:
    """The rows as text in aligned columns."""
    cells = [("", "ours", "other", "ratio", "target", "")]
    cells += [
        (
            row.name,
            f"{row.ours:.3g} {row.unit}",
            f"{row.other:.3g} {row.unit}",
            f"{row.ratio:.2f}",
            row.target,
            {True: "met", False: "MISSED", None: ""}[row.is_met],
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """The rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [row._asdict() | {"met": row.is_met} for row in rows]
    path.write_text(json.dumps(content, indent=2) + "\n")
