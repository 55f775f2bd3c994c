"""The numbers of crowds as bars: Figure 3.3 of 000."""

from pathlib import Path

from lightning_kp.crowds import CrowdStatistics

TITLES = (
    "Images by number of instances",
    "Crowds by number of instances",
    "Instances by number of overlaps",
)


def draw_statistics(statistics: CrowdStatistics, path: Path) -> None:
    """Three bar charts side by side."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    kinds = (statistics.per_image, statistics.per_crowd, statistics.per_instance)
    for place, (title, counts) in enumerate(zip(TITLES, kinds, strict=True), start=1):
        axes = figure.add_subplot(1, 3, place)
        shown = {number: count for number, count in counts.items() if number > 0}
        bars = axes.bar(list(shown), list(shown.values()), color="#4477aa")
        axes.bar_label(bars, fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
