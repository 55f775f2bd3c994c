"""Keypoints of one instance, for tests of metrics."""

import torch
from torch import Tensor

from lightning_kp.keypoints import Keypoints


def keypoints(points: Tensor, confidence: Tensor | None = None) -> Keypoints:
    """Points (B, K, D) of one instance, all present unless ``confidence`` says otherwise."""
    seen = torch.ones(points.shape[:-1]) if confidence is None else confidence
    return Keypoints(points.unsqueeze(1), seen.unsqueeze(1))
