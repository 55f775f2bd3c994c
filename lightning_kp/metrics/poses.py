"""Further metrics of supervised poses: strict PCP and double counting.  For PCK see :mod:`lightning_kp.metrics.pck`.

Labelled points with confidence 0 are ignored.  States are sums, so that several processes agree with one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from lightning_kp.geometry import pixel_centres
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.protocols import Limb
from lightning_kp.metrics.scores import Scores, average


class PCP(Metric):
    """Strict percentage of correct parts: share of limbs whose two ends are both correct, in [0, 1].

    An end is correct within ``threshold`` times the labelled length of the limb (Pishchulin et al. 2012, section 4.1;
    Ferrari et al. 2008 for 0.5).  A limb is counted if all its joints are labelled; limbs of the same name are counted
    together.  A limb with a predicted joint of confidence 0 is wrong.  ``compute()`` returns
    :class:`~lightning_kp.metrics.scores.Scores` with one value per name in ``limb_names``.

    Args:
        names: Names of the K keypoints.
        limbs: Limbs between these keypoints.
        threshold: Largest distance of a correct end, in lengths of the limb.

    Example:
        >>> metric = PCP(("hip", "knee"), [Limb("thigh", ("hip",), ("knee",))])
        >>> labelled = Keypoints(torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]), torch.ones(1, 1, 2))
        >>> metric.update(labelled._replace(points=labelled.points + 0.3), labelled)
        >>> metric.compute().mean.item()
        1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(
        self, names: Sequence[str], limbs: Sequence[Limb], threshold: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.limb_names = tuple(dict.fromkeys(limb.name for limb in limbs))
        index = list(names).index
        self.ends = [
            (self.limb_names.index(limb.name), [index(a) for a in limb.start], [index(b) for b in limb.end])
            for limb in limbs
        ]
        self.add_state("right", torch.zeros(len(self.limb_names)), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(self.limb_names), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Keypoints, labelled: Keypoints) -> None:
        """Add predicted and labelled keypoints (B, I, K, D) whose instances correspond."""
        for number, start, stop in self.ends:
            joints = (start, stop)
            found = [predicted.points[:, :, end].mean(dim=2) for end in joints]
            known = [labelled.points[:, :, end].mean(dim=2) for end in joints]
            every = start + stop
            counts = labelled.present[:, :, every].all(dim=2)
            reach = self.threshold * (known[0] - known[1]).norm(dim=-1)
            near = [(a - b).norm(dim=-1) <= reach for a, b in zip(found, known, strict=True)]
            right = near[0] & near[1] & predicted.present[:, :, every].all(dim=2)
            self.right[number] += (right & counts).sum()
            self.count[number] += counts.sum()

    def compute(self) -> Scores:
        return average(self.right, self.count)


class DoubleCounts(NamedTuple):
    """Joints per keypoint (K,): ``counted``, of these ``confused`` and ``doubled``, of the doubled ``right``."""

    counted: Tensor
    confused: Tensor
    doubled: Tensor
    right: Tensor

    def shares(self) -> dict[str, Tensor]:
        """Shares () over all keypoints: confused joints, doubled joints, and doubled joints that are right.

        Example:
            >>> counts = DoubleCounts(*torch.tensor([[4, 0], [1, 0], [2, 0], [1, 0]]))
            >>> {name: share.item() for name, share in counts.shares().items()}
            {'confused': 0.25, 'doubled': 0.5, 'doubled_right': 0.5}
        """
        counted, confused, doubled, right = (each.sum().double() for each in self)
        return {
            "confused": confused / counted, "doubled": doubled / counted, "doubled_right": right / doubled,
        }  # fmt: skip


class DoubleCounting(Metric):
    """Count joints that are confused with their mirror image, and heatmaps that have a peak at both.

    000, section 2.5 and Figure 2.11: a heatmap with several peaks counts a part twice, and the paper reports in which
    share of such cases the correct part is still assigned.  It gives no definition; ours: with a radius of
    ``threshold`` reference lengths, a joint is

    * counted if its mirror image is labelled and more than two radii away;
    * ``confused`` if the prediction lies within a radius of the mirror image's label;
    * ``doubled`` if the heatmap has, within a radius of each of the two labels, a local maximum of at least ``share``
      of its highest value;
    * ``right``, if doubled, when the prediction lies within a radius of its own label.

    ``compute()`` returns :class:`DoubleCounts`.

    Args:
        mirror: For each of the K keypoints the index of its mirror image, its own index if it has none.
        threshold: The radius, in reference lengths.
        share: Lower limit on a peak, as a share of the heatmap's highest value.

    Example:
        >>> metric = DoubleCounting(mirror=(1, 0))
        >>> labelled = Keypoints(torch.tensor([[[[-0.5, 0.5], [0.5, 0.5]]]]), torch.ones(1, 1, 2))
        >>> exchanged = labelled._replace(points=labelled.points.flip(2))
        >>> metric.update(torch.zeros(1, 2, 2, 2), exchanged, labelled, torch.ones(1, 1))
        >>> metric.compute().confused
        tensor([1, 1])
    """

    is_differentiable = False
    full_state_update = False
    counted: Tensor
    confused: Tensor
    doubled: Tensor
    right: Tensor

    def __init__(
        self, mirror: Sequence[int], threshold: float = 0.2, share: float = 0.3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mirror = list(mirror)
        self.threshold, self.share = threshold, share
        for name in DoubleCounts._fields:
            self.add_state(name, torch.zeros(len(mirror), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, predicted: Keypoints, labelled: Keypoints, length: Tensor) -> None:
        """Add images of one pose each.

        Args:
            scores: Heatmaps (B, K, h, w), of any positive scale.
            predicted: Keypoints (B, 1, K, 2), normalised.
            labelled: Keypoints (B, 1, K, 2), normalised.
            length: Reference lengths (B, 1), normalised; poses with length 0 are ignored.
        """
        own, found = labelled.points[:, 0], predicted.points[:, 0]
        other = own[:, self.mirror]
        radius = self.threshold * length.to(own)  # (B, 1)
        has_mirror = torch.tensor([k != m for k, m in enumerate(self.mirror)], device=own.device)
        present = labelled.present[:, 0]
        counts = present & present[:, self.mirror] & has_mirror & ((own - other).norm(dim=-1) > 2 * radius)
        counts &= length.to(own) > 0
        at_own = (found - own).norm(dim=-1) <= radius
        at_other = (found - other).norm(dim=-1) <= radius
        peaks = _peaks(scores, self.share)
        doubled = counts & _any_within(peaks, own, radius) & _any_within(peaks, other, radius)
        for state, hits in zip(
            (self.counted, self.confused, self.doubled, self.right),
            (counts, counts & at_other, doubled, doubled & at_own),
            strict=True,
        ):
            state += hits.sum(dim=0)

    def compute(self) -> DoubleCounts:
        return DoubleCounts(self.counted, self.confused, self.doubled, self.right)


def _peaks(scores: Tensor, share: float) -> Tensor:
    """Pixels (B, K, h, w) bool that are local maxima (3 x 3) of at least ``share`` of the heatmap's highest value."""
    highest = scores.flatten(2).amax(dim=-1)[..., None, None]
    return (
        (scores == F.max_pool2d(scores, 3, stride=1, padding=1)) & (scores >= share * highest) & (scores > 0)
    )


def _any_within(peaks: Tensor, points: Tensor, radius: Tensor) -> Tensor:
    """Whether any peak of (B, K, h, w) lies within ``radius`` (B, 1) of the point (B, K, 2): (B, K) bool."""
    height, width = peaks.shape[-2:]
    x = pixel_centres(width, like=points) - points[..., :1]
    y = pixel_centres(height, like=points) - points[..., 1:]
    near = x.square().unsqueeze(-2) + y.square().unsqueeze(-1) <= radius.square()[..., None, None]
    return (peaks & near).flatten(2).any(dim=-1)
