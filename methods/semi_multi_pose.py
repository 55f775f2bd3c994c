"""SemiMultiPose: DirectPose that also learns from unlabelled frames, by making its branches agree.

Blau et al., SemiMultiPose, arXiv 2204.07072 (001), section 3.3.

Terms: those of eq. 7, and ``fusion_labelled`` (alpha) and ``fusion_unlabelled`` (beta) of eq. 10. The Curriculum
callback starts the fusion terms by iteration (the paper: 2000 and 5000 of 15000).

Deviations: the window of a pseudo keypoint has soft edges (lightning_kp/losses/direct_pose.py). Eq. 9 is divided by the
sum of its target, as the other focal terms are. A fusion term whose weight is 0, or that has not started, is not
computed. Unlabelled frames pass through the network separately from the labelled ones, so that batch normalisation has
the same statistics of the labelled frames as in DirectPose.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_kp.batches import LabelledAndUnlabelled, LabelledImages
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.keypoints import in_view
from lightning_kp.losses.direct_pose import pseudo_keypoints, pseudo_target
from lightning_kp.method import LRSchedulerCallable, OptimizerCallable
from lightning_kp.methods.direct_pose import DirectPose, DirectPoseWeights
from lightning_kp.nn.direct_pose import Branches


@dataclass(frozen=True)
class SemiMultiPoseWeights(DirectPoseWeights):
    """Weights of eq. 10: alpha (5 to 10 with very few labels) and beta; beta 0 is the paper's "-labeled" variant."""

    fusion_labelled: float = 0.01
    fusion_unlabelled: float = 0.1


class SemiMultiPose(DirectPose):
    """DirectPose with fusion terms for its branches on labelled and unlabelled frames (001, 3.3).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y).

    Args:
        weights: Weights of the terms: ``fusion_labelled`` is alpha, ``fusion_unlabelled`` is beta.
        optimizer: As for DirectPose.
        scheduler: As for DirectPose.
        options: All other arguments of DirectPose.
    """

    batch_type = LabelledAndUnlabelled  # type: ignore[assignment]  # differs from its base on purpose
    weights_type = SemiMultiPoseWeights
    paper = "001 3.3 (Blau et al. 2022)"

    def __init__(
        self,
        weights: SemiMultiPoseWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        **options: Any,
    ) -> None:
        super().__init__(weights=weights, optimizer=optimizer, scheduler=scheduler, **options)

    def terms(self, batch: LabelledAndUnlabelled) -> dict[str, Tensor]:  # type: ignore[override]
        """Active terms of eq. 10: those of DirectPose, ``fusion_labelled`` and ``fusion_unlabelled``."""
        labelled = self._augmented(LabelledImages(batch.image, batch.points, batch.confidence))
        branches = self.raw(labelled.image)
        terms = self.supervised(branches, in_view(labelled.points, labelled.confidence))
        if self.is_active("fusion_labelled"):
            terms["fusion_labelled"] = self.fusion(branches)
        if self.is_active("fusion_unlabelled") and len(batch.unlabelled):
            terms["fusion_unlabelled"] = self.fusion(self.raw(self._changed(batch.unlabelled)))
        return terms

    def fusion(self, branches: Branches) -> Tensor:
        """Eq. 9: B1 against the keypoints of B2 and B3, all on the grid (h, w) -> scalar.

        Gradients reach B1, and B3 through the target.
        """
        found = pseudo_keypoints(branches.boxes.sigmoid(), branches.points, self.threshold)
        batch, keypoints, height, width = branches.keypoints.shape
        target = pseudo_target(found, (batch, keypoints, height, width), self.window)
        return self._focal(branches.keypoints, target, torch.ones_like(target, dtype=torch.bool))

    def _changed(self, image: Tensor) -> Tensor:
        """Unlabelled images (M, 3, H, W), augmented like the labelled ones if ``augment`` is set."""
        if not (self.augment and self.training):
            return image
        generator = self.batch_generator(1)
        return augment_labelled(image, image.new_zeros(len(image), 1, 2), generator, self.turn_deg)[0]
