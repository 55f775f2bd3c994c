"""Score methods on a video of several look-alike animals whose points are known in every frame.

Protocol: each frame is tracked by the method and by the same network untrained.  Identities come in two ways:
from the order by height (000, 5.8) and from assignment over time.  For a method that finds one set of points
for all animals, the points of each frame are divided among the animals.  Regressors from discovered to true points
are fitted to the first half of the frames and scored on the second.

N frames, I found animals, J true animals, K discovered and L true keypoints.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_kp.errors import DataError
from lightning_kp.frames.stream import FrameBatch, stream_frames
from lightning_kp.frames.view import ViewSettings
from lightning_kp.labels.frames import find_file
from lightning_kp.labels.truth import is_truth, open_truth
from lightning_kp.method import KeypointMethod
from lightning_kp.metrics.animals import (
    UNMATCHED,
    AnimalMetrics,
    centroids,
    match_centroids,
    score_animals,
    split_points,
)
from lightning_kp.metrics.regression import fit_linear, mean_pose_error
from lightning_kp.motion.boxes import boxes_per_animal
from lightning_kp.scoring.field_measures import FieldMeasures, field_measures
from lightning_kp.scoring.untrained import untrained_like
from lightning_kp.tracks.identity import IdentityTracker, estimate_body, order_by_height
from lightning_kp.tracks.pixels import original_pixels
from lightning_kp.tracks.table import Tracks, default_names
from lightning_kp.tracks.tracking import predict, without_unseen

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """True points of one video.

    ``points_px`` (N, J, L, 2) in pixels, NaN = missing, one animal per index of the second axis; ``frame_size``
    (height, width) in pixels.
    """

    video: Path
    points_px: Floats
    frame_size: tuple[int, int]


@dataclass(frozen=True)
class LookAlikeMetrics:
    """Metrics of one network.

    Attributes:
        assignment: Metrics with identities from assignment over time.
        height: Metrics with identities from the order by height.
        nodes_own_px: Mean error in pixels of the true points when predicted from the animal's own discovered points,
            by one least-squares fit with bias for all animals; NaN for a method with one set of points for all.
        nodes_all_px: Mean error in pixels when predicted from the points of all animals together.
        field: HOTA, MOTA and IDF1 with identities from assignment; None where they were not measured.
    """

    assignment: AnimalMetrics
    height: AnimalMetrics
    nodes_own_px: float
    nodes_all_px: float
    field: FieldMeasures | None = None


def read_tracked_truth(labels: Path, video: Path | None = None, root: Path | None = None) -> Truth:
    """Read true points whose animals keep their identity over the whole video.

    Args:
        labels: A file of tracks, such as a SLEAP file, or the ``.truth.npz`` of a rendered arena.
        video: The labelled video; by default the one that the file names, or that lies below ``root`` or beside it.
        root: A folder with the video.

    Raises:
        DataError: The labels or the video cannot be read.
    """
    from lightning_kp.tracks.reading import read_tracks
    from lightning_kp.video.opening import open_video

    if is_truth(labels):
        arena = open_truth(labels, video)
        assert arena.video is not None  # a rendered arena always has one
        points = np.stack([frame.points_px for frame in arena.frames])
        return Truth(Path(arena.video.path), points, arena.video.frame_size)
    tracks = read_tracks(labels)
    video = video or _video_beside(labels, tracks.video, root)
    with open_video(video) as reader:
        return Truth(video, np.asarray(tracks.points_px, np.float64), reader.info.frame_size)


def _video_beside(labels: Path, named: str, root: Path | None) -> Path:
    """The video that a label file names, or the one of that name below ``root`` or beside the file."""
    if Path(named).is_file():
        return Path(named)
    folders = [*([root] if root is not None else []), labels.parent]
    if (found := find_file(named, folders, loose=True)) is None:
        raise DataError(
            f"{labels} belongs to the video {named}, which was not found.",
            remedy="Give the video: --video FILE, or its folder: --root FOLDER",
        )
    return found


def track_with(
    methods: Sequence[KeypointMethod], video: Path, view: ViewSettings, *, untrained: bool = True
) -> list[Tracks]:
    """Track a video with several methods in one pass.

    Args:
        methods: Methods that see the video alike.
        video: The video.
        view: How the methods see a frame.
        untrained: Whether to track with the untrained twin of each method, too.

    Returns:
        Tracks of each method, then of each untrained twin, in the same order.  Animals are in no particular order.
    """
    networks = list(methods)
    points: list[list[Floats]] = []
    confidences: list[list[Floats]] = []
    streams = [
        stream_frames(
            video, size=view.size, fit=view.fit, boxes=boxes, batch_size=64, preprocessing=view.preprocessing
        )
        for boxes in boxes_per_animal(view.boxes)
    ]
    for crops in zip(*streams, strict=True):
        if untrained and len(networks) == len(methods):
            networks += [untrained_like(method, crops[0].image) for method in methods]
        found = [_joined([_in_frame(network, batch) for batch in crops]) for network in networks]
        points.append([each[0] for each in found])
        confidences.append([each[1] for each in found])
    return [
        _tracks(video, np.concatenate(own_points), np.concatenate(own_confidences))
        for own_points, own_confidences in zip(
            zip(*points, strict=True), zip(*confidences, strict=True), strict=True
        )
    ]


def _in_frame(network: KeypointMethod, batch: FrameBatch) -> tuple[Floats, Floats]:
    """Points (B, I, K, 2) in pixels of the frame, NaN = absent, and confidence (B, I, K)."""
    regions = [batch.region(i) for i in range(len(batch.index))]
    points, confidence, _ = original_pixels(without_unseen(predict(network, batch), batch), regions)
    return points.astype(np.float64), confidence.astype(np.float64)


def _joined(crops: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Join the animals of several crops of the same frames."""
    points, confidences = zip(*crops, strict=True)
    return np.concatenate(points, axis=1), np.concatenate(confidences, axis=1)


def _tracks(video: Path, points: Floats, confidence: Floats) -> Tracks:
    """Tracks of points (N, I, K, 2) in pixels with confidence (N, I, K), without covariance."""
    covariance = np.full((*points.shape[:3], 3), np.nan, np.float32)
    names = default_names(points.shape[2])
    times = np.arange(len(points), dtype=np.float64)  # frame numbers: nothing here needs seconds
    return Tracks(
        str(video), (0, 0), 1.0, times,
        points.astype(np.float32), confidence.astype(np.float32), covariance, names,
    )  # fmt: skip


def score_tracks(tracks: Tracks, truth: Truth) -> LookAlikeMetrics:
    """Score the tracks of one network, whose animals may come in any order.

    Tracks of a single instance are divided among the animals first; see
    :func:`lightning_kp.metrics.animals.split_points`.
    """
    animals = truth.points_px.shape[1]
    single = tracks.points_px.shape[1] == 1
    points = tracks.points_px.astype(np.float64)
    if single:
        points = split_points(points[:, 0], animals)
    points = _rows(points, order_by_height(points))
    followed = points
    if not single:
        ordered = _tracks(truth.video, points, np.where(np.isnan(points).any(-1), 0.0, 1.0))
        tracker = IdentityTracker(estimate_body([ordered]))
        followed = tracker.follow(ordered).points_px.astype(np.float64)
    else:  # keypoints of one set change from animal to animal, so that only the centres can be followed
        followed = _rows(points, _followed_centres(points))
    everything = tracks.points_px[:, 0][:, None].astype(np.float64) if single else followed
    own = float("nan") if single else _own_error(followed, truth)
    by_assignment = score_animals(followed, truth.points_px)
    return LookAlikeMetrics(
        by_assignment,
        score_animals(points, truth.points_px),
        own,
        _all_error(everything, truth),
        field_measures(followed, truth.points_px, by_assignment.reach_px),
    )


def _rows(points: Floats, order: NDArray[np.int64]) -> Floats:
    """Points (N, I, K, 2) with the animals of each frame in the ``order`` (N, I)."""
    return np.take_along_axis(points, order[..., None, None], axis=1)


def _followed_centres(points: Floats) -> NDArray[np.int64]:
    """Order (N, I) of the animals in which the centres of the points (N, I, K, 2) keep their identity over time."""
    centres = _tracks(Path(), centroids(points)[:, :, None], np.ones((*points.shape[:2], 1)))
    # The tracker carries confidences along, so numbers passed in their place show where each animal went.
    numbers = np.broadcast_to(np.arange(points.shape[1], dtype=np.float32)[:, None], centres.confidence.shape)
    numbered = dataclasses.replace(centres, confidence=np.array(numbers))
    return IdentityTracker(estimate_body([centres])).follow(numbered).confidence[..., 0].astype(np.int64)


def _own_error(found: Floats, truth: Truth) -> float:
    """Error in pixels of the true points when predicted from the points of the matched animal."""
    matches = match_centroids(centroids(found), centroids(truth.points_px), float("inf"))
    half = len(found) // 2
    parts = []
    for rows in (slice(None, half), slice(half, None)):
        frame, animal = np.nonzero(matches[rows] != UNMATCHED)
        chosen = found[rows][frame, matches[rows][frame, animal]]
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
    """Error in pixels of the points of all animals when predicted from all discovered points, as tracked."""
    half, side = len(found) // 2, max(truth.frame_size)
    x = torch.from_numpy(np.nan_to_num(found.reshape(len(found), -1, 2), nan=side / 2) / side * 2 - 1)
    y = torch.from_numpy(truth.points_px.reshape(len(found), -1, 2) / side * 2 - 1)
    fit = fit_linear(x[:half], y[:half], bias=True)
    return fit.score(x[half:], y[half:]).mean.item() * side / 100


def mean_pose_px(truth: Truth) -> float:
    """Error in pixels on the second half when always predicting the mean pose of the first half."""
    half, side = len(truth.points_px) // 2, max(truth.frame_size)
    y = torch.from_numpy(truth.points_px.reshape(len(truth.points_px), -1, 2) / side * 2 - 1)
    return mean_pose_error(y[:half], y[half:]).mean.item() * side / 100


def as_metrics(metrics: LookAlikeMetrics) -> dict[str, object]:
    """Metrics by name, for ``metrics.json``; HOTA, MOTA and IDF1 stand with the identities that they measure."""
    found = asdict(metrics)
    del found["field"]
    if metrics.field is not None:
        found["assignment"] |= metrics.field.as_metrics()
    return found
