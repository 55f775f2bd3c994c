"""Ethogram: labelled and predicted behaviours over time, with the probabilities below."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_kp.behaviour.bouts import UNLABELLED, Labels
from lightning_kp.behaviour.results import ClassifiedRecording
from lightning_kp.files import printable, writing

# Okabe and Ito's colours, which colour-blind people can distinguish; without black, which is used for text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442")
BACKGROUND_COLOUR = "#e8e8e8"
MAX_RECORDINGS = 6  # in one image; more are not readable


def write_ethogram(scored: Sequence[ClassifiedRecording], path: Path) -> Path:
    """Write a PNG image with two panels for each of the first six recordings; returns ``path``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = scored[:MAX_RECORDINGS]
    figure = Figure(figsize=(11, 3.4 * len(shown) + 0.5), layout="constrained", facecolor="white")
    heights = [1.0, 1.2] * len(shown)
    panels = figure.subplots(2 * len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for number, each in enumerate(shown):
        _draw_bars(panels[2 * number], each)
        _draw_probabilities(panels[2 * number + 1], each)
    handles = _legend(shown[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    with writing(path) as file:
        FigureCanvasAgg(figure).print_png(file)
    return path


def colours(scored: ClassifiedRecording) -> dict[str, str]:
    """Colours by behaviour; the background is grey."""
    interesting = [name for name in scored.behaviours if name != scored.background]
    found = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(interesting)}
    return found if scored.background is None else found | {scored.background: BACKGROUND_COLOUR}


def _draw_bars(panel: Any, scored: ClassifiedRecording) -> None:
    rows = {"labelled": scored.recording.labels, "predicted": scored.chosen}
    for height, labels in enumerate(reversed(rows.values())):
        for name, spans in _spans(labels, scored).items():
            panel.broken_barh(spans, (height - 0.4, 0.8), facecolors=colours(scored)[name])
    panel.set(yticks=[0, 1], yticklabels=list(reversed(rows)), ylim=(-0.5, 1.5))
    panel.set_title(printable(scored.recording.name), fontsize=10, loc="left")
    _frame(panel, scored)
    panel.tick_params(labelbottom=False)


def _spans(labels: Labels, scored: ClassifiedRecording) -> dict[str, list[tuple[float, float]]]:
    """Bouts by behaviour as (start, duration) in seconds; in frames if the frame rate is unknown."""
    fps = scored.recording.tracks.fps or 1.0
    edges = np.concatenate(([0], np.flatnonzero(np.diff(labels)) + 1, [len(labels)]))
    found: dict[str, list[tuple[float, float]]] = {}
    for start, stop in itertools.pairwise(edges):
        if stop > start and labels[start] != UNLABELLED:
            name = scored.behaviours[labels[start]]
            found.setdefault(name, []).append((float(start / fps), float((stop - start) / fps)))
    return found


def _draw_probabilities(panel: Any, scored: ClassifiedRecording) -> None:
    fps = scored.recording.tracks.fps or 1.0
    seconds = np.arange(len(scored.probability)) / fps
    for number, name in enumerate(scored.behaviours):
        if name != scored.background:
            panel.plot(seconds, scored.probability[:, number], color=colours(scored)[name], linewidth=0.9)
    panel.set(ylim=(0, 1), yticks=[0, 0.5, 1], ylabel="probability")
    panel.set_xlabel("time (s)" if scored.recording.tracks.fps else "time (frames)")
    _frame(panel, scored)


def _frame(panel: Any, scored: ClassifiedRecording) -> None:
    panel.set_xlim(0, len(scored.probability) / (scored.recording.tracks.fps or 1.0))
    panel.spines[["top", "right"]].set_visible(False)


def _legend(scored: ClassifiedRecording) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=colour, label=name) for name, colour in colours(scored).items()]
