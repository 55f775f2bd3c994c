"""A calibration: from the cues of a point to the probability that it lies where its keypoint belongs.

One logistic regression for each keypoint, as plain numbers in ``confidence.json`` of the run.  An unknown cue counts as
its mean, so that the first and the last frame, and images that are no video, have a probability as well.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_kp.confidence.cues import CUES, Usual, raw_cues, relative_cues, usual_cues
from lightning_kp.errors import DataError
from lightning_kp.tracks.table import TrackInfo, Tracks, TrackSource

Array = NDArray[np.float64]

LEAST, MOST = 0.01, 0.99
"""Limits of a probability: a few hundred frames cannot show more."""
FARTHEST = 4.0
"""Standard deviations from its mean at which a cue is cut off: beyond, nothing was seen to calibrate on."""
SAMPLE = 10_000
"""Frames, about, from which the usual cues of a video are taken."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Logistic regressions of K keypoints on C cues (:data:`~lightning_kp.confidence.cues.CUES`).

    Attributes:
        weights: (K, C), per standard deviation of a cue.
        bias: (K,), log-odds at the means of the cues.
        centre: (K, C), means of the cues.
        scale: (K, C), their standard deviations, above 0.
        distance: The distance to which a point is right, as a share of the body size (the side of a square with the
            animal's area).
        checkpoint: Digest of the checkpoint that was calibrated.
        frames: Number of frames that it was calibrated on.
        source: ``agreement`` (without labels) or ``labels``.
    """

    weights: Array
    bias: Array
    centre: Array
    scale: Array
    distance: float
    checkpoint: str = ""
    frames: int = 0
    source: str = "agreement"

    def __post_init__(self) -> None:
        keypoints = len(self.bias)
        shapes = {
            "weights": (keypoints, len(CUES)),
            "centre": (keypoints, len(CUES)),
            "scale": (keypoints, len(CUES)),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise DataError(
                    f"A calibration needs {name} of shape {shape}, got {getattr(self, name).shape}."
                )

    def probability(self, cues: Array) -> Array:
        """Probabilities (T, I, K) in [0.01, 0.99] of relative cues (T, I, K, C)."""
        standard = np.clip((cues - self.centre) / self.scale, -FARTHEST, FARTHEST)
        odds = self.bias + (self.weights * np.nan_to_num(standard)).sum(axis=-1)
        return np.asarray(np.clip(1 / (1 + np.exp(-odds)), LEAST, MOST), dtype=np.float64)

    def of_tracks(self, part: Tracks, usual: Usual) -> Tracks:
        """The tracks (T, I, K, ...) with probabilities as confidence and the old confidence as ``peak``.

        An absent point keeps confidence 0.  Raises DataError for tracks of another number of keypoints.
        """
        self._refuse_others(part.info)
        raw = cues_of_tracks(part)
        probability = self.probability(relative_cues(raw, usual)).astype(np.float32)
        return dataclasses.replace(
            part, confidence=np.where(part.confidence > 0, probability, 0), peak=part.confidence
        )

    def __call__(self, source: TrackSource) -> "Calibrated":
        """Complete tracks with probabilities as confidence, piece by piece."""
        self._refuse_others(source.info)
        return Calibrated(self, source, usual_of_source(source))

    def _refuse_others(self, info: TrackInfo) -> None:
        if len(info.keypoint_names) != len(self.bias):
            raise DataError(
                f"The calibration knows {len(self.bias)} keypoints, the tracks have {len(info.keypoint_names)}.",
                remedy="Remove confidence.json from the run folder; `kp report RUN --judge` writes a new one.",
            )

    @property
    def mark(self) -> str:
        """Part of the origin of tracks that tells those of another calibration."""
        return f":confidence {hashlib.sha256(self.to_json().encode()).hexdigest()[:8]}"

    def to_json(self) -> str:
        """Text of ``confidence.json``."""
        plain = {
            name: value.round(6).tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        return json.dumps({"cues": list(CUES), **plain}, indent=2)

    @staticmethod
    def from_json(text: str) -> "Calibration":
        """Read what :meth:`to_json` wrote.  Raises DataError for anything else, or for other cues."""
        try:
            given: dict[str, Any] = json.loads(text)
            if given.pop("cues") != list(CUES):
                raise ValueError("it has other cues")
            arrays: dict[str, Any] = {
                name: np.asarray(given.pop(name), np.float64)
                for name in ("weights", "bias", "centre", "scale")
            }
            if not all(np.isfinite(each).all() for each in arrays.values()) or (arrays["scale"] <= 0).any():
                raise ValueError("a number is out of range")
            return Calibration(**arrays, **given)
        except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
            raise DataError(
                f"The text is not a calibration of confidences ({error}).",
                remedy="Remove confidence.json from the run folder; `kp report RUN --judge` writes a new one.",
            ) from error


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Tracks whose confidence is calibrated while they are read."""

    calibration: Calibration
    source: TrackSource
    usual: Usual

    @property
    def info(self) -> TrackInfo:
        """Video, frame size, frame rate and names."""
        return self.source.info

    def __len__(self) -> int:
        return len(self.source)

    def pieces(self) -> Iterator[Tracks]:
        """Consecutive parts of limited size."""
        return (self.calibration.of_tracks(part, self.usual) for part in self.source.pieces())


def cues_of_tracks(part: Tracks) -> Array:
    """Raw cues (T, I, K, C) of tracks; without jumps where the frames have no rate, since they are no video then."""
    raw_confidence = part.confidence if part.peak is None else part.peak
    follows = np.full(len(part), part.fps > 0)
    follows[:1] = False
    points, covariance = (each.astype(np.float64) for each in (part.points_px, part.covariance_px))
    return raw_cues(points, raw_confidence.astype(np.float64), covariance, follows)


def usual_of_source(source: TrackSource) -> Usual:
    """Usual cues of a video, from pieces spread over it."""
    pieces = [cues_of_tracks(part) for part in _spread(source)]
    shape = (0, source.info.animals, len(source.info.keypoint_names), len(CUES))
    return usual_cues(np.concatenate(pieces) if pieces else np.zeros(shape))


def _spread(source: TrackSource) -> Iterator[Tracks]:
    """Every n-th piece of the tracks, about :data:`SAMPLE` frames in all."""
    every = max(1, len(source) // SAMPLE)
    for number, part in enumerate(source.pieces()):
        if number % every == 0:
            yield part
