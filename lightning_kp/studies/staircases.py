"""Whether keypoints move with the animal or in steps of the heatmap's grid, against points known in every frame.

``python -m lightning_kp.studies.staircases RUN LABELS [--video FILE] [--frames N]`` reads a video with a trained
network in two ways, as the mean of each heatmap and below its cells as ``kp track`` does, and prints for each keypoint:

- the correlation of its speed with that of the place on the animal where it belongs
  (:mod:`lightning_kp.confidence.places`), as it is and with positions smoothed over time;
- the share of steps in which it stands still although that place moves, and of coordinates on the grid, by chance 5 %;
- its median distance from that place.

LABELS are tracks, such as a SLEAP file or the ``.truth.npz`` of a rendered arena.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lightning_kp.batches import floats_in_unit_range
from lightning_kp.checkpoints import find_checkpoint
from lightning_kp.command.trained import load_for_tracking
from lightning_kp.confidence.places import places
from lightning_kp.diagnosis.staircase import GRID_CHANCE, grid_share, standing_share
from lightning_kp.frames.stream import FrameBatch, stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.geometry import to_pixels
from lightning_kp.heatmaps import moments
from lightning_kp.method import KeypointMethod
from lightning_kp.motion.boxes import boxes_per_animal
from lightning_kp.scoring.look_alikes import Truth, read_tracked_truth

Array = NDArray[np.float64]
MOVES_PX = 0.5
"""Pixels of the video per frame: a true point that moves less may be at rest (ours)."""
SMOOTHED_FRAMES = 1.5
"""Standard deviation of the Gaussian over time, in frames (ours)."""
READOUTS = ("mean", "track")


class Course(NamedTuple):
    """What one crop shows of K keypoints over T frames: positions (T, K, 2) in heatmap cells and in video pixels."""

    cells: Array
    video_px: Array


class Row(NamedTuple):
    """Measures of one keypoint with one read-out: correlations, shares in [0, 1], and pixels of the video."""

    speed: float
    smoothed_speed: float
    standing: float
    on_grid: float
    error_px: float


@torch.inference_mode()
def courses(method: KeypointMethod, view: ViewSettings, video: Path, frames: int) -> dict[str, list[Course]]:
    """Read the first ``frames`` frames: for each of :data:`READOUTS`, the course of every instance of every crop."""
    found: dict[str, list[Course]] = {name: [] for name in READOUTS}
    for boxes in boxes_per_animal(view.boxes):
        parts: dict[str, list[tuple[Array, Array]]] = {name: [] for name in READOUTS}
        done = 0
        for batch in stream_frames(
            video, size=view.size, fit=view.fit, boxes=boxes, batch_size=64, preprocessing=view.preprocessing
        ):
            image = floats_in_unit_range(batch.image.to(method.device))
            heatmaps = method.heatmaps(image)
            grid = (heatmaps.shape[-2], heatmaps.shape[-1])
            for name in READOUTS:
                points = moments(heatmaps).points[:, None] if name == "mean" else method.locate(image).points
                parts[name].append(_positions(points.double().cpu(), grid, batch))
            done += len(image)
            if done >= frames:
                break
        for name, each in parts.items():
            cells, video_px = (np.concatenate(arrays)[:frames] for arrays in zip(*each, strict=True))
            found[name] += [Course(cells[:, i], video_px[:, i]) for i in range(cells.shape[1])]
    return found


def _positions(points: torch.Tensor, grid: tuple[int, int], batch: FrameBatch) -> tuple[Array, Array]:
    """Normalised points (B, I, K, 2) in cells of a heatmap of ``grid`` (h, w), and in pixels of the video."""
    regions = [batch.region(i) for i in range(len(batch.index))]
    video_px = [region.to_original_px(each) for region, each in zip(regions, points, strict=True)]
    return to_pixels(points, grid).numpy(), torch.stack(video_px).numpy()


def measure(course: Course, place_px: Array) -> list[Row]:
    """Measures of each keypoint of a course against the places (T, K, 2) where they belong, NaN where unknown."""
    pace = _speed(place_px)
    plain = _speed(course.video_px)
    smoothed = _speed(gaussian_filter1d(course.video_px, SMOOTHED_FRAMES, axis=0))
    rows = []
    for k in range(pace.shape[1]):
        known = np.isfinite(pace[:, k])
        moves = np.nan_to_num(pace[:, k]) > MOVES_PX
        path = course.cells[:, k : k + 1]
        away = np.linalg.norm(course.video_px[:, k] - place_px[:, k], axis=-1)
        rows.append(
            Row(
                _correlation(pace[known, k], plain[known, k]),
                _correlation(pace[known, k], smoothed[known, k]),
                float(standing_share(path, moves)[0]),
                float(grid_share(path[1:][moves])[0]),
                float(np.nanmedian(away)),
            )
        )
    return rows


def _speed(path: Array) -> Array:
    """Lengths of the steps (T - 1, K) of paths (T, K, 2)."""
    return np.asarray(np.linalg.norm(np.diff(path, axis=0), axis=-1))


def _correlation(first: Array, second: Array) -> float:
    """Correlation of two series (T,); NaN where one of them does not vary."""
    varies = len(first) > 1 and first.std() > 0 and second.std() > 0
    return float(np.corrcoef(first, second)[0, 1]) if varies else float("nan")


def compare(
    method: KeypointMethod, view: ViewSettings, truth: Truth, frames: int
) -> dict[str, list[list[Row]]]:
    """For each read-out, the measures of every keypoint in every course."""
    results = {}
    for name, each in courses(method, view, truth.video, frames).items():
        together = np.stack([course.video_px for course in each], axis=1)
        belong = places(together, truth.points_px[: len(together)])
        results[name] = [measure(course, belong[:, i]) for i, course in enumerate(each)]
    return results


def lines(results: dict[str, list[list[Row]]]) -> list[str]:
    """Table of :func:`compare` for the terminal: both read-outs side by side, means over the courses."""
    heads = ("speed r", "smoothed", "standing", f"on grid ({GRID_CHANCE:.0%})", "error px")
    text = [f"{'':>8}  " + "  ".join(f"{head + ' mean | track':>26}" for head in heads)]
    means = {
        name: np.ma.masked_invalid(np.array(each)).mean(axis=0).filled(np.nan)
        for name, each in results.items()
    }
    for k in range(len(means["mean"])):
        cells = []
        for number, form in enumerate(("{:.2f}", "{:.2f}", "{:.1%}", "{:.1%}", "{:.2f}")):
            cells.append(" | ".join(form.format(means[name][k, number]) for name in READOUTS))
        text.append(f"{f'kp{k + 1:02d}':>8}  " + "  ".join(f"{cell:>26}" for cell in cells))
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.staircases", description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder or a checkpoint")
    parser.add_argument("labels", type=Path, help="tracks of the video, such as a .slp or .truth.npz file")
    parser.add_argument("--video", type=Path, help="the video (default: the one that LABELS name)")
    parser.add_argument("--frames", type=int, default=1500, help="frames to read (default: 1500)")
    given = parser.parse_args(arguments)
    method, view = load_for_tracking(find_checkpoint(given.run))
    truth = read_tracked_truth(given.labels, given.video)
    print("\n".join(lines(compare(method, view, truth, given.frames))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
