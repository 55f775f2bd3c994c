"""Plot and table of the label-efficiency study: scores over the number of labelled frames."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from lightning_kp.files import replacing

Row = dict[str, Any]
# Okabe and Ito's colours, which colour-blind readers can distinguish, each with its own marker and line style.
STYLES = {
    "supervised": ("#0072B2", "o", "-"),
    "semi-supervised": ("#D55E00", "s", "-"),
    "bridge": ("#009E73", "^", "--"),
    "mean pose": ("#7f7f7f", "", ":"),
}
METRICS = {"pck": "PCK at 5 % of the image side", "error_px": "mean error in px"}


def summary(rows: Sequence[Row], dataset: str, method: str, metric: str) -> list[tuple[int, float, float]]:
    """(labels, mean over seeds, standard deviation or NaN for one seed) for each number of labels."""
    chosen = [row for row in rows if (row["dataset"], row["method"]) == (dataset, method)]
    found = []
    for labels in sorted({row["labels"] for row in chosen}):
        values = [row[metric] for row in chosen if row["labels"] == labels]
        found.append((labels, mean(values), stdev(values) if len(values) > 1 else math.nan))
    return found


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw one column per data set, PCK above pixel error. Error bars are standard deviations over seeds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    picture = Figure(figsize=(4.2 * len(datasets), 6.4), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(len(METRICS), len(datasets), squeeze=False)
    for column, dataset in enumerate(datasets):
        for line, (metric, title) in enumerate(METRICS.items()):
            panel = axes[line][column]
            for method, (colour, marker, line_style) in STYLES.items():
                points = summary(rows, dataset, method, metric)
                if points:
                    x, y, spread = zip(*points, strict=True)
                    panel.errorbar(
                        x,
                        y,
                        spread,
                        color=colour,
                        marker=marker,
                        linestyle=line_style,
                        capsize=3,
                        label=method,
                    )
            ticks = sorted({row["labels"] for row in rows})
            panel.set_xscale("log")
            panel.set_xticks(ticks, [str(tick) for tick in ticks])
            panel.minorticks_off()
            panel.set_ylim(0, 1 if metric == "pck" else None)
            panel.grid(alpha=0.3)
            panel.set_ylabel(title)
            if not line:
                panel.set_title(dataset.replace("_", " "))
            else:
                panel.set_xlabel("labelled frames")
    # Below all panels, since inside a panel the legend would hide a curve.
    handles, names = axes[0][0].get_legend_handles_labels()
    picture.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    with replacing(path) as temporary:
        picture.savefig(temporary, dpi=130)


def table(rows: Sequence[Row]) -> str:
    """Text table of means and standard deviations over seeds, one line per data set and method."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    labels = sorted({row["labels"] for row in rows})
    lines = [f"{'':<34}" + "".join(f"{number:>20}" for number in labels)]
    for dataset in datasets:
        for method in STYLES:
            pck, error = (summary(rows, dataset, method, metric) for metric in METRICS)
            if pck:
                found = {
                    p[0]: f"{_over_seeds(p, 2)} {_over_seeds(e, 1)}px"
                    for p, e in zip(pck, error, strict=True)
                }
                cells = "".join(f"{found.get(number, ''):>20}" for number in labels)
                lines.append(f"{dataset + ' ' + method:<34}{cells}")
    return "\n".join(lines)


def _over_seeds(found: tuple[int, float, float], digits: int) -> str:
    """Mean and standard deviation; only the mean for one seed."""
    _, middle, spread = found
    deviation = "" if math.isnan(spread) else f"±{spread:.{digits}f}"
    return f"{middle:.{digits}f}{deviation}"
