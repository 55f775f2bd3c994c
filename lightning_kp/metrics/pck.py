"""PCK, the percentage of correct keypoints, as a torchmetric.

States are sums, so that several processes agree with one.  Labelled points with confidence 0 are ignored.
``compute()`` returns :class:`lightning_kp.metrics.scores.Scores` (mean, per keypoint, counted).  In a method::

    self.pck.update(self(batch.image), labels, length)                 # validation_step
    self.log("val/pck", self.pck.compute().mean)                       # on_validation_epoch_end
    self.pck.reset()

Letters as elsewhere: B images, I instances, K keypoints, D = 2 or 3 dimensions.
"""

from typing import Any

import torch
from torch import Tensor

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
