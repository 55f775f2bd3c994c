"""Collects what the verdict on a discovery run needs from pairs of frames, in small arrays."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from lightning_kp.batches import FramePairs, floats_in_unit_range
from lightning_kp.diagnosis.backgrounds import Backgrounds, thumbnails
from lightning_kp.errors import DataError
from lightning_kp.geometry import QUARTER_TURNS, rotate_image, rotate_points
from lightning_kp.method import KeypointMethod
from lightning_kp.motion import foreground as fg
from lightning_kp.motion.background import learn_background
from lightning_kp.readout.instances import match_animals

Array = NDArray[np.float64]

FOREGROUND_SAMPLES = 64  # foreground pixels kept of each frame, for coverage
FOREGROUND_RADIUS = 0.15  # body sizes: a keypoint touches what is within this distance
MOTION_RADIUS = 0.5  # body sizes: of an evenly coloured coat only the outline changes, so this disc is larger
MIN_RADIUS_PX = 1.5  # pixels of the thumbnails


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """Keypoints of N frames and what is in the image around them; K keypoints, S foreground samples per frame.

    Positions are normalised (x, y) in [-1, 1].  With several look-alike animals, K counts the keypoints of all
    animals, one animal after another.

    Attributes:
        points: (N, K, 2).
        confidence: (N, K), peaks of the heatmaps in [0, 1].
        covariance: (N, K, 3) as (var x, var y, cov xy).
        turned_back: (N, K, 2), the points found after a quarter turn of the frame, turned back.
        foreground_under: (N, K), share of a small disc around each point that is foreground; NaN in frames without.
        motion_under: (N, K), share of a body-sized disc around each point that moves; NaN in frames without motion.
        foreground_points: (N, S, 2), positions drawn from the foreground; NaN in frames without.
        foreground_centre: (N, 2), centre of the foreground; NaN in frames without.
        displacement: (N,), distance that this centre moves within the pair.
        video: (N,), number of the video.
        index: (N,), number of the frame in its video.
        body_px: Side of a square with the area of the largest moving region, in pixels of the network's image.
        image_size: Side of the network's image in pixels.
        cell_px: Side of a heatmap's cell in pixels of the network's image; NaN if unknown.

    Raises:
        DataError: if the shapes contradict each other or a coordinate is not finite.
    """

    points: Array
    confidence: Array
    covariance: Array
    turned_back: Array
    foreground_under: Array
    motion_under: Array
    foreground_points: Array
    foreground_centre: Array
    displacement: Array
    video: NDArray[np.int64]
    index: NDArray[np.int64]
    body_px: float
    image_size: int
    cell_px: float = math.nan

    def __post_init__(self) -> None:
        frames, keypoints = self.points.shape[:2]
        expected = {
            "points": (frames, keypoints, 2), "confidence": (frames, keypoints),
            "covariance": (frames, keypoints, 3), "turned_back": (frames, keypoints, 2),
            "foreground_under": (frames, keypoints), "motion_under": (frames, keypoints),
            "foreground_points": (frames, self.foreground_points.shape[1], 2),
            "foreground_centre": (frames, 2), "displacement": (frames,),
            "video": (frames,), "index": (frames,),
        }  # fmt: skip
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"Evidence.{name} should be {shape}, got {getattr(self, name).shape}.")
        if not np.isfinite(self.points).all():
            raise DataError(
                "Some keypoint coordinates are NaN or infinite, so the network's weights are damaged.",
                remedy="Go back to an earlier checkpoint.",
            )

    def select(self, keypoints: Sequence[int]) -> "Evidence":
        """Evidence for the keypoints with these indices, in this order."""
        chosen = list(keypoints)
        names = ("points", "confidence", "covariance", "turned_back", "foreground_under", "motion_under")
        return dataclasses.replace(self, **{name: getattr(self, name)[:, chosen] for name in names})

    @staticmethod
    def joined(parts: Sequence["Evidence"]) -> "Evidence":
        """Merge the evidence of several processes: each frame once, ordered by video and frame."""
        numbers = ("body_px", "image_size", "cell_px")
        arrays = [field.name for field in dataclasses.fields(Evidence) if field.name not in numbers]
        merged = {name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays}
        _, order = np.unique(np.stack((merged["video"], merged["index"])), axis=1, return_index=True)
        body = [part.body_px for part in parts if np.isfinite(part.body_px)]
        return Evidence(
            **{name: merged[name][order] for name in arrays},
            body_px=float(np.median(body)) if body else float("nan"),
            image_size=parts[0].image_size,
            cell_px=parts[0].cell_px,
        )


class Collector:
    """Runs a method over batches and keeps points and thumbnails; :meth:`evidence` turns them into arrays.

    Args:
        max_frames: Number of frames after which further batches are ignored.
        seed: Seed of the quarter turns and of the foreground samples.
    """

    def __init__(self, *, max_frames: int = 512, seed: int = 0) -> None:
        self.max_frames = max_frames
        self._generator = np.random.default_rng(seed)
        self._kept: dict[str, list[NDArray[Any]]] = {}
        self._count = 0
        self._image_size = 0
        self._cell_px = math.nan

    @property
    def is_full(self) -> bool:
        """Whether ``max_frames`` frames have been collected."""
        return self._count >= self.max_frames

    @property
    def videos(self) -> set[int]:
        """Numbers of the videos collected from so far."""
        return {int(video) for part in self._kept.get("video", []) for video in part}

    @torch.no_grad()
    def add(self, method: KeypointMethod, batch: FramePairs) -> None:
        """Collect from one batch with images (B, 3, H, W), uint8 or float in [0, 1].

        The method runs in evaluation mode and is returned to its own mode afterwards.
        """
        if self.is_full:
            return
        batch = FramePairs(*(field[: self.max_frames - self._count] for field in batch))
        frame = floats_in_unit_range(batch.frame).to(method.device).to(cast(torch.dtype, method.dtype))
        turns = int(self._generator.choice(QUARTER_TURNS))
        was_training = method.training
        method.eval()
        try:
            found = method.locate(frame)
            turned = method.locate(rotate_image(frame, turns)).points
            if not self._count:
                self._cell_px = frame.shape[-1] / method.heatmaps(frame[:1]).shape[-1]
        finally:
            method.train(was_training)
        back = match_animals(rotate_points(turned, 4 - turns), found.points)
        self._keep(
            points=found.points.flatten(1, 2), covariance=found.covariance.flatten(1, 2),
            confidence=found.peak.flatten(1, 2), turned_back=back.flatten(1, 2),
            video=batch.video, index=batch.index,
        )  # fmt: skip
        self._keep_images(frame=thumbnails(batch.frame), future=thumbnails(batch.future))
        self._count += len(frame)
        self._image_size = frame.shape[-1]

    def _keep(self, **values: Tensor) -> None:
        for name, value in values.items():
            kind = torch.int64 if name in ("video", "index") else torch.float64
            self._kept.setdefault(name, []).append(value.cpu().to(kind).numpy())

    def _keep_images(self, **images: NDArray[np.uint8]) -> None:
        for name, value in images.items():
            self._kept.setdefault(name, []).append(value)

    def evidence(self, backgrounds: Backgrounds | None = None) -> Evidence | None:
        """Evidence from all batches so far, or None if there were none.

        Args:
            backgrounds: By video number, from :func:`~lightning_kp.diagnosis.backgrounds.sampled_backgrounds`.
                Without them the background is learnt from the collected frames, and contains an animal that
                rests through all of them.
        """
        if not self._count:
            return None
        kept: dict[str, Any] = {name: np.concatenate(parts) for name, parts in self._kept.items()}
        frames, future, video = kept.pop("frame"), kept.pop("future"), kept["video"]
        present, later, moved = (np.zeros(frames.shape[:3], dtype=bool) for _ in range(3))
        for number in np.unique(video):
            rows = np.flatnonzero(video == number)
            known = (backgrounds or {}).get(int(number))
            background = known.at(kept["index"][rows]) if known else learn_background(frames[rows])
            present[rows] = fg.foreground(frames[rows], background)
            later[rows] = fg.foreground(future[rows], background)
            moved[rows] = fg.moving(frames[rows], future[rows])
        return Evidence(
            **kept,
            **measure_surroundings(present, later, moved, kept["points"], self._generator),
            body_px=fg.largest_size_px(present) * self._image_size / frames.shape[1],
            image_size=self._image_size,
            cell_px=self._cell_px,
        )


def measure_surroundings(
    present: fg.Masks, later: fg.Masks, moved: fg.Masks, points: Array, generator: np.random.Generator
) -> dict[str, Any]:
    """Fields of :class:`Evidence` that describe the image around points (N, K, 2), normalised.

    Args:
        present: Foreground of the first frames (N, h, w).
        later: Foreground of the second frames (N, h, w).
        moved: Where the two frames of a pair differ (N, h, w).
        points: Keypoints of the first frames.
        generator: Draws the foreground samples.
    """
    body_px = np.nan_to_num(fg.largest_size_px(present))
    near, far = (max(MIN_RADIUS_PX, radius * body_px) for radius in (FOREGROUND_RADIUS, MOTION_RADIUS))
    centre = fg.centres(present)
    return {
        "foreground_under": _nan_where_empty(present, fg.share_under(present, points, near)),
        "motion_under": _nan_where_empty(moved, fg.share_under(moved, points, far)),
        "foreground_points": fg.sampled_points(present, FOREGROUND_SAMPLES, generator),
        "foreground_centre": centre,
        "displacement": np.linalg.norm(fg.centres(later) - centre, axis=-1),
    }


def _nan_where_empty(masks: fg.Masks, share: Array) -> Array:
    return np.where(np.any(masks, axis=(1, 2), keepdims=True)[..., 0], share, np.nan)


def motion_under(frames: fg.Images, future: fg.Images, points: Array, radius_px: float) -> Array:
    """Share of a disc around each point (N, K, 2) that changes between two images (N, h, w, 3): (N, K)."""
    return fg.share_under(fg.moving(frames, future), points, radius_px)


def foreground_under(images: fg.Images, background: fg.Images, points: Array, radius_px: float) -> Array:
    """Share of a disc around each point (N, K, 2) that differs from the background (h, w, 3): (N, K)."""
    return fg.share_under(fg.foreground(images, background), points, radius_px)


def collect_evidence(
    method: KeypointMethod,
    batches: Iterable[FramePairs],
    *,
    backgrounds: Backgrounds | None = None,
    max_frames: int = 512,
    seed: int = 0,
) -> Evidence:
    """Run a method over batches of frame pairs, on its own device and in evaluation mode.

    Stops after ``max_frames`` frames; ``backgrounds`` as in :meth:`Collector.evidence`.  Raises DataError if there
    is no batch.
    """
    collector = Collector(max_frames=max_frames, seed=seed)
    for batch in batches:
        collector.add(method, batch)
        if collector.is_full:
            break
    evidence = collector.evidence(backgrounds)
    if evidence is None:
        raise DataError(
            "The videos contain no pair of frames on which to judge the keypoints.",
            remedy="Give longer videos.",
        )
    return evidence


def sampled_batches(dataset: Any, *, frames: int = 256, burst: int = 8) -> Iterator[FramePairs]:
    """Batches of ``burst`` neighbouring items, spread evenly over a map-style dataset of FramePairs.

    Images are (B, 3, H, W); about ``frames`` items in all.
    """
    length = len(dataset)
    bursts = max(1, min(frames, length) // burst)
    for start in np.linspace(0, max(length - burst, 0), bursts).round().astype(int):
        items = [dataset[int(position)] for position in range(start, min(start + burst, length))]
        yield FramePairs(*default_collate([tuple(item) for item in items]))
