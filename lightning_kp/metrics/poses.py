"""Metrics of supervised poses beside those of :mod:`lightning_kp.metrics.points`: PCKh, strict PCP, double counting.

``compute()`` returns Scores, and a :class:`DoubleCounts` for double counting.  Labelled points with confidence 0
are ignored.  States are sums, so that several processes agree with one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import pixel_centres
from lightning_kp.keypoints import Keypoints
from lightning_kp.metrics.points import PCK
from lightning_kp.metrics.protocols import Limb
from lightning_kp.metrics.scores import Scores, average

HEAD_SHARE = 0.6  # of the head box's diagonal (Andriluka et al. 2014, evaluation code)


class PCKh(PCK):
    """PCK at a share of the head's size, 0.6 times the diagonal of the head box (MPII's measure, at 0.5)."""

    def __init__(self, num_keypoints: int, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(num_keypoints, threshold, **kwargs)

    def update(self, predicted: Keypoints, labelled: Keypoints, head_box: Tensor | float = 2.0) -> None:
        """Keypoints (B, I, K, 2) and the head box's opposite corners, (B, I, 2, 2) in the unit of the points."""
        corners = torch.as_tensor(head_box)
        if corners.shape != (*labelled.points.shape[:2], 2, 2):
            raise ConfigurationError(
                f"PCKh needs two corners (x, y) for each of {tuple(labelled.points.shape[:2])} poses, "
                f"got {tuple(corners.shape)}.",
                remedy="Give head boxes (B, I, 2, 2), or use PCK with a length.",
            )
        diagonal = (corners[..., 0, :] - corners[..., 1, :]).norm(dim=-1)
        super().update(predicted, labelled, HEAD_SHARE * diagonal)


class PCP(Metric):
    """Share of limbs both of whose ends lie within ``threshold`` times the limb's labelled length of the labels.

    The strict percentage of correct parts (Pishchulin et al. 2012, section 4.1; Ferrari et al. 2008 for 0.5).
    Limbs of one name are counted together; one counts where all its joints are labelled.
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
        place = list(names).index
        self.ends = [
            (self.limb_names.index(limb.name), [place(a) for a in limb.start], [place(b) for b in limb.end])
            for limb in limbs
        ]
        self.add_state("right", torch.zeros(len(self.limb_names)), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(self.limb_names), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Keypoints, labelled: Keypoints) -> None:
        """Keypoints (B, I, K, D) whose instances correspond."""
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
    """Per keypoint (K,): ``counted`` joints, ``confused`` and ``doubled`` among them, ``right`` among the latter."""

    counted: Tensor
    confused: Tensor
    doubled: Tensor
    right: Tensor

    def shares(self) -> dict[str, Tensor]:
        """Over all keypoints: share of joints confused, share doubled, share of the doubled that are right."""
        counted, confused, doubled, right = (each.sum().double() for each in self)
        return {
            "confused": confused / counted, "doubled": doubled / counted, "doubled_right": right / doubled,
        }  # fmt: skip


class DoubleCounting(Metric):
    """How often a joint is taken for its mirror image, and what happens where both show in one heatmap.

    000, section 2.5 and Figure 2.11: a heatmap that has several peaks counts a part twice; of such cases the
    share that still assigns the correct part.  The paper gives no definition; ours: a joint counts that has
    a labelled mirror image farther away than two radii, a radius being ``threshold`` lengths.  It is
    ``confused`` when the prediction lies within a radius of the mirror image's label, ``doubled`` when the
    heatmap has a local maximum of at least ``share`` of its highest value within a radius of each label,
    and then ``right`` when the prediction lies within a radius of its own.
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
        """Heatmaps (B, K, h, w) of one pose (I = 1), Keypoints (B, 1, K, 2), ``length`` (B, 1); 0 does not count."""
        own, found = labelled.points[:, 0], predicted.points[:, 0]
        other = own[:, self.mirror]
        radius = self.threshold * length.to(own)  # (B, 1)
        paired = torch.tensor([k != m for k, m in enumerate(self.mirror)], device=own.device)
        present = labelled.present[:, 0]
        counts = present & present[:, self.mirror] & paired & ((own - other).norm(dim=-1) > 2 * radius)
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
    """Which pixels (B, K, h, w) are local maxima (of 3x3) and at least a share of the heatmap's highest value."""
    highest = scores.flatten(2).amax(dim=-1)[..., None, None]
    return (
        (scores == F.max_pool2d(scores, 3, stride=1, padding=1)) & (scores >= share * highest) & (scores > 0)
    )


def _any_within(peaks: Tensor, points: Tensor, radius: Tensor) -> Tensor:
    """Whether a peak (B, K, h, w) lies within ``radius`` (B, 1) of its point (B, K, 2): (B, K)."""
    height, width = peaks.shape[-2:]
    x = pixel_centres(width, like=points) - points[..., :1]
    y = pixel_centres(height, like=points) - points[..., 1:]
    near = x.square().unsqueeze(-2) + y.square().unsqueeze(-1) <= radius.square()[..., None, None]
    return (peaks & near).flatten(2).any(dim=-1)
