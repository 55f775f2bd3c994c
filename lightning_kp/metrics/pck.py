"""PCK, the percentage of correct keypoints, as torchmetrics: for named points, and greedy for points without a name.

States are sums, so that several processes agree with one.  Labelled points with confidence 0 are ignored.
``compute()`` returns :class:`lightning_kp.metrics.scores.Scores` (mean, per keypoint, counted).  In a method::

    self.pck.update(self(batch.image), labels, length)                 # validation_step
    self.log("val/pck", self.pck.compute().mean)                       # on_validation_epoch_end
    self.pck.reset()

Letters as elsewhere: B images, I instances, K keypoints, D = 2 or 3 dimensions.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_kp.errors import ConfigurationError
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.scores import KeypointAverage, check_same_shape


class PCK(KeypointAverage):
    """Percentage of correct keypoints, as a share in [0, 1].

    A prediction is correct if its distance from the label is at most ``threshold`` times a reference length, which
    the data set's protocol defines: side of the image or bounding box, head, torso.  A prediction with confidence 0 is
    wrong.  Instances must be matched beforehand.

    Args:
        num_keypoints: Number of keypoints K.
        threshold: Largest distance of a correct keypoint, in reference lengths.

    Example:
        >>> metric = PCK(2, threshold=0.1)
        >>> labelled = Keypoints(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2))
        >>> predicted = labelled._replace(points=torch.tensor([[[[0.1, 0.0], [0.3, 0.4]]]]))
        >>> metric.update(predicted, labelled, length=2.0)
        >>> metric.compute().per_keypoint
        tensor([1., 0.])
    """

    higher_is_better = True

    def __init__(self, num_keypoints: int, threshold: float = 0.1, **kwargs: Any) -> None:
        super().__init__(num_keypoints, **kwargs)
        self.threshold = threshold

    def update(self, predicted: Keypoints, labelled: Keypoints, length: Tensor | float = 2.0) -> None:
        """Add images.

        Args:
            predicted: Keypoints (B, I, K, D).
            labelled: Keypoints (B, I, K, D), in the same unit.
            length: Reference lengths (B,) or (B, I), or one for all, in the unit of the points; the image side is 2
                in normalised coordinates.

        Raises:
            ConfigurationError: The shapes differ, or K is not ``num_keypoints``.
        """
        check_same_shape(predicted, labelled, len(self.count))
        lengths = torch.as_tensor(length).to(labelled.points)
        lengths = lengths.reshape(lengths.shape + (1,) * (3 - lengths.ndim))
        distance = (predicted.points - labelled.points).norm(dim=-1)
        hit = (distance <= self.threshold * lengths) & predicted.present
        self._add(hit, labelled.present)


Matching = Literal["any", "one_to_one"]


class GreedyPCK(Metric):
    """Share in [0, 1] of images in which the k-th prediction lies near a labelled point, whichever it is (004, 4.2).

    ``any``: near any visible label (the paper's, by its remark that predictions may overlap).  ``one_to_one``: every
    label serves one prediction, nearest pairs first.  Constants score high under the first: print them beside it.
    A prediction with confidence 0 is a miss.  Images without a visible label do not count.

    Args:
        num_keypoints: Number of predictions K.
        threshold: Largest distance, in reference lengths (004: 0.1 of the shorter side of the image).
        matching: ``any`` or ``one_to_one``.

    Example:
        >>> metric = GreedyPCK(2, matching="one_to_one")
        >>> labelled = Keypoints(torch.tensor([[[[0.0, 0.0], [5.0, 0.0]]]]), torch.tensor([[[1.0, 0.0]]]))
        >>> predicted = Keypoints(torch.tensor([[[[0.9, 0.0], [0.5, 0.0]]]]), torch.ones(1, 1, 2))
        >>> metric.update(predicted, labelled, torch.tensor([10.0]))
        >>> metric.compute()
        tensor([0., 1.])
    """

    higher_is_better = True
    full_state_update = False
    hits: Tensor
    images: Tensor

    def __init__(
        self, num_keypoints: int, threshold: float = 0.1, matching: Matching = "any", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if matching not in get_args(Matching):
            raise ConfigurationError(
                f"Greedy PCK matches by {' or '.join(get_args(Matching))}, got {matching!r}.",
                remedy="Leave it out to use any.",
            )
        self.threshold, self.matching = threshold, matching
        self.add_state("hits", torch.zeros(num_keypoints, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted: Keypoints, labelled: Keypoints, length: Tensor) -> None:
        """Add images: predictions (B, 1, K, 2), labels (B, 1, L, 2) in the same unit, and reference lengths (B,)."""
        distance = torch.cdist(predicted.points[:, 0], labelled.points[:, 0].nan_to_num())
        far = ~(predicted.present[:, 0].unsqueeze(2) & labelled.present[:, 0].unsqueeze(1))
        near = distance.masked_fill(far, torch.inf) <= self.threshold * length[:, None, None].to(distance)
        counted = labelled.present[:, 0].any(dim=1)
        if self.matching == "one_to_one":
            near = near & _nearest_pairs(distance.masked_fill(far, torch.inf))
        self.hits += (near.any(dim=2) & counted.unsqueeze(1)).sum(dim=0)
        self.images += counted.sum()

    def compute(self) -> Tensor:
        """Shares (K,) in [0, 1]; NaN before the first image with a visible label."""
        return self.hits / self.images


def _nearest_pairs(distance: Tensor) -> Tensor:
    """Distances (B, K, L) -> pairs (B, K, L), nearest first, in which every prediction and every label occurs once."""
    left, pairs = distance.clone(), torch.zeros_like(distance, dtype=torch.bool)
    images = torch.arange(len(distance), device=distance.device)
    for _ in range(min(distance.shape[1:])):
        best = left.flatten(1).argmin(dim=1)
        row, column = best // distance.shape[2], best % distance.shape[2]
        pairs[images, row, column] = left[images, row, column].isfinite()
        left[images, row, :] = torch.inf
        left[images, :, column] = torch.inf
    return pairs
