"""What a trained classifier says of whole recordings: probabilities, labels, bouts, figures, and their files."""

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
from lightning_kp.files import write_whole
from lightning_kp.metrics.behaviour import BehaviourFigures, behaviour_figures


@dataclass(frozen=True, eq=False)
class ScoredRecording:
    """``probability`` (N, C) of each behaviour in each frame of a recording, whose labels it carries."""

    recording: Recording
    probability: NDArray[np.float32]
    behaviours: tuple[str, ...]
    background: str | None

    @property
    def chosen(self) -> Labels:
        """The most probable behaviour (N,) of each frame."""
        return np.asarray(self.probability.argmax(axis=1), np.int64)

    @property
    def bouts(self) -> list[Bout]:
        """Bouts of interest, with the mean probability of their behaviour as confidence."""
        skip = () if self.background is None else (self.background,)
        return [
            bout._replace(confidence=float(self._of(bout).mean()))
            for bout in to_bouts(self.chosen, self.behaviours, skip=skip)
        ]

    def _of(self, bout: Bout) -> NDArray[np.float32]:
        return self.probability[bout.start : bout.stop + 1, self.behaviours.index(bout.behaviour)]

    def _times(self) -> NDArray[np.float64] | None:
        times = self.recording.tracks.times_s
        return times if len(times) == len(self.chosen) and bool((np.diff(times) > 0).all()) else None

    def write(self, folder: Path) -> list[Path]:
        """``<name>.frames.csv`` (probabilities) and ``<name>.bouts.csv`` (labels for another training)."""
        name, fps = self.recording.name.replace("/", "_"), self.recording.tracks.fps
        folder.mkdir(parents=True, exist_ok=True)
        frames = folder / f"{name}.frames.csv"
        with frames.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("frame", "time_s", "behaviour", *self.behaviours))
            rows = zip(self.recording.tracks.times_s, self.chosen, self.probability, strict=True)
            for frame, (time, label, values) in enumerate(rows):
                numbers = (f"{value:.4f}" for value in values)
                table.writerow((frame, f"{time:.4f}", self.behaviours[label], *numbers))
        return [frames, write_bouts(folder / f"{name}.bouts.csv", self.bouts, fps, name, self._times())]


@torch.inference_mode()
def score_recordings(method: Any, data: BehaviourModule, batch_size: int = 512) -> list[ScoredRecording]:
    """Probabilities of every frame of the test recordings, from a trained BehaviourClassifier."""
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
        ScoredRecording(each, probability, data.behaviours, data.background)
        for each, probability in zip(recordings, found, strict=True)
    ]


def overall(scored: Sequence[ScoredRecording]) -> BehaviourFigures:
    """Figures over all labelled frames of all recordings together."""
    probability = torch.from_numpy(np.concatenate([each.probability for each in scored]))
    labels = torch.from_numpy(np.concatenate([each.recording.labels for each in scored]))
    return behaviour_figures(probability, labels, scored[0].behaviours, scored[0].background)


@dataclass(frozen=True)
class Setting:
    """One row of the table: what was varied, and the figures by name of every seed."""

    name: str
    by_seed: dict[int, dict[str, float | None]]
    problem: str = ""

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation (of the sample, 0 for one seed) over the seeds of each figure."""
        names = list(next(iter(self.by_seed.values()), {}))
        values = {name: [figures.get(name) for figures in self.by_seed.values()] for name in names}
        return {
            name: (mean(known), stdev(known) if len(known) > 1 else 0.0)
            for name, each in values.items()
            if (known := [value for value in each if value is not None and value == value])
        }


def table_lines(settings: Sequence[Setting]) -> list[str]:
    """A Markdown table: MAP, mean F1, average precision and F1 by behaviour, each as mean ± deviation over seeds."""
    summaries = [setting.summary() for setting in settings]
    names = sorted(dict.fromkeys(name for each in summaries for name in each), key=_kind)
    head = ["", *(_heading(name) for name in names), "seeds"]
    rows = [head, ["---"] * len(head)]
    for setting, summary in zip(settings, summaries, strict=True):
        cells = [
            _told(summary[name], len(setting.by_seed)) if name in summary else "–"  # noqa: RUF001
            for name in names
        ]
        rows.append([setting.name or "all", *cells, setting.problem or str(len(setting.by_seed))])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _kind(name: str) -> int:
    """The means first, then average precisions, then F1; within a kind the order stays."""
    return 0 if name in ("map", "mean_f1") else 2 if name.startswith("f1_") else 1


def _told(figure: tuple[float, float], seeds: int) -> str:
    """One seed has no deviation."""
    return "{:.3f} ± {:.3f}".format(*figure) if seeds > 1 else f"{figure[0]:.3f}"


def _heading(name: str) -> str:
    kind, _, behaviour = name.partition("_")
    return {"map": "MAP", "mean_f1": "mean F1"}.get(name, f"{kind.upper()} {behaviour}")


def write_settings(folder: Path, settings: Sequence[Setting]) -> None:
    """``behaviour.json`` with every figure, mean and deviation, and ``behaviour.md``, the table."""
    content = [
        {
            "setting": setting.name,
            "problem": setting.problem,
            "seeds": {str(seed): figures for seed, figures in setting.by_seed.items()},
            "mean": {name: value[0] for name, value in setting.summary().items()},
            "deviation": {name: value[1] for name, value in setting.summary().items()},
        }
        for setting in settings
    ]
    write_whole(folder / "behaviour.json", json.dumps(content, indent=2) + "\n")
    write_whole(folder / "behaviour.md", "\n".join(table_lines(settings)) + "\n")
