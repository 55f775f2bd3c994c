"""Whether the confidence of a run is the probability that a point is right, against labels.

``python -m lightning_kp.studies.confidence RUN LABELS [--video FILE] [--tracks FILE] [--diagram FILE.png]`` reads
labelled frames, or a video whose labels are tracks, and says for each point whether it lies where its keypoint belongs
by the labels, to 10 % of the body's length (:mod:`lightning_kp.confidence.places`; the length is the longest
distance between two labelled points).  It prints the expected calibration error and what a cut at 0.6 keeps, of the
confidence that the run gives and of the raw peak, for all keypoints and for those that the verdict calls found.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.api.loading import Model, load
from lightning_kp.batches import floats_in_unit_range
from lightning_kp.confidence.cues import raw_cues, relative_cues, usual_cues
from lightning_kp.confidence.places import places
from lightning_kp.confidence.reliability import USUAL_CUT, calibration_error, cut_at, reliability
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.files import read_json, replacing
from lightning_kp.labels.reading import read_labels
from lightning_kp.runs.folder import RunFolder
from lightning_kp.scoring.look_alikes import Truth, read_tracked_truth
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.table import Tracks

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHARE_OF_BODY = 0.1
"""A point is right up to this share of the body's length."""


class Judged(NamedTuple):
    """Points of T frames, I animals and K keypoints against labels.

    ``confidence`` and ``peak`` (T, I, K); ``away`` (T, I, K), distance from where the keypoint belongs as a share of
    the body's length, NaN where the labels do not tell.
    """

    confidence: Array
    peak: Array
    away: Array

    def of(self, keypoints: Sequence[int]) -> "Judged":
        """Of these keypoints alone."""
        return Judged(*(each[..., list(keypoints)] for each in self))

    def points(self) -> tuple[Array, Array, Bools]:
        """Confidence, peak and whether right (N,) of the points that the labels judge."""
        known = np.isfinite(self.away)
        return self.confidence[known], self.peak[known], self.away[known] <= SHARE_OF_BODY


class Row(NamedTuple):
    """Figures of one kind of confidence over one set of points."""

    points: int
    right: float
    error: float
    right_stay: float
    wrong_go: float


def figures(confidence: Array, right: Bools) -> Row:
    """Number of points, share right, expected calibration error and the cut at 0.6, from points (N,)."""
    cut = cut_at(confidence, right)
    share = float(right.mean()) if len(right) else float("nan")
    return Row(len(right), share, calibration_error(confidence, right), cut.right_stay, cut.wrong_go)


def judge_tracks(points: Array, confidence: Array, peak: Array, truth: Array) -> Judged:
    """Judge tracks (T, I, K, 2) by true points (T, J, L, 2) of J animals, in the same unit."""
    away = np.linalg.norm(points - places(points, truth), axis=-1)
    return Judged(confidence, peak, away / body_length(truth))


def body_length(truth: Array) -> float:
    """Median over frames of the longest distance between two points of an animal: (T, J, L, 2) -> length."""
    apart = np.linalg.norm(truth[..., :, None, :] - truth[..., None, :, :], axis=-1)
    whole = np.isfinite(apart).all(axis=(-2, -1))
    return float(np.median(apart[whole].max(axis=(-2, -1)))) if whole.any() else float("nan")


def judge_video(tracks: Tracks, truth: Truth) -> Judged:
    """Judge tracks of a video whose true points are known."""
    count = min(len(tracks), len(truth.points_px))
    peak = tracks.confidence if tracks.peak is None else tracks.peak
    points, confidence, peaks = (
        each[:count].astype(np.float64) for each in (tracks.points_px, tracks.confidence, peak)
    )
    return judge_tracks(points, confidence, peaks, truth.points_px[:count])


@torch.inference_mode()
def judge_frames(model: Model, labels: Path, root: Path | None) -> Judged:
    """Judge labelled frames that are no video, so that nothing is known of jumps."""
    view = model.view
    labelled = read_labels(
        str(labels), view.size, view.fit, view.boxes, root=root, preprocessing=view.preprocessing
    )
    parts = [
        model.method.locate(floats_in_unit_range(part.to(model.device))) for part in labelled.image.split(32)
    ]
    points, covariance, peak = (torch.cat(each).double().cpu().numpy() for each in zip(*parts, strict=True))
    confidence = peak
    if model.calibration is not None:
        raw = raw_cues(points, peak, covariance, np.zeros(len(points), dtype=bool))
        confidence = model.calibration.probability(relative_cues(raw, usual_cues(raw)))
    truth = labelled.points.double().numpy().reshape(len(points), labelled.animals, -1, 2)
    return judge_tracks(points, confidence, peak, truth)


def lines(judged: Judged, found: Sequence[int]) -> list[str]:
    """Table of the figures for the terminal."""
    text = [f"{'':<28}{'points':>8}{'right':>8}{'ECE':>8}{'right stay':>12}{'wrong go':>10}"]
    for title, part in (("all keypoints", judged), ("found keypoints", judged.of(found))):
        confidence, peak, right = part.points()
        for name, values in (("confidence", confidence), ("raw peak", peak)):
            row = figures(values, right)
            text.append(
                f"{title + ', ' + name:<28}{row.points:>8}{row.right:>8.1%}{row.error:>8.3f}"
                f"{row.right_stay:>12.1%}{row.wrong_go:>10.1%}"
            )
    text.append(
        f"right: within {SHARE_OF_BODY:.0%} of the body's length; stay and go at a cut of {USUAL_CUT}"
    )
    return text


def draw(judged: Judged, path: Path, title: str) -> None:
    """Write a reliability diagram of the confidence and of the raw peak, with the number of points in each bin."""
    from matplotlib.figure import Figure

    confidence, peak, right = judged.points()
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, values, colour in (("confidence", confidence, "tab:blue"), ("raw peak", peak, "tab:orange")):
        bins = reliability(values, right)
        error = calibration_error(values, right)
        above.plot(bins.confidence, bins.right, "o-", color=colour, label=f"{name}, error {error:.3f}")
        below.plot((np.arange(len(bins.number)) + 0.5) / len(bins.number), bins.number, "o-", color=colour)
    above.set(title=title, ylabel="share of right points", xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="lower right")
    below.set(xlabel="confidence", ylabel="points", yscale="symlog", ylim=(0, None))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _judged(given: argparse.Namespace) -> Judged:
    """Judge saved tracks, a video, or labelled frames, whichever is given."""
    if given.tracks is not None:
        return judge_video(
            read_tracks(given.tracks), read_tracked_truth(given.labels, given.video, given.root)
        )
    model = load(given.run)
    if model.calibration is None:
        remedy = f"`kp report {given.run} --judge` makes one."
        raise ConfigurationError(f"{given.run} has no calibration.", remedy=remedy)
    try:
        truth = read_tracked_truth(given.labels, given.video, given.root)
    except DataError:  # labelled frames rather than tracks
        return judge_frames(model, given.labels, given.root)
    return judge_video(model.predict(truth.video).tracks, truth)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lightning_kp.studies.confidence", description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder or a checkpoint")
    parser.add_argument("labels", type=Path, help="labelled frames, or tracks of a video")
    parser.add_argument(
        "--video", type=Path, help="the video of labelled tracks (default: the one that LABELS name)"
    )
    parser.add_argument("--root", type=Path, help="folder below which images and videos of the labels lie")
    parser.add_argument(
        "--tracks", type=Path, help="judge these tracks that the run wrote, in place of a new pass"
    )
    parser.add_argument("--diagram", type=Path, help="write a reliability diagram to this file")
    given = parser.parse_args(arguments)
    judged = _judged(given)
    verdict = read_json(RunFolder(given.run).diagnostics)
    found = verdict.get("found", list(range(judged.away.shape[-1])))
    print("\n".join(lines(judged, found)))
    if given.diagram is not None:
        draw(judged, given.diagram, f"{given.run.name}: {given.labels.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
