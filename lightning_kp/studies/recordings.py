"""``kp discover`` with nothing set on recordings with one or two animals, scored by labels that it never sees.

``python -m lightning_kp.studies.recordings --out runs/recordings`` takes the flies and the mouse from ``KP_DATA``,
renders the arenas, runs ``kp discover VIDEO`` and ``kp score`` for each recording and seed, and prints a table after
each.  A second call continues where the first one stopped.  A run takes 10 to 15 minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lightning_kp.arena.recording import write_arena
from lightning_kp.errors import DataError
from lightning_kp.files import write_whole
from lightning_kp.studies.following import FLIES, SCENES
from lightning_kp.studies.trainings import name_list, number_list

ARENAS = ("two coats", "two look-alikes")
MOUSE = Path("mouse_openfield")
FLY_PARTS = ("head", "thorax", "abdomen", "eyeL", "eyeR")  # those that the official table of flies reports
COLUMNS = ("found", "linear %", "matched %", "untrained %", "detected %", "exchanges/1000", "parts px", "min")


@dataclass(frozen=True)
class Recording:
    """A video and its labels.

    Attributes:
        name: Name in the table.
        videos: What ``kp discover`` is given.
        labels: Label file or folder.
        score: Additional options of ``kp score``.
        several: The labels are tracks of several animals, so that these are scored, too.
        side: Side of the picture in pixels, which the errors in % refer to.
        parts: Labelled points whose matched error is also told in pixels.
    """

    name: str
    videos: Path
    labels: Path
    score: tuple[str, ...] = ()
    several: bool = True
    side: float = 0.0
    parts: tuple[str, ...] = ()


def recordings(folder: Path) -> Iterator[Recording]:
    """Those of ``KP_DATA``, if it is set, and the rendered ones, which are written into ``folder``."""
    if data := os.environ.get("KP_DATA"):
        flies = Path(data) / FLIES
        (video,) = flies.glob("*.mp4")
        yield Recording(
            "flies", video, flies / "predictions.slp", ("--predicted",), side=1024, parts=FLY_PARTS
        )
        mouse = Path(data) / MOUSE
        yield Recording("mouse", mouse / "videos", mouse / "labeled-data", several=False)
    for name in ARENAS:
        video = write_arena(SCENES[name], folder, name.replace(" ", "_"))
        yield Recording(name, video, video.with_suffix(".truth.npz"))


def run(recording: Recording, seed: int, folder: Path) -> dict[str, Any]:
    """Discover and score, unless that has been done.

    Returns:
        Contents of the run's ``metrics.json``, with ``minutes`` of processor time of ``kp discover``.

    Raises:
        DataError: A command failed; the message holds the last line of its log.
    """
    spent = folder / "minutes.json"
    if not spent.exists():
        line = ["discover", str(recording.videos), "--out", str(folder), f"--seed_everything={seed}"]
        minutes = _kp(line, folder.with_suffix(".log"))
        write_whole(spent, json.dumps(minutes))
    metrics = folder / "metrics.json"
    scores = [
        ("matched", recording.score),
        *([("animals_trained", ("--animals",))] if recording.several else []),
    ]
    for figure, options in scores:
        if not metrics.exists() or figure not in json.loads(metrics.read_text()):
            line = ["score", str(folder), "--labels", str(recording.labels), *options]
            _kp(line, folder.with_suffix(".log"))
    return {**json.loads(metrics.read_text()), "minutes": json.loads(spent.read_text())}


def _kp(line: Sequence[str], log: Path) -> float:
    """Run ``kp`` with its output added to a log; minutes of processor time."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before = _child_seconds()
    with log.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-m", "lightning_kp", *line], stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        tail = " ".join(log.read_text(errors="replace").splitlines()[-1:])
        raise DataError(f"kp {line[0]} failed: {tail}", remedy=f"See {log} for the whole output.")
    return (_child_seconds() - before) / 60


def _child_seconds() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def row(recording: Recording, results: Sequence[dict[str, Any]]) -> str:
    """Line of the table: the median over seeds of each figure, with the smallest and the largest if they differ."""
    cells = [
        ", ".join(f"{each['found']}/{each['keypoints']}" for each in results),
        _over_seeds(results, "linear"),
        _over_seeds(results, "matched"),
        _over_seeds(results, "untrained_matched"),
        *_followed([each["animals_trained"]["assignment"] for each in results if "animals_trained" in each]),
        ", ".join(_part(recording, results, part) for part in recording.parts) or "-",
        _over_seeds(results, "minutes"),
    ]
    return f"| {recording.name} | " + " | ".join(cells) + " |"


def _part(recording: Recording, results: Sequence[dict[str, Any]], part: str) -> str:
    errors = [each["matched_per_point"][part] * recording.side / 100 for each in results]
    return f"{part} {median(errors):.1f}"


def _followed(results: Sequence[dict[str, float]]) -> tuple[str, str]:
    if not results:
        return "-", "-"
    return (
        f"{100 * min(each['detection'] for each in results):.1f}",
        f"{max(each['switches'] for each in results):.1f}",
    )


def _over_seeds(results: Sequence[dict[str, Any]], figure: str) -> str:
    values = sorted(float(each[figure]) for each in results)
    middle = f"{median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:.2f} to {values[-1]:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table after each run."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.recordings", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/recordings"), help="folder of the runs")
    parser.add_argument(
        "--seeds", type=number_list, default=[0, 1, 2], help="comma-separated (default: 0,1,2)"
    )
    parser.add_argument("--only", type=name_list, default=[], help="names of recordings, comma-separated")
    given = parser.parse_args(arguments)
    all_of_them = list(recordings(given.out))
    chosen = [each for each in all_of_them if not given.only or each.name in given.only]
    if not chosen:
        parser.error(f"--only: the recordings are {', '.join(each.name for each in all_of_them)}")
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in given.seeds:
        for recording in chosen:
            folder = given.out / f"{recording.name.replace(' ', '_')}-seed{seed}"
            results.setdefault(recording.name, []).append(run(recording, seed, folder))
            print("| | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
            print(
                *(row(each, results[each.name]) for each in chosen if each.name in results),
                sep="\n", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
