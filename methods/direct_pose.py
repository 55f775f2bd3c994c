"""DirectPose: all animals of an image in one stage, from heatmaps, boxes and vectors.

Blau et al., SemiMultiPose, arXiv 2204.07072 (001), section 3.2, after Tian et al., DirectPose, arXiv 1911.07451.

Terms: ``keypoints`` eq. 3 and ``boxes`` eq. 5, both with the focal loss of eq. 4, and ``vectors`` eq. 6. Their sum is
eq. 7.

Deviations, where the paper does not specify:

- A focal term is the sum over cells divided by the number of positive ones, as Lin et al. (2017) normalise it.
- Eq. 6 is the mean over the cells of U, in units of ``reach``; a cell's vectors point at one animal (``owner``).
- Missing keypoints and the margin of bounding boxes: see lightning_kp/losses/direct_pose.py.
- Decoding: see lightning_kp/readout/direct_pose.py. B1 locates keypoints near the positions proposed by B2 and B3.
- SGD has momentum 0.9 and weight decay 1e-4, as Tian et al.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.contract import require_part_names
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import at_least_float32, full_precision
from lightning_kp.heatmaps import Moments
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.keypoints import Keypoints, in_view
from lightning_kp.losses.direct_pose import Owner, PoseTargets, check_owner, pose_targets
from lightning_kp.losses.focal import check_focal, focal_loss
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.oks import OKSAveragePrecision
from lightning_kp.nn.direct_pose import Branches, DirectPoseNet, levels_below
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.weights import Pretrained
from lightning_kp.readout.direct_pose import decode_animals, refine_with_maps
from lightning_kp.skeleton import Skeleton

# With the sigma of honeybees (001: 1), even an animal whose keypoints all lie at its centre counts as found.
FINE_SIGMA_SHARE = 0.3
Placement = Literal["maps", "proposals"]
LOGGED = ("AP", "AP50", "AP75", "AR", "AP_fine")


@dataclass(frozen=True)
class DirectPoseWeights:
    """Weights of eq. 7, a plain sum."""

    keypoints: float = 1.0
    boxes: float = 1.0
    vectors: float = 1.0


class DirectPose(KeypointMethod):
    """Poses of many animals in one stage: keypoint heatmaps, box heatmaps and vectors (001, 3.2).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y).

    Args:
        names: Keypoints of one animal, as the labels name them.
        instances: Maximum number of animals found in an image (001: 25 honeybees).
        encoder: A torchvision network with strides 4 to 32 (ResNet, ConvNeXt, Swin ...), ``timm/NAME`` of such a
            convolutional network, or one of ours for training from scratch: ``small``, ``fine``, ``tiny``.
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        stride: Image pixels per cell of all outputs (Tian et al.: 8 for the finest level).
        width: Channels of the towers (Tian et al.: 256).
        convolutions: Convolutions in each tower (Tian et al.: 4).
        each: Channels that the alignment samples for each keypoint (ours).
        reach: Length, in normalised units (half the image side is 1), of an output of 1 of the last layer: about
            half an animal.
        window: G is 1 in the square of ``2 window + 1`` cells around a keypoint (ours; 001: small).
        margin: Cells added on each side of a bounding box (ours).
        owner: A cell's vectors point at the keypoints of the ``animal`` whose bounding box contains the cell, the
            smallest box where several do (Tian et al.), or at the nearest ``keypoint`` of each type, of any animal
            (eq. 6 taken literally; in crowds it mixes animals).
        gamma: Exponent of the focal loss, at least 0 (001: 2).
        kappa: Balance of the branches of the focal loss, in [0, 1] (001: 0.25).
        threshold: delta, the score above which a cell proposes keypoints (001: 0.05).
        similar: OKS above which two proposals are the same animal (ours).
        placement: Where keypoints are located: in the ``maps`` of B1 near the proposals (ours), or at the
            ``proposals`` of B2 and B3 (Tian et al.).
        sigma: Spread of the labels in the average precision (001: 1 for honeybees, 0.025 for flies); ``ap_fine``
            uses 0.3 times this value.
        decay_after: Iteration after which SGD's learning rate falls to a hundredth (001: 5000); not used with
            ``optimizer``.
        augment: Train on randomly turned, scaled, shifted and re-lit images (ours).
        turn_deg: With ``augment``, the largest angle by which images are turned, in degrees.
        weights: Weights of the terms.
        optimizer: Default: SGD, learning rate 0.01 (001).
        scheduler: Default: the decay of ``decay_after``.
    """

    batch_type = LabelledImages
    weights_type = DirectPoseWeights
    paper = "001 3.2 (Blau et al. 2022; Tian et al. 2019)"
    decoding_options = ("placement", "sigma", "threshold", "similar", "instances")

    def __init__(
        self,
        names: list[str],
        instances: int = 30,
        encoder: str = "resnet50",
        pretrained: Pretrained = True,
        stride: int = 8,
        width: int = 256,
        convolutions: int = 4,
        each: int = 32,
        reach: float = 0.1,
        window: int = 1,
        margin: float = 1.0,
        owner: Owner = "animal",
        gamma: float = 2.0,
        kappa: float = 0.25,
        threshold: float = 0.05,
        similar: float = 0.5,
        placement: Placement = "maps",
        sigma: float = 1.0,
        decay_after: int = 5000,
        augment: bool = False,
        turn_deg: float = 180.0,
        weights: DirectPoseWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        counts = {"instances": instances, "width": width, "convolutions": convolutions, "each": each}
        _check(names, counts, reach, window, threshold)
        if placement not in get_args(Placement):
            raise ConfigurationError(
                f"placement must be {' or '.join(get_args(Placement))}, got {placement!r}.",
                remedy="Use --model.placement=maps.",
            )
        check_owner(owner)
        check_focal(gamma, kappa)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.keypoint_names = tuple(names)
        self.instances = instances
        self.reach, self.window, self.margin = reach, window, margin
        self.owner: Owner = owner
        self.gamma, self.kappa, self.threshold, self.similar = gamma, kappa, threshold, similar
        if self.base_weights["keypoints"] == 0:  # untrained maps are meaningless, in a loaded checkpoint too
            self.hparams["placement"] = "proposals"
        self.reads_maps = self.hparams["placement"] == "maps"
        self.decay_after = decay_after
        self.augment = augment
        self.turn_deg = turn_deg
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        self._skipped = levels_below(stride, self.encoder.strides, encoder)
        self.branches = DirectPoseNet(
            self.encoder.channels[self._skipped :], len(names), width, convolutions, each, reach
        )
        self.precision = OKSAveragePrecision(sigma, len(names), at_most=instances, finer=FINE_SIGMA_SHARE)
        self.to(memory_format=torch.channels_last)

    def raw(self, image: Tensor) -> Branches:
        """Images (B, 3, H, W) in [0, 1] -> branches (B, K, ..., h, w), in 32 bits: 16 are off by half a pixel."""
        branches: Branches = self.branches(self.encoder(self.normalise(image))[self._skipped :])
        return Branches(*map(at_least_float32, branches))

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> maps of B1 (B, K, h, w), scaled to sum to one over h, w."""
        maps = self.raw(image).keypoints.sigmoid()
        return maps / maps.sum(dim=(-2, -1), keepdim=True)

    @property
    def finds_whole_animals(self) -> bool:
        """True: all keypoints of an instance are proposed by one cell."""
        return True

    @property
    def decoding(self) -> str:  # type: ignore[override]  # a property, since it depends on the options
        """``-proposals`` if keypoints are not located in B1, else empty."""
        return "" if self.reads_maps else "-proposals"

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...) of the animals on which the branches agree."""
        return self.decode(self.raw(image))

    def decode(self, branches: Branches) -> Moments:
        """Branches on the grid (h, w) -> Moments (B, I, K, ...); padding instances have peak 0."""
        scores = branches.boxes.sigmoid()
        options = {"threshold": self.threshold, "similar": self.similar}
        with full_precision(scores):
            found = decode_animals(scores, branches.points, self.instances, **options)
            if self.reads_maps:
                found = refine_with_maps(found, branches.keypoints)
        return Moments(*found)

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y)."""
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def setup(self, stage: str) -> None:
        """Raise ConfigurationError unless the labels have the method's keypoints, in their order."""
        super().setup(stage)
        require_part_names(self)

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """``keypoints``, ``boxes`` and ``vectors`` of eq. 7 from images (B, 3, H, W) and points (B, I, K, 2)."""
        batch = self._augmented(batch)
        return self.supervised(self.raw(batch.image), in_view(batch.points, batch.confidence))

    def supervised(self, branches: Branches, labelled: Keypoints) -> dict[str, Tensor]:
        """Active terms of eq. 7 from branches on the grid (h, w) and labelled animals (B, I, K, 2)."""
        target = self.targets(labelled, branches)
        terms = {}
        for name, logits, heatmaps in (
            ("keypoints", branches.keypoints, target.keypoints),
            ("boxes", branches.boxes, target.boxes),
        ):
            if self.is_active(name):
                terms[name] = self._focal(logits, heatmaps, target.counted)
        if self.is_active("vectors"):
            difference = (branches.vectors - target.vectors).square().mean(dim=2) / self.reach**2
            terms["vectors"] = (difference * target.known).sum() / target.known.sum().clamp_min(1)
        return terms

    def targets(self, labelled: Keypoints, branches: Branches) -> PoseTargets:
        """G, U and P on the grid of the branches, (B, K, ..., h, w), for labelled animals (B, I, K, 2)."""
        size = (branches.boxes.shape[-2], branches.boxes.shape[-1])
        return pose_targets(
            labelled, size, window=self.window, margin=self.margin, owner=self.owner, reach=self.reach
        )

    def _focal(self, logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        """Eq. 4 or 9 over the counted cells (B, K, h, w), divided by the sum of the targets that count."""
        loss = focal_loss(logits, target, self.gamma, self.kappa) * counted
        return loss.sum() / (target.detach() * counted).sum().clamp_min(1)

    def _augmented(self, batch: LabelledImages) -> LabelledImages:
        if not (self.augment and self.training):
            return batch
        generator = self.batch_generator()
        image, points = augment_labelled(batch.image, batch.points, generator, self.turn_deg)
        return LabelledImages(image, points, batch.confidence)

    def configure_optimizers(self) -> Any:
        if self._optimizer is not None or self._scheduler is not None:
            return super().configure_optimizers()
        optimizer = self.default_optimizer()
        decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, [self.decay_after], gamma=0.01)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._scored(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._scored(batch, "test")

    def _scored(self, batch: Any, stage: str) -> None:
        """Log the terms, and add the animals found to the average precision."""
        self._weighted_sum(batch, stage)
        datamodule = getattr(self.trainer, "datamodule", None)
        shown = getattr(datamodule, "shown_px", batch.image.shape[-2:])
        self.precision.update(
            self(batch.image), in_view(batch.points, batch.confidence), size=(shown[0], shown[1])
        )

    def on_validation_epoch_end(self) -> None:
        self._log_precision("val")

    def on_test_epoch_end(self) -> None:
        self._log_precision("test")

    def _log_precision(self, stage: str) -> None:
        found = self.precision.compute()
        self.precision.reset()
        self.log_dict({f"{stage}/{name.lower()}": found[name] for name in LOGGED})


def _check(names: list[str], counts: dict[str, int], reach: float, window: int, threshold: float) -> None:
    """Raise ConfigurationError for the first option out of range."""
    Skeleton(tuple(names))  # raises if a name is given twice
    if not names:
        raise ConfigurationError(
            "names must hold at least 1 keypoint, got 0 keypoints.",
            remedy="Use for example --model.names=[head,tail].",
        )
    for name, value, is_valid, allowed in (
        *((name, count, count >= 1, "at least 1") for name, count in counts.items()),
        ("reach", reach, reach > 0, "above 0"),
        ("window", window, window >= 0, "at least 0"),
        ("threshold", threshold, 0 < threshold < 1, "above 0 and below 1"),
    ):
        if not is_valid:
            raise ConfigurationError(
                f"{name} must be {allowed}, got {value}.",
                remedy=f"Leave --model.{name} out to use its default.",
            )
