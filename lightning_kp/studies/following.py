"""How well squares follow several animals: the share of frames in which each is found, and how often two are exchanged.

``python -m lightning_kp.studies.following`` renders arena videos of two to four animals and takes the video of two
flies from ``KP_DATA`` if that is set; it finds the squares of each (``boxes: follow:N``) and prints a table.  It takes
some minutes on one core.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import ArenaSettings
from lightning_kp.arena.recording import read_truth, write_arena
from lightning_kp.geometry import from_edges
from lightning_kp.metrics.animals import AnimalMetrics, body_length, centroids, score_animals
from lightning_kp.motion.animals import find_boxes
from lightning_kp.motion.following import reduced_background
from lightning_kp.tracks.reading import read_tracks

Floats = NDArray[np.float64]
FRAMES = 1500
SCENES: dict[str, ArenaSettings] = {
    "two coats": ArenaSettings(frames=FRAMES),
    "two look-alikes": ArenaSettings(frames=FRAMES, look_alike=True),
    "two look-alikes, noise 0.04, shadows": ArenaSettings(
        frames=FRAMES, look_alike=True, noise=0.04, shadow=True
    ),
    "three look-alikes": ArenaSettings(frames=FRAMES, look_alike=True, animals=3, size=256),
    "four coats": ArenaSettings(frames=FRAMES, animals=4, size=256),
}
FLIES = Path("two_flies") / "fly120s"
TRUNK_POINTS = 6  # of the arena's keypoints: all but the tip of the tail, which is a limb


class Result(NamedTuple):
    """What was found in one video."""

    metrics: AnimalMetrics
    touching: float
    frames_per_s: float


def follow_video(video: Path, true_px: Floats) -> Result:
    """Find the squares of a video whose animals have the points (N, J, K, 2), in pixels, NaN = unknown."""
    start = time.perf_counter()
    found = find_boxes(video, reduced_background(video), true_px.shape[1])
    seconds = time.perf_counter() - start
    centre = from_edges(found.centre)[:, :, None]
    true = centroids(true_px)
    apart = np.linalg.norm(true[:, :, None] - true[:, None], axis=-1)
    apart[:, np.arange(true.shape[1]), np.arange(true.shape[1])] = np.inf
    touching = float((apart.min(axis=(1, 2)) < body_length(true_px)).mean())
    return Result(score_animals(centre, true_px), touching, len(centre) / seconds)


def videos(folder: Path, only: str) -> Iterator[tuple[str, Path, Floats]]:
    """Name, video and true points of each scene whose name contains ``only``."""
    for name, settings in SCENES.items():
        if only in name:
            video = write_arena(settings, folder, name.replace(" ", "_").replace(",", ""))
            yield name, video, read_truth(video).points_px[:, :, :TRUNK_POINTS].astype(np.float64)
    if (data := os.environ.get("KP_DATA")) and only in "two flies":
        labels = Path(data) / FLIES / "predictions.slp"
        (video,) = labels.parent.glob("*.mp4")
        yield "two flies", video, np.asarray(read_tracks(labels).points_px, np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.following", description=__doc__)
    parser.add_argument("--only", default="", help="only the scenes whose name contains this")
    given = parser.parse_args(arguments)
    print("| | animals closer than a body length | found | centre px | exchanges/1000 frames | frames/s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, video, true_px in videos(Path(folder), given.only):
            found, touching, rate = follow_video(video, true_px)
            print(
                f"| {name} | {100 * touching:.0f} % | {100 * found.detection:.1f} % | {found.centroid_px:.1f} | "
                f"{found.switches / 2:.1f} | {rate:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
