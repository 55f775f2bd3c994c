"""Curves over the number of labels, as a picture and as a table."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

Row = dict[str, Any]
# Okabe and Ito's colours, which the colour-blind can tell apart, each with its own mark and line.
STYLES = {
    "supervised": ("#0072B2", "o", "-"),
    "semi-supervised": ("#D55E00", "s", "-"),
    "bridge": ("#009E73", "^", "--"),
    "mean pose": ("#7f7f7f", "", ":"),
}
FIGURES = {"pck": "PCK at 5 % of the side", "error_px": "mean error in px"}


def summary(rows: Sequence[Row], dataset: str, method: str, figure: str) -> list[tuple[int, float, float]]:
    """(labels, mean, standard deviation over seeds, NaN of one seed) for each number of labels."""
    chosen = [row for row in rows if (row["dataset"], row["method"]) == (dataset, method)]
    found = []
    for labels in sorted({row["labels"] for row in chosen}):
        values = [row[figure] for row in chosen if row["labels"] == labels]
        found.append((labels, mean(values), stdev(values) if len(values) > 1 else math.nan))
    return found


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """One column per data set, PCK above pixel error; bars are standard deviations over seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    picture = Figure(figsize=(4.2 * len(datasets), 6.4), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(len(FIGURES), len(datasets), squeeze=False)
    for column, dataset in enumerate(datasets):
        for line, (figure, title) in enumerate(FIGURES.items()):
            panel = axes[line][column]
            for method, (colour, mark, dashes) in STYLES.items():
                points = summary(rows, dataset, method, figure)
                if points:
                    x, y, spread = zip(*points, strict=True)
                    panel.errorbar(
                        x, y, spread, color=colour, marker=mark, linestyle=dashes, capsize=3, label=method
                    )
            ticks = sorted({row["labels"] for row in rows})
            panel.set_xscale("log")
            panel.set_xticks(ticks, [str(tick) for tick in ticks])
            panel.minorticks_off()
            panel.set_ylim(0, 1 if figure == "pck" else None)
            panel.grid(alpha=0.3)
            panel.set_ylabel(title)
            if not line:
                panel.set_title(dataset.replace("_", " "))
            else:
                panel.set_xlabel("labelled frames")
    # Below all panels: within one it would hide a curve.
    handles, names = axes[0][0].get_legend_handles_labels()
    picture.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=130)


def table(rows: Sequence[Row]) -> str:
    """Mean and standard deviation over seeds, a line per data set and method."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    labels = sorted({row["labels"] for row in rows})
    lines = [f"{'':<34}" + "".join(f"{number:>20}" for number in labels)]
    for dataset in datasets:
        for method in STYLES:
            pck, error = (summary(rows, dataset, method, figure) for figure in FIGURES)
            if pck:
                found = {
                    p[0]: f"{_over_seeds(p, 2)} {_over_seeds(e, 1)}px"
                    for p, e in zip(pck, error, strict=True)
                }
                cells = "".join(f"{found.get(number, ''):>20}" for number in labels)
                lines.append(f"{dataset + ' ' + method:<34}{cells}")
    return "\n".join(lines)


def _over_seeds(found: tuple[int, float, float], digits: int) -> str:
    """Mean and deviation; of one seed the figure alone."""
    _, middle, spread = found
    deviation = "" if math.isnan(spread) else f"±{spread:.{digits}f}"
    return f"{middle:.{digits}f}{deviation}"
