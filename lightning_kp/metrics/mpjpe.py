"""MPJPE and PA-MPJPE of 3-D joints as torchmetrics; see :mod:`lightning_kp.metrics.pck` for how to use them."""

from typing import Any

import torch
from torch import Tensor

from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.scores import KeypointAverage, check_same_shape


class MPJPE(KeypointAverage):
    """Mean per-joint position error: distance of predicted and labelled joints, in the unit of the points.

    Each labelled joint counts, whatever the confidence of its prediction.  In 3-D the unit is usually millimetres.

    Args:
        num_keypoints: Number of joints K.
        root: Index of a joint that is moved to the origin in both poses first.  Poses whose root is not labelled
            are then ignored.

    Example:
        >>> metric = MPJPE(2)
        >>> labelled = Keypoints(torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2))
        >>> predicted = labelled._replace(points=torch.tensor([[[[3.0, 0.0, 4.0], [0.0, 0.0, 1.0]]]]))
        >>> metric.update(predicted, labelled)
        >>> metric.compute().mean.item()
        3.0
    """

    higher_is_better = False

    def __init__(self, num_keypoints: int, root: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_keypoints, **kwargs)
        self.root = root

    def update(self, predicted: Keypoints, labelled: Keypoints) -> None:
        """Add predicted and labelled keypoints (B, I, K, D) in the same unit.  D is 2 or 3.

        Raises ConfigurationError if the shapes differ or K is not ``num_keypoints``.
        """
        check_same_shape(predicted, labelled, len(self.count))
        source, target, present = predicted.points, labelled.points, labelled.present
        if self.root is not None:
            source = source - source[:, :, self.root, None]
            target = target - target[:, :, self.root, None]
            present = present & present[:, :, self.root, None]
        self._add((source - target).norm(dim=-1), present)


class PAMPJPE(KeypointAverage):
    """Procrustes-aligned MPJPE: each predicted pose is first moved onto its label by the best similarity.

    A similarity is a rotation, scaling and translation, never a reflection.  It fits any two points exactly, so that
    poses with fewer than three labelled joints are ignored.

    Args:
        num_keypoints: Number of joints K.

    Example:
        >>> metric = PAMPJPE(3)
        >>> labelled = Keypoints(torch.tensor([[[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]]), torch.ones(1, 1, 3))
        >>> metric.update(labelled._replace(points=5 * labelled.points + 2), labelled)
        >>> metric.compute().mean.item() < 1e-6
        True
    """

    higher_is_better = False

    def update(self, predicted: Keypoints, labelled: Keypoints) -> None:
        """Add predicted and labelled keypoints (B, I, K, D) in the same unit.  D is 2 or 3.

        Raises ConfigurationError if the shapes differ or K is not ``num_keypoints``.
        """
        check_same_shape(predicted, labelled, len(self.count))
        present = labelled.present
        present = present & (present.sum(dim=-1, keepdim=True) >= 3)
        aligned = align_similarity(predicted.points, labelled.points, present)
        self._add((aligned - labelled.points.to(aligned)).norm(dim=-1), present)


def align_similarity(source: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
    """Move ``source`` onto ``target`` by the similarity of least squared error.

    The rotation is proper (never a reflection).  Source: Umeyama, "Least-squares estimation of transformation
    parameters", 1991, eq. 40 to 43.

    Args:
        source: Points (..., K, D), D 2 or 3.
        target: Points (..., K, D).
        present: Points (..., K) bool that the similarity is fitted to; by default all.

    Returns:
        All source points (..., K, D), moved; float64.

    Example:
        >>> pose = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> torch.allclose(align_similarity(3 * pose + 1, pose), pose.double())
        True
    """
    source, target = source.double(), target.double()
    weight = (torch.ones_like(source[..., 0]) if present is None else present.double()).unsqueeze(-1)
    number = weight.sum(dim=-2, keepdim=True).clamp_min(1)
    source_mean = (weight * source).sum(dim=-2, keepdim=True) / number
    target_mean = (weight * target).sum(dim=-2, keepdim=True) / number
    source, target = source - source_mean, target - target_mean
    u, singular, vh = torch.linalg.svd((weight * target).mT @ source)
    # The last direction is reversed where the best orthogonal map would be a reflection.
    sign = torch.ones_like(singular)
    sign[..., -1] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0)
    rotation = (u * sign.unsqueeze(-2)) @ vh
    spread = (weight * source.square()).sum(dim=(-2, -1))
    scale = (singular * sign).sum(dim=-1) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    aligned: Tensor = scale[..., None, None] * (source @ rotation.mT) + target_mean
    return aligned
