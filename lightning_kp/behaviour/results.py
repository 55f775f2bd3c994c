"""Results of a trained behaviour classifier on whole recordings: probabilities, labels, bouts, metrics, and files."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lightning_kp.behaviour.bases import BehaviourModule
from lightning_kp.behaviour.bouts import Bout, Labels, to_bouts, write_bouts
from lightning_kp.behaviour.windows import Recording
from lightning_kp.files import write_whole, writing_text
from lightning_kp.metrics.behaviour import BehaviourMetrics, behaviour_metrics


@dataclass(frozen=True, eq=False)
class ClassifiedRecording:
    """Predictions for one recording: ``probability`` (N, C) in [0, 1] of C behaviours in N frames."""

    recording: Recording
    probability: NDArray[np.float32]
    behaviours: tuple[str, ...]
    background: str | None

    @property
    def chosen(self) -> Labels:
        """Index (N,) of the most probable behaviour of each frame."""
        return np.asarray(self.probability.argmax(axis=1), np.int64)

    @property
    def bouts(self) -> list[Bout]:
        """Predicted bouts without the background; their confidence is the mean probability of the behaviour."""
        skip = () if self.background is None else (self.background,)
        return [
            bout._replace(confidence=float(self._probability_in(bout).mean()))
            for bout in to_bouts(self.chosen, self.behaviours, skip=skip)
        ]

    def _probability_in(self, bout: Bout) -> NDArray[np.float32]:
        """Probability (frames,) of a bout's behaviour in its frames."""
        return self.probability[bout.start : bout.stop + 1, self.behaviours.index(bout.behaviour)]

    def _times(self) -> NDArray[np.float64] | None:
        """Times (N,) of the frames in seconds; None if they are not those of the frames."""
        times = self.recording.tracks.times_s
        return times if len(times) == len(self.chosen) and bool((np.diff(times) > 0).all()) else None

    def write(self, folder: Path) -> list[Path]:
        """Write ``<name>.frames.csv`` (probabilities) and ``<name>.bouts.csv`` (usable as labels of a training)."""
        name, fps = self.recording.name.replace("/", "_"), self.recording.tracks.fps
        frames = folder / f"{name}.frames.csv"
        with writing_text(frames) as file:
            table = csv.writer(file)
            table.writerow(("frame", "time_s", "behaviour", *self.behaviours))
            rows = zip(self.recording.tracks.times_s, self.chosen, self.probability, strict=True)
            for frame, (time, label, values) in enumerate(rows):
                numbers = (f"{value:.4f}" for value in values)
                table.writerow((frame, f"{time:.4f}", self.behaviours[label], *numbers))
        return [frames, write_bouts(folder / f"{name}.bouts.csv", self.bouts, fps, name, self._times())]


@torch.inference_mode()
def classify_recordings(
    method: Any, data: BehaviourModule, batch_size: int = 512
) -> list[ClassifiedRecording]:
    """Classify every frame of the test recordings.

    Args:
        method: A trained BehaviourClassifier.
        data: The recordings, after ``setup``.
        batch_size: Windows per batch.
    """
    recordings = data.recordings.get("test", [])
    if not recordings:
        return []
    found = [np.zeros((len(each), len(data.behaviours)), np.float32) for each in recordings]
    method.eval()
    for batch in DataLoader(data.datasets["predict"], batch_size=batch_size):
        probability = method(batch.window.to(method.device)).softmax(dim=1).float().cpu().numpy()
        for number in np.unique(batch.video.numpy()):
            rows = batch.video.numpy() == number
            found[number][batch.index.numpy()[rows]] = probability[rows]
    return [
        ClassifiedRecording(each, probability, data.behaviours, data.background)
        for each, probability in zip(recordings, found, strict=True)
    ]


def overall_metrics(scored: Sequence[ClassifiedRecording]) -> BehaviourMetrics:
    """Metrics over the labelled frames of all recordings together."""
    probability = torch.from_numpy(np.concatenate([each.probability for each in scored]))
    labels = torch.from_numpy(np.concatenate([each.recording.labels for each in scored]))
    return behaviour_metrics(probability, labels, scored[0].behaviours, scored[0].background)


@dataclass(frozen=True)
class Setting:
    """One row of the results table.

    Attributes:
        name: The values of the options that were varied; empty if none were.
        by_seed: Metrics by name for each seed; None = undefined.
        problem: Why there are no results, if so.
    """

    name: str
    by_seed: dict[int, dict[str, float | None]]
    problem: str = ""

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and sample standard deviation (0 for one seed) of each metric over the seeds."""
        names = list(next(iter(self.by_seed.values()), {}))
        values = {name: [metrics.get(name) for metrics in self.by_seed.values()] for name in names}
        return {
            name: (mean(known), stdev(known) if len(known) > 1 else 0.0)
            for name, each in values.items()
            if (known := [value for value in each if value is not None and value == value])
        }


def table_lines(settings: Sequence[Setting]) -> list[str]:
    """A Markdown table of MAP, mean F1, and average precision and F1 by behaviour, as mean ± deviation over seeds."""
    summaries = [setting.summary() for setting in settings]
    names = sorted(dict.fromkeys(name for each in summaries for name in each), key=_group)
    head = ["", *(_heading(name) for name in names), "seeds"]
    rows = [head, ["---"] * len(head)]
    for setting, summary in zip(settings, summaries, strict=True):
        cells = [
            _cell(summary[name], len(setting.by_seed)) if name in summary else "–"  # noqa: RUF001
            for name in names
        ]
        rows.append([setting.name or "all", *cells, setting.problem or str(len(setting.by_seed))])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _group(name: str) -> int:
    """Order of the columns: means, then average precisions, then F1; within a group the order is kept."""
    return 0 if name in ("map", "mean_f1") else 2 if name.startswith("f1_") else 1


def _cell(value: tuple[float, float], seeds: int) -> str:
    """Mean and deviation as text; a single seed has no deviation."""
    return "{:.3f} ± {:.3f}".format(*value) if seeds > 1 else f"{value[0]:.3f}"


def _heading(name: str) -> str:
    kind, _, behaviour = name.partition("_")
    return {"map": "MAP", "mean_f1": "mean F1"}.get(name, f"{kind.upper()} {behaviour}")


def write_settings(folder: Path, settings: Sequence[Setting]) -> None:
    """Write ``behaviour.json`` with all metrics, means and deviations, and ``behaviour.md``, the table."""
    content = [
        {
            "setting": setting.name,
            "problem": setting.problem,
            "seeds": {str(seed): metrics for seed, metrics in setting.by_seed.items()},
            "mean": {name: value[0] for name, value in setting.summary().items()},
            "deviation": {name: value[1] for name, value in setting.summary().items()},
        }
        for setting in settings
    ]
    write_whole(folder / "behaviour.json", json.dumps(content, indent=2) + "\n")
    write_whole(folder / "behaviour.md", "\n".join(table_lines(settings)) + "\n")
