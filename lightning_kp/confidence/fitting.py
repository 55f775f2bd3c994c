"""Fits a calibration, from points that are known or taken to be right or wrong.

Without labels a point is taken to be right if most of the points that the network finds in shifted and turned copies of
the frame agree with it, if it does not jump away from the path through the neighbouring frames, if its heatmap is
narrower than the animal, and if it lies on an animal where one is seen.  With labels it is right if it lies where the
labels say (:mod:`lightning_kp.confidence.places`).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lightning_kp.confidence.calibration import Calibration
from lightning_kp.confidence.cues import CUES, SIGNS, raw_cues, relative_cues, usual_cues

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

DISTANCE = 0.16
"""Body sizes (ours): a point up to this far away is right; about 10 % of the length of a mouse or a fly.

Labels by hand cannot judge less: one of four labelled points of a mouse is predicted from the others to 3 % at best.
"""
LEAST_PX = 1.0
"""Pixels of the network's image: no network is held to less."""
AGREEING = 0.75
"""Share of the copies that have to agree with a point (ours)."""
WIDEST = 1 / math.sqrt(12)
"""Body sizes, standard deviation per axis: that of a heatmap spread evenly over the animal, which says nothing."""
ON_ANIMAL = 0.1
"""Share of a small disc around a point that is foreground from which it lies on an animal, as in the verdict."""
STIFFNESS = 1.0
"""Penalty of the squared weights, in frames (ours): few frames give flat curves."""
DOUBT = 1.0
"""Frames, half of them right and half of them wrong, that are added to every keypoint (ours)."""


class Reading(NamedTuple):
    """Points of N frames for the fit without labels; K keypoints, I animals, V copies.  Coordinates are normalised.

    ``points`` (N, I, K, 2), ``peak`` (N, I, K), ``covariance`` (N, I, K, 3); ``copies`` (N, V, I, K, 2), the points of
    the copies moved back; ``on_animal`` (N, I, K), share of a disc around each point that is foreground, NaN where no
    animal is seen; ``video`` and ``index`` (N,) of the frames.
    """

    points: Array
    peak: Array
    covariance: Array
    copies: Array
    on_animal: Array
    video: NDArray[np.int64]
    index: NDArray[np.int64]  # type: ignore[assignment]  # hides tuple.index, which no reading needs

    @property
    def follows(self) -> Bools:
        """Whether each frame comes right after the one before it, (N,)."""
        next_frame = (np.diff(self.index) == 1) & (np.diff(self.video) == 0)
        return np.concatenate(([False], next_frame))[: len(self.index)]


def agreeing(reading: Reading, reach: float, widest: float = np.inf) -> Bools:
    """Whether each point (N, I, K) is taken to be right to within ``reach``, normalised, as ``widest`` is."""
    away = np.linalg.norm(reading.points[:, None] - reading.copies, axis=-1)
    agrees = (away <= reach).mean(axis=1) >= AGREEING
    raw = raw_cues(reading.points, reading.peak, reading.covariance, reading.follows)
    # Without neighbours, or without an animal that is seen, there is nothing to object to.
    is_on_path, is_narrow = ~(np.exp(raw[..., 2]) > reach), np.exp(raw[..., 1]) <= widest
    return np.asarray(agrees & is_on_path & is_narrow & ~(reading.on_animal < ON_ANIMAL))


def calibrate(reading: Reading, body_px: float, image_size: int, *, checkpoint: str = "") -> Calibration:
    """Calibration from frames without labels; ``body_px`` and ``image_size`` are in pixels of the network's image."""
    body = body_px / (image_size / 2)
    reach = float(np.nanmax([LEAST_PX / (image_size / 2), DISTANCE * body]))
    widest = WIDEST * body if np.isfinite(body) else np.inf
    raw = raw_cues(reading.points, reading.peak, reading.covariance, reading.follows)
    cues = relative_cues(raw, usual_cues(raw))
    return fit(cues, agreeing(reading, reach, widest), checkpoint=checkpoint)


def fit(cues: Array, right: Bools, *, checkpoint: str = "", source: str = "agreement") -> Calibration:
    """Fit a logistic regression for each keypoint: relative cues (N, I, K, C) -> whether points (N, I, K) are right.

    No weight has the wrong sign (:data:`~lightning_kp.confidence.cues.SIGNS`).
    """
    frames, _, keypoints, number = cues.shape
    by_keypoint = cues.transpose(2, 0, 1, 3).reshape(keypoints, -1, number)
    labels = right.transpose(2, 0, 1).reshape(keypoints, -1)
    parts = [_fit_one(each, label) for each, label in zip(by_keypoint, labels, strict=True)]
    weights, bias, centre, scale = (np.stack(each) for each in zip(*parts, strict=True))
    return Calibration(weights, bias, centre, scale, DISTANCE, checkpoint, frames, source)


def _fit_one(cues: Array, right: Bools) -> tuple[Array, Array, Array, Array]:
    """Weights (C,), bias (), means (C,) and deviations (C,) for the cues (N, C) of one keypoint."""
    with np.errstate(invalid="ignore"):
        known = np.isfinite(cues)
        count = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, cues, 0).sum(axis=0) / count
        scale = np.sqrt((np.where(known, cues - centre, 0) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1)
    standard = np.where(known, (cues - centre) / scale, 0)
    # Doubt: half a frame right and half a frame wrong, at the means of the cues.
    x = np.concatenate((standard, np.zeros((2, len(centre)))))
    sign = np.concatenate((np.where(right, 1.0, -1.0), (1.0, -1.0)))
    count_of = np.concatenate((np.ones(len(right)), (DOUBT / 2, DOUBT / 2)))

    def loss(parameters: Array) -> tuple[float, Array]:
        margin = sign * (x @ parameters[:-1] + parameters[-1])
        pull = count_of * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        value = (count_of * np.logaddexp(0, -margin)).sum() + STIFFNESS / 2 * (parameters[:-1] ** 2).sum()
        slope = -np.append(pull @ x, pull.sum())
        slope[:-1] += STIFFNESS * parameters[:-1]
        return float(value), slope

    bounds = [(0, None) if sign > 0 else (None, 0) for sign in SIGNS] + [(None, None)]
    found = minimize(loss, np.zeros(len(CUES) + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:-1], found[-1], centre, scale
