"""Plots of a report as SVG, with axes readable on white and on black and lines in colour-blind safe colours."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.images.drawing import colour
from lightning_kp.reports.page import drawing, escaped, scrolled
from lightning_kp.tracks.table import Tracks

INK = "#7a7a7a"  # contrast ratio above 4 on white and on black
LINES = {"training": "#56b4e9", "validation": "#d55e00"}
CURVE = re.compile(r"train/(\w+)_step")  # Lightning's name for a value logged at every step
MAX_POINTS = 400  # points of a line: more are not visible
SHOWN_S = 60.0  # seconds of a trajectory


def training_curves(path: Path) -> str:
    """One plot for each loss term logged in ``metrics.csv``; empty if nothing was logged."""
    if not path.exists():
        return ""
    with path.open(newline="") as file:  # a killed run may leave half a line, without a step
        reader = csv.DictReader(file)
        logged = [row for row in reader if (row.get("step") or "").isdigit()]
    columns = [match for match in map(CURVE.fullmatch, reader.fieldnames or ()) if match]
    terms = [column[1] for column in columns if any(row.get(column[0]) for row in logged)]
    plots = []
    for term in terms:
        lines = {
            stage: _logged(logged, column)
            for stage, column in (("training", f"train/{term}_step"), ("validation", f"val/{term}"))
        }
        svg = _curve({stage: line for stage, line in lines.items() if line})
        plots.append(
            f'<div class="card"><h3>{escaped(term)}</h3>{drawing(svg, f"{term} over training steps")}</div>'
        )
    note = "Blue: training loss (smoothed). Red with dots: validation loss. Horizontal axis: training steps."
    return f'<p>{note}</p><div class="grid">{"".join(plots)}</div>' if plots else ""


def _logged(rows: Sequence[dict[str, Any]], column: str) -> list[tuple[int, float]]:
    found = []
    for row in rows:
        try:
            value = float(row.get(column) or "nan")
        except ValueError:
            continue
        if math.isfinite(value):
            found.append((int(row["step"]), value))
    return found


def _curve(lines: dict[str, list[tuple[int, float]]]) -> bytes:
    figure, axis = _figure(3.6, 2.1)
    for stage, points in lines.items():
        steps, values = np.array(points).T
        if stage == "validation":
            axis.plot(steps, values, color=LINES[stage], marker="o", markersize=3, linewidth=1.5)
            continue
        axis.plot(steps, values, color=LINES[stage], linewidth=0.6, alpha=0.5)
        axis.plot(steps, _smoothed(values), color=LINES[stage], linewidth=1.6)
    values = [value for points in lines.values() for _, value in points]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low > 0 and high > 50 * low:
        axis.set_yscale("log")
    return _svg(figure)


def _smoothed(values: NDArray[Any], window: int = 9) -> NDArray[Any]:
    padded = np.pad(values, window // 2, mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")


def trajectory(tracks: Tracks) -> str:
    """Two plots of the first minute: x and y over time, and paths in the frame; absent keypoints leave gaps."""
    shown = max(2, min(len(tracks.times_s), int(np.searchsorted(tracks.times_s, SHOWN_S))))
    every = max(1, shown // MAX_POINTS)
    times = tracks.times_s[:shown:every]
    points = np.where(tracks.confidence[..., None] > 0, tracks.points_px, np.nan)[:shown:every]
    over_time = _over_time(times, points)
    paths = _paths(points, tracks.frame_size)
    title = f"Every keypoint over the first {times[-1] - times[0]:.0f} s"
    return (
        f"{scrolled(drawing(over_time, f'{title}: x and y in pixels'), 'x and y over time')}"
        f'<div class="grid"><div>{drawing(paths, f"{title}: paths in the frame")}</div></div>'
    )


def _over_time(times: NDArray[Any], points: NDArray[Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for row, (axis, name) in enumerate(
        zip(figure.subplots(2, 1, sharex=True), ("x (px)", "y (px)"), strict=True)
    ):
        _plain(axis)
        for animal in range(points.shape[1]):
            for k in range(points.shape[2]):
                style = ("-", "--", ":", "-.")[animal % 4]
                axis.plot(times, points[:, animal, k, row], style, color=_colour(k), linewidth=1)
        axis.set_ylabel(name, color=INK)
    axis.set_xlabel("time (s)", color=INK)
    return _svg(figure)


def _paths(points: NDArray[Any], frame_size: tuple[int, int]) -> bytes:
    figure, axis = _figure(4.2, 4.2)
    for animal in range(points.shape[1]):
        for k in range(points.shape[2]):
            axis.plot(*points[:, animal, k].T, color=_colour(k), linewidth=0.8, alpha=0.8)
    height, width = frame_size
    if height and width:
        axis.set_xlim(0, width)
        axis.set_ylim(height, 0)
    axis.set_aspect("equal")
    axis.set_xlabel("x (px)", color=INK)
    axis.set_ylabel("y (px)", color=INK)
    return _svg(figure)


def _colour(keypoint: int) -> tuple[float, ...]:
    return tuple(part / 255 for part in colour(keypoint))


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.subplots()
    _plain(axis)
    return figure, axis


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axis.spines[side].set_color(INK)
    axis.tick_params(colors=INK, labelsize=8)
    axis.grid(visible=True, color=INK, alpha=0.2, linewidth=0.5)


def _svg(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()
