"""What mending flips and smoothing do to the error of tracks: true points with known faults, and tracks of a run.

``python -m lightning_kp.studies.smoothing`` takes the true points of a rendered arena, spoils them by noise, a grid,
outliers and exchanged ends, and prints what is left of each fault.

``python -m lightning_kp.studies.smoothing --tracks FILE.csv [--labels FILE]`` compares the tracks of a run, written by
``kp track RUN VIDEO --no-mend --formats csv --out FOLDER``, with labels in every frame of the same video: the
``.truth.npz`` of a rendered arena, or a SLEAP file.  Without labels it prints what can be said without.  With
``--sides head,thorax,eyeL,eyeR`` it counts the frames in which two keypoints stand on the wrong side of an axis, which
an animal seen from above never shows; so the tracks of any program can be looked at.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.arena.recording import ArenaSettings, read_truth, simulate
from lightning_kp.labels.truth import is_truth
from lightning_kp.metrics.animals import centroids, match_centroids
from lightning_kp.metrics.body_order import order_kept
from lightning_kp.metrics.regression import fit_linear, fit_matched
from lightning_kp.smoothing.flips import Mended, mend_flips
from lightning_kp.smoothing.smoother import smooth_tracks
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.table import Tracks, default_names

Floats = NDArray[np.float64]

FRONT, BACK = {"snout", "nose", "head"}, {"tail_base", "tailbase", "abdomen"}
"""Names of the labelled points at the ends of an animal."""
FLIP_RATE, FLIP_FRAMES = 1 / 250, 80
"""Exchanges per frame in the rendered example, and the frames that the longest one lasts."""


class Labels(NamedTuple):
    """True points (N, J, L, 2) in pixels, NaN = absent, and the names of the L points."""

    points_px: Floats
    names: tuple[str, ...]


class Quality(NamedTuple):
    """What labels say of tracks.

    Attributes:
        matched_px: Mean error of the labelled points, each predicted from its best keypoint plus a constant (x, y).
        linear_px: Mean error of the labelled points, predicted from all keypoints of the animal by least squares.
        speed: Correlation of the speed of each labelled point with that of its best keypoint, mean over the points.
        order: Share of the frames in which keypoints keep their order along the body, in the worst of 8 headings.
    """

    matched_px: float
    linear_px: float
    speed: float
    order: float


def read_labels(path: Path) -> Labels:
    """Labels of every frame, from a ``.truth.npz`` or a file of tracks.  Raises DataError if it cannot be read."""
    if is_truth(path):
        truth = read_truth(path)
        return Labels(np.asarray(truth.points_px, np.float64), tuple(truth.keypoint_names))
    tracks = read_tracks(path)
    return Labels(np.asarray(tracks.points_px, np.float64), tracks.keypoint_names)


def aligned(found: Floats, labels: Labels) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Found points (A, N, K, 2), labelled points (A, N, L', 2), and the names of the latter, for A animals.

    Animals with rows of their own are matched by their centroids in every frame; of a single row, all keypoints belong
    to all animals.
    """
    frames, animals = labels.points_px.shape[:2]
    if found.shape[1] == 1:
        points = labels.points_px.reshape(1, frames, -1, 2)
        return (
            found[:frames].swapaxes(0, 1),
            points,
            tuple(f"{name}_{a}" for a in range(animals) for name in labels.names),
        )
    matches = match_centroids(centroids(found[:frames]), centroids(labels.points_px), np.inf)
    own = np.where(
        matches[..., None, None] >= 0, found[np.arange(frames)[:, None], np.maximum(matches, 0)], np.nan
    )
    return own.swapaxes(0, 1), labels.points_px.swapaxes(0, 1), labels.names


def quality(tracks: Tracks, labels: Labels) -> Quality:
    """Compare tracks with labels; regressors are fitted on the first half of the frames and scored on the second."""
    found, true, names = aligned(tracks.points_px.astype(np.float64), labels)
    side = float(max(tracks.frame_size)) or float(np.nanmax(true))
    seen = np.asarray(np.isfinite(found).all((2, 3)))
    half = found.shape[1] // 2
    parts = []
    for rows in (slice(None, half), slice(half, None)):
        chosen = [each[:, rows][seen[:, rows]] for each in (found, true)]
        parts += [torch.from_numpy(each / side * 2 - 1) for each in chosen]
    x_fit, y_fit, x, y = parts
    linear, matched = fit_linear(x_fit, y_fit, bias=True), fit_matched(x_fit, y_fit)
    unit = side / 100
    speeds = [
        speed_correlation(found[:, :, keypoint], true[:, :, point])
        for point, keypoint in enumerate(matched.match.tolist())
    ]
    ends = tuple(_end(name) for name in names)
    return Quality(
        unit * matched.score(x, y).mean.item(),
        unit * linear.score(x, y).mean.item(),
        float(np.nanmean(speeds)),
        order_kept(torch.cat((x_fit, x)), torch.cat((y_fit, y)), ends),
    )


def speed_correlation(found: Floats, true: Floats) -> float:
    """Correlation of the lengths of the steps of two points (A, N, 2); NaN where one of them never moves."""
    steps = [np.linalg.norm(np.diff(each, axis=1), axis=-1).ravel() for each in (found, true)]
    known = np.isfinite(steps[0]) & np.isfinite(steps[1])
    pairs = np.stack([each[known] for each in steps])
    return (
        float(np.corrcoef(pairs)[0, 1]) if known.sum() > 1 and (pairs.std(axis=1) > 0).all() else float("nan")
    )


def trembling_px(tracks: Tracks) -> float:
    """Median length of the second difference of all points over three frames, in pixels."""
    return float(np.nanmedian(np.linalg.norm(np.diff(tracks.points_px, 2, axis=0), axis=-1)))


def on_wrong_side(tracks: Tracks, front: str, back: str, left: str, right: str) -> float:
    """Share of the frames and animals in which ``right`` lies left of ``left``, seen from ``back`` to ``front``."""
    ahead, behind, one, other = (
        tracks.points_px[:, :, tracks.keypoint_names.index(name)].astype(np.float64)
        for name in (front, back, left, right)
    )
    axis, across = ahead - behind, other - one
    area = (
        axis[..., 0] * across[..., 1] - axis[..., 1] * across[..., 0]
    )  # positive to the right: y points down
    return float((area[np.isfinite(area)] < 0).mean())


def steps_table(raw: Tracks, labels: Labels | None, sides: Sequence[str] = ()) -> Iterator[str]:
    """Lines of a Markdown table: the tracks as found, mended, smoothed, and both; then what was found.

    ``sides`` are the four names for :func:`on_wrong_side`, if any.
    """
    start = time.perf_counter()
    mended = mend_flips(raw)
    middle = time.perf_counter()
    smoothing = smooth_tracks(mended.tracks)
    end = time.perf_counter()
    states = {
        "as found": raw, "mended": mended.tracks, "smoothed": smooth_tracks(raw).tracks,
        "mended and smoothed": smoothing.tracks,
    }  # fmt: skip
    heads = ["", "trembling px", *(["on the wrong side"] if sides else [])]
    if labels is not None:
        heads += ["matched px", "linear px", "speed correlation", "order kept, worst heading"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for name, tracks in states.items():
        values = [f"{trembling_px(tracks):.2f}", *([f"{on_wrong_side(tracks, *sides):.2%}"] if sides else [])]
        if labels is not None:
            known = quality(tracks, labels)
            values += [
                f"{known.matched_px:.2f}",
                f"{known.linear_px:.2f}",
                f"{known.speed:.3f}",
                f"{known.order:.1%}",
            ]
        yield f"| {name} | {' | '.join(values)} |"
    yield ""
    yield from _found(mended, len(raw))
    yield f"mending took {middle - start:.1f} s, smoothing {end - middle:.1f} s, for {raw.confidence.size:,} points"
    noise = np.nanmedian(smoothing.noise_px)
    yield f"noise of a keypoint {noise:.2f} px (median), outliers {smoothing.outliers.mean():.2%}"


def _found(mended: Mended, frames: int) -> Iterator[str]:
    yield f"order along the walk kept in {mended.order_before:.1%}, after mending in {mended.order_after:.1%}"
    for kind in ("exchange", "jump"):
        flips = [each for each in mended.flips if each.kind == kind]
        total = sum(each.last_frame - each.frame + 1 for each in flips)
        names = sorted({name for each in flips for name in each.keypoints})
        yield f"{kind}: {len(flips)} times, {total} frames of {frames} ({', '.join(names)})"


def spoilt(points: Floats, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """True points (N, I, K, 2) with one fault after another; the last keypoint but one is the base of the tail."""
    yield "noise of 0.5 px", points + rng.normal(0, 0.5, points.shape)
    yield "noise of 2 px", points + rng.normal(0, 2.0, points.shape)
    yield "grid of 4 px", np.round(points / 4) * 4
    noisy = points + rng.normal(0, 1.0, points.shape)
    far = rng.random(points.shape[:3])[..., None] < 0.03
    yield "noise of 1 px, 3 % outliers", np.where(far, points + rng.normal(0, 30.0, points.shape), noisy)
    order = np.arange(points.shape[2])
    order[[0, -2]] = order[[-2, 0]]
    yield (
        "noise of 1 px, snout and tail base exchanged",
        np.where(_stretches(points, rng), noisy[:, :, order], noisy),
    )
    alone = noisy.copy()
    alone[:, :, 0] = noisy[:, :, -2]
    yield "noise of 1 px, snout jumps to tail base", np.where(_stretches(points, rng), alone, noisy)


def _stretches(points: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Frames of exchanges (N, I, 1, 1), at random times and of random lengths."""
    inside = np.zeros((*points.shape[:2], 1, 1), bool)
    for start, animal in np.argwhere(rng.random(points.shape[:2]) < FLIP_RATE):
        inside[start : start + rng.integers(1, FLIP_FRAMES), animal] = True
    return inside


def rendered_table(frames: int, seed: int) -> Iterator[str]:
    """Lines of a Markdown table: error and speed of spoilt true points, as found, mended and smoothed."""
    yield "| | error px: as found | mended | and smoothed | speed: as found | and smoothed | exchanges | jumps |"
    yield f"|{'---|' * 8}"
    settings = ArenaSettings(frames=frames, seed=seed)
    truth = simulate(settings).points_px
    for name, points in spoilt(truth, np.random.default_rng(seed)):
        raw = _tracks(points, settings)
        mended = mend_flips(raw)
        smooth = smooth_tracks(mended.tracks).tracks
        errors = [
            float(np.linalg.norm(each.points_px - truth, axis=-1).mean())
            for each in (raw, mended.tracks, smooth)
        ]
        speeds = [_mean_speed_correlation(each.points_px.astype(np.float64), truth) for each in (raw, smooth)]
        counts = [sum(flip.kind == kind for flip in mended.flips) for kind in ("exchange", "jump")]
        cells = (
            [f"{error:.2f}" for error in errors]
            + [f"{speed:.2f}" for speed in speeds]
            + list(map(str, counts))
        )
        yield f"| {name} | {' | '.join(cells)} |"


def _mean_speed_correlation(found: Floats, true: Floats) -> float:
    """Mean of :func:`speed_correlation` over the K keypoints of points (N, I, K, 2)."""
    pairs = zip(found.transpose(2, 1, 0, 3), true.transpose(2, 1, 0, 3), strict=True)
    return float(np.mean([speed_correlation(*pair) for pair in pairs]))


def _tracks(points: Floats, settings: ArenaSettings) -> Tracks:
    shape = points.shape[:3]
    return Tracks(
        "", (settings.size, settings.size), settings.fps, np.arange(len(points)) / settings.fps,
        points.astype(np.float32), np.ones(shape, np.float32), np.full((*shape, 3), np.nan, np.float32),
        default_names(shape[2]),
    )  # fmt: skip


def _end(name: str) -> str:
    """The name of a labelled point, as :func:`order_kept` knows the ends of an animal."""
    stem, _, suffix = name.rpartition("_") if name.rpartition("_")[2].isdigit() else (name, "", "")
    known = "snout" if stem in FRONT else "tail_base" if stem in BACK else stem
    return f"{known}_{suffix}" if suffix else known


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.smoothing", description=__doc__)
    parser.add_argument(
        "--tracks", type=Path, help="tracks of a run as found: `kp track RUN VIDEO --no-mend`"
    )
    parser.add_argument("--labels", type=Path, help="labels of every frame of the same video")
    parser.add_argument(
        "--sides", default="", help="names FRONT,BACK,LEFT,RIGHT of keypoints that show a wrong side"
    )
    parser.add_argument(
        "--frames", type=int, default=3000, help="frames of the rendered example (default: 3000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the rendered example (default: 0)")
    given = parser.parse_args(arguments)
    if given.tracks is None:
        lines = rendered_table(given.frames, given.seed)
    else:
        labels = read_labels(given.labels) if given.labels else None
        lines = steps_table(read_tracks(given.tracks), labels, given.sides.split(",") if given.sides else ())
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
