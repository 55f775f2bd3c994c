"""Score methods on a video of several look-alike animals whose points are known in every frame.

Protocol: every frame is tracked, by the method and by the same network untrained.  Identities come twice:
from the order by height (000, 5.8) and from assignment over time.  A method that finds one set of points
for all animals is judged by splitting its points in every frame.  Regressors from discovered to true points
are fitted on the first half of the frames and scored on the second.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.frames.stream import stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.animals import ABSENT, AnimalFigures, centroids, paired, score_animals, split_points
from lightning_kp.metrics.regression import fit_linear, mean_pose_error
from lightning_kp.scoring.untrained import untrained_like
from lightning_kp.tracks.identity import IdentityTracker, body_of, ordered_by_height
from lightning_kp.tracks.pixels import original_pixels
from lightning_kp.tracks.table import Tracks, default_names
from lightning_kp.tracks.tracking import predict

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """True points of one video: ``points_px`` (N, J, L, 2), NaN = missing, each animal in its own row."""

    video: Path
    points_px: Floats
    frame_size: tuple[int, int]


@dataclass(frozen=True)
class MethodFigures:
    """Figures of one network: with identities by ``assignment`` and by ``height``.

    ``nodes_own_px``: mean error of the true points from the animal's own discovered points, by one
    least-squares fit with bias for all animals; NaN for a method with one set of points for all.
    ``nodes_all_px``: from the points of all animals at once.
    """

    assignment: AnimalFigures
    height: AnimalFigures
    nodes_own_px: float
    nodes_all_px: float


def read_truth(labels: Path, video: Path | None = None) -> Truth:
    """Truth of every frame from a SLEAP file with tracks or from a rendered arena.  Raises DataError."""
    from lightning_kp.arena.recording import read_truth as read_arena
    from lightning_kp.tracks.reading import read_tracks
    from lightning_kp.video.opening import open_video

    points: NDArray[Any]
    if labels.name.endswith(".truth.npz"):
        points = read_arena(labels).points_px
        video = video or labels.with_name(labels.name.replace(".truth.npz", ".mp4"))
    else:
        tracks = read_tracks(labels)
        points, video = tracks.points_px, video or _beside(labels, tracks.video)
    with open_video(video) as reader:
        return Truth(video, np.asarray(points, np.float64), reader.info.frame_size)


def _beside(labels: Path, named: str) -> Path:
    """The video that a label file names, or one of that name beside it."""
    found = [
        path for path in (Path(named), labels.parent / Path(named.replace("\\", "/")).name) if path.is_file()
    ]
    if not found:
        raise DataError(
            f"{labels} belongs to {named}, which is not there.", remedy="Name the video: --video FILE"
        )
    return found[0]


def track_with(
    methods: Sequence[KeypointMethod], video: Path, view: ViewSettings, *, untrained: bool = True
) -> list[Tracks]:
    """Tracks by every method, then by every one's untrained twin, in one pass over the video."""
    everybody = list(methods)
    points: list[list[Floats]] = []
    confidences: list[list[Floats]] = []
    for batch in stream_frames(
        video, size=view.size, fit=view.fit, boxes=view.boxes, batch_size=64, preprocessing=view.preprocessing
    ):
        if untrained and len(everybody) == len(methods):
            everybody += [untrained_like(method, batch.image) for method in methods]
        regions = [batch.region(i) for i in range(len(batch.index))]
        found = [original_pixels(predict(method, batch), regions) for method in everybody]
        points.append([each[0] for each in found])  # type: ignore[misc]
        confidences.append([each[1] for each in found])  # type: ignore[misc]
    return [
        _tracks(video, np.concatenate(columns), np.concatenate(certain))
        for columns, certain in zip(zip(*points, strict=True), zip(*confidences, strict=True), strict=True)
    ]


def _tracks(video: Path, points: Floats, confidence: Floats) -> Tracks:
    covariance = np.full((*points.shape[:3], 3), np.nan, np.float32)
    names = default_names(points.shape[2])
    times = np.arange(len(points), dtype=np.float64)  # frames: nothing here needs seconds
    return Tracks(
        str(video), (0, 0), 1.0, times,
        points.astype(np.float32), confidence.astype(np.float32), covariance, names,
    )  # fmt: skip


def score_tracks(tracks: Tracks, truth: Truth) -> MethodFigures:
    """All figures of one network's tracks, which are in no particular order of animals."""
    animals = truth.points_px.shape[1]
    single = tracks.points_px.shape[1] == 1
    points = tracks.points_px.astype(np.float64)
    if single:
        points = split_points(points[:, 0], animals)
    points = _rows(points, ordered_by_height(points))
    followed = points
    if not single:
        ordered = _tracks(truth.video, points, np.where(np.isnan(points).any(-1), 0.0, 1.0))
        tracker = IdentityTracker(body_of([ordered]))
        followed = tracker.follow(ordered).points_px.astype(np.float64)
    else:  # keypoints of one set change sides, so that only the centres can be followed
        followed = _rows(points, _followed_centres(points))
    everything = tracks.points_px[:, 0][:, None].astype(np.float64) if single else followed
    own = float("nan") if single else _own_error(followed, truth)
    return MethodFigures(
        score_animals(followed, truth.points_px),
        score_animals(points, truth.points_px),
        own,
        _all_error(everything, truth),
    )


def _rows(points: Floats, order: NDArray[np.int64]) -> Floats:
    return np.take_along_axis(points, order[..., None, None], axis=1)


def _followed_centres(points: Floats) -> NDArray[np.int64]:
    """Order (N, I) in which the centres of the split points follow each other with the least steps."""
    centres = _tracks(Path(), centroids(points)[:, :, None], np.ones((*points.shape[:2], 1)))
    marks = np.broadcast_to(np.arange(points.shape[1], dtype=np.float32)[:, None], centres.confidence.shape)
    import dataclasses

    marked = dataclasses.replace(centres, confidence=np.array(marks))
    return IdentityTracker(body_of([centres])).follow(marked).confidence[..., 0].astype(np.int64)


def _own_error(found: Floats, truth: Truth) -> float:
    """Error in pixels of true points from the points of the animal that is nearest by assignment."""
    pairs = paired(centroids(found), centroids(truth.points_px), float("inf"))
    half = len(found) // 2
    parts = []
    for rows in (slice(None, half), slice(half, None)):
        frame, animal = np.nonzero(pairs[rows] != ABSENT)
        chosen = found[rows][frame, pairs[rows][frame, animal]]
        whole = np.isfinite(chosen).all(axis=(1, 2))
        parts.append((chosen[whole], truth.points_px[rows][frame, animal][whole]))
    (x_fit, y_fit), (x, y) = parts
    if not len(x_fit) or not len(x):
        return float("nan")
    side = max(truth.frame_size)
    unit = [torch.from_numpy(each / side * 2 - 1) for each in (x_fit, y_fit, x, y)]
    fit = fit_linear(unit[0], unit[1], bias=True)
    return fit.score(unit[2], unit[3]).mean.item() * side / 100


def _all_error(found: Floats, truth: Truth) -> float:
    """Error in pixels of the points of all animals from all discovered points, identities as tracked."""
    half, side = len(found) // 2, max(truth.frame_size)
    x = torch.from_numpy(np.nan_to_num(found.reshape(len(found), -1, 2), nan=side / 2) / side * 2 - 1)
    y = torch.from_numpy(truth.points_px.reshape(len(found), -1, 2) / side * 2 - 1)
    fit = fit_linear(x[:half], y[:half], bias=True)
    return fit.score(x[half:], y[half:]).mean.item() * side / 100


def mean_pose_px(truth: Truth) -> float:
    """Error in pixels of always answering the mean of the first half's points."""
    half, side = len(truth.points_px) // 2, max(truth.frame_size)
    y = torch.from_numpy(truth.points_px.reshape(len(truth.points_px), -1, 2) / side * 2 - 1)
    return mean_pose_error(y[:half], y[half:]).mean.item() * side / 100


def as_metrics(figures: MethodFigures) -> dict[str, object]:
    """Figures by name, for ``metrics.json``."""
    return asdict(figures)
