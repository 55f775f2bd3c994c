"""Timing two sides of a comparison in one run, on machines that are shared with other programs."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_kp.files import write_whole


class Row(NamedTuple):
    """One line of ``make bench``: our value and the reference value, both in ``unit``.

    ``target`` is the bound for ``ratio`` = ours / other, for example "<= 0.8" or ">= 10". A row with an empty
    target is for information only.
    """

    name: str
    ours: float
    other: float
    ratio: float
    target: str
    unit: str = "s"

    @property
    def is_met(self) -> bool | None:
        """Whether the ratio meets the target; None without a target."""
        if not self.target:
            return None
        sign, bound = self.target.split()
        return self.ratio <= float(bound) if sign == "<=" else self.ratio >= float(bound)


def compare(name: str, ours: float, other: float, target: str, unit: str = "s") -> Row:
    """Row from two measured values.

    >>> compare("step", 4.0, 5.0, "<= 0.8").is_met
    True
    """
    return Row(name, ours, other, ours / other, target, unit)


def medians(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median duration of each side in seconds; the sides alternate, so that a busy moment affects all of them.

    One round before the measured ones is a warm-up. The default clock counts the CPU time of this process, which
    that other programs affect least. On a GPU use ``time.perf_counter`` and sides that synchronise with the device.
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
    """Format the rows as text in aligned columns."""
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
    """Write the rows as JSON."""
    content = [row._asdict() | {"met": row.is_met} for row in rows]
    write_whole(path, json.dumps(content, indent=2) + "\n")
