"""Axis letters and every batch type.

B batch, T time, V view, I instance, K keypoint, D dimension, H W image, h w heatmap.

Images travel as uint8 (B, 3, H, W), RGB; :class:`lightning_kp.method.Method` turns every uint8
field into float in [0, 1] on the device, so that ``terms`` sees floats and the transfer is small.
Batches are NamedTuples without optional fields: the default collate and the move to a device keep
their type.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Images(NamedTuple):
    """Unlabelled images: ``image`` (B, 3, H, W)."""

    image: Tensor


class Frames(NamedTuple):
    """Frames of videos, for prediction.

    ``image`` (B, 3, H, W), ``video`` (B,) number of the video, ``index`` (B,) number of the displayed frame.
    """

    image: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which no batch needs


class FramePairs(NamedTuple):
    """Two frames of one video: ``frame`` at t and ``future`` at t + gap, each (B, 3, H, W).

    ``video`` (B,) and ``index`` (B,) hold the number of the video and the displayed frame t, so that an
    error can name the pair.
    """

    frame: Tensor
    future: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Frames


class LabelledImages(NamedTuple):
    """Images (B, 3, H, W) with ``points`` (B, I, K, 2), normalised, and ``confidence`` (B, I, K), 0 = unlabelled."""

    image: Tensor
    points: Tensor
    confidence: Tensor


class CrowdImages(NamedTuple):
    """Crowds (B, 3, H, W) with ``points`` (B, I, K, 2) and ``confidence`` (B, I, K) as in LabelledImages.

    ``area`` (B, I) of the instances in px^2 of the original image; ``side`` (B,) of the square that is shown,
    in px of the original image; ``counts`` (B, H, W) bool, False on instances that need not be found (their
    outline, or their whole bounding box, in which an instance to be found may stand as well); ``others`` (B, O, 4),
    the bounding boxes of those instances: left, top, right and bottom, normalised, NaN as padding.
    """

    image: Tensor
    points: Tensor
    confidence: Tensor
    area: Tensor
    side: Tensor
    counts: Tensor
    others: Tensor


class ClassifiedImages(NamedTuple):
    """Images (B, 3, H, W) with the class of each, ``label`` (B,), int64 from 0."""

    image: Tensor
    label: Tensor


class PairsAndLabels(NamedTuple):
    """A batch of FramePairs with M labelled images beside it; M is independent of B and may be 0.

    ``frame``, ``future``, ``video``, ``index`` as in :class:`FramePairs`; ``image`` (M, 3, H, W),
    ``points`` (M, I, K, 2) and ``confidence`` (M, I, K) as in :class:`LabelledImages`.
    """

    frame: Tensor
    future: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Frames
    image: Tensor
    points: Tensor
    confidence: Tensor


class LabelledAndUnlabelled(NamedTuple):
    """Labelled images with M unlabelled images beside them; M is independent of B and may be 0.

    ``image``, ``points``, ``confidence`` as in :class:`LabelledImages`; ``unlabelled`` (M, 3, H, W).
    """

    image: Tensor
    points: Tensor
    confidence: Tensor
    unlabelled: Tensor


class LabelledWindows(NamedTuple):
    """Features around a frame, ``window`` (B, T, F), with F features, and its class, ``behaviour`` (B,).

    ``video`` (B,) number of the recording, ``index`` (B,) number of the frame.
    """

    window: Tensor
    behaviour: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Frames


def floats_in_unit_range(value: Tensor) -> Tensor:
    """Convert uint8 images (..., H, W) in [0, 255] to float32 in [0, 1]; return every other tensor unchanged.

    >>> floats_in_unit_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [0.0, 1.0]
    """
    return value.float().div_(255) if value.dtype == torch.uint8 else value
