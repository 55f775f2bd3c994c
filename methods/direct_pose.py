"""DirectPose: all animals of an image in one stage, from heatmaps, boxes and vectors.

Blau et al., SemiMultiPose, arXiv 2204.07072 (001), section 3.2, after Tian et al., DirectPose, arXiv 1911.07451.

Terms: ``keypoints`` eq. 3, ``boxes`` eq. 5, both the focal loss of eq. 4, and ``vectors`` eq. 6; their sum is eq. 7.
Deviations, where the paper is silent: a focal term is the sum over cells divided by the number of positive ones, as
Lin et al. (2017) normalise it (the paper names no divisor); eq. 6 is the mean over the cells of U, in units of
``reach``, and a cell names the parts of one animal (``owner``); missing parts, the margin of boxes and decoding as
in direct_pose_targets.py and direct_pose_decoding.py; parts are read off B1 around what B2 and B3 find
(direct_pose_placing.py);
momentum 0.9 and weight decay 1e-4 of SGD as Tian et al.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.contract import refuse_other_parts
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import full_precision, widened
from lightning_kp.heatmaps import Moments
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.keypoints import Keypoints, in_view
from lightning_kp.losses.direct_pose import Owner, PoseTargets, pose_targets
from lightning_kp.losses.focal import check_focal, focal_loss
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.oks import OKSAveragePrecision
from lightning_kp.nn.direct_pose import Branches, DirectPoseNet
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.weights import Pretrained
from lightning_kp.readout.direct_pose import decode_animals, placed_by_maps
from lightning_kp.skeleton import Skeleton

# With the sigma of honeybees (001: 1) an animal counts whose points all lie in its middle.
FINER = 0.3
Placement = Literal["maps", "proposals"]
LOGGED = ("AP", "AP50", "AP75", "AR", "AP_fine")


@dataclass(frozen=True)
class DirectPoseWeights:
    """Those of eq. 7, a plain sum."""

    keypoints: float = 1.0
    boxes: float = 1.0
    vectors: float = 1.0


class DirectPose(KeypointMethod):
    """Poses of many animals in one stage: keypoint heatmaps, box heatmaps and vectors (001, 3.2).

    Args:
        names: Keypoints of an animal, as the labels name them.
        instances: The most animals that are found in an image (001: 25 honeybees).
        encoder: A torchvision network of strides 4 to 32 (ResNet, ConvNeXt, Swin ...), ``timm/NAME`` of such a
            convolutional one, or ours from scratch: ``small``, ``fine``, ``tiny``.
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        stride: Pixels of the image per cell of all outputs (Tian et al.: 8 for the finest level).
        width: Channels of the towers (Tian et al.: 256).
        convolutions: In each tower (Tian et al.: 4).
        each: Channels that the alignment reads per keypoint (ours).
        reach: Length that the last layer calls 1, normalised (half the image's side is 1): about half an animal.
        window: G is 1 in the square of ``2 window + 1`` cells around a keypoint (ours; 001: small).
        margin: Cells added on each side of a box (ours).
        owner: A cell's vectors point at the parts of the ``animal`` whose box holds the cell, the smallest where
            several do (Tian et al.), or at the nearest ``keypoint`` of each kind, of whichever animal (eq. 6 to
            the letter; in crowds it mixes animals).
        gamma: Of the focal loss (001: 2).
        kappa: Of the focal loss (001: 0.25).
        threshold: delta, from which score on a cell proposes keypoints (001: 0.05).
        similar: OKS above which two proposals are one animal (ours).
        placement: Where an animal's parts are read: at what B1's ``maps`` show around them (ours), or where the
            ``proposals`` of B2 and B3 put them (Tian et al.).
        sigma: Spread of labels in the average precision (001: 1 for honeybees, 0.025 for flies); ``ap_fine`` has
            0.3 of it.
        decay_after: Iteration after which SGD's rate is a hundredth (001: 5000); with ``optimizer``, not used.
        augment: Train on randomly turned, scaled, shifted and re-lit images (ours).
        turn_deg: With ``augment``, turned by up to so many degrees.
        weights: Weights of the terms.
        optimizer: Default SGD, learning rate 0.01 (001).
        scheduler: Default that of ``decay_after``.
    """

    batch_type = LabelledImages
    weights_type = DirectPoseWeights
    paper = "001 3.2 (Blau et al. 2022; Tian et al. 2019)"
    read_with = ("placement", "sigma", "threshold", "similar", "instances")

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
        _check(names, instances, reach, threshold, window, at_least_one=(width, convolutions, each))
        if placement not in get_args(Placement):
            raise ConfigurationError(
                f"placement is {placement}.", remedy=f"It is {' or '.join(get_args(Placement))}."
            )
        check_focal(gamma, kappa)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.keypoint_names = tuple(names)
        self.instances = instances
        self.reach, self.window, self.margin = reach, window, margin
        self.owner: Owner = owner
        self.gamma, self.kappa, self.threshold, self.similar = gamma, kappa, threshold, similar
        if self.base_weights["keypoints"] == 0:  # maps that were not taught say nothing, loaded again neither
            self.hparams["placement"] = "proposals"
        self.reads_maps = self.hparams["placement"] == "maps"
        self.decay_after = decay_after
        self.augment = augment
        self.turn_deg = turn_deg
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        self._skipped = _levels_below(stride, self.encoder.strides, encoder)
        self.branches = DirectPoseNet(
            self.encoder.channels[self._skipped :], len(names), width, convolutions, each, reach
        )
        self.precision = OKSAveragePrecision(sigma, len(names), at_most=instances, finer=FINER)
        self.to(memory_format=torch.channels_last)

    def raw(self, image: Tensor) -> Branches:
        """Images (B, 3, H, W) in [0, 1] -> the three branches, in 32 bits: vectors of 16 miss by half a pixel."""
        branches: Branches = self.branches(self.encoder(self.normalise(image))[self._skipped :])
        return Branches(*map(widened, branches))

    def heatmaps(self, image: Tensor) -> Tensor:
        """B1 as maps (B, K, h, w) that sum to one."""
        maps = self.raw(image).keypoints.sigmoid()
        return maps / maps.sum(dim=(-2, -1), keepdim=True)

    @property
    def finds_whole_animals(self) -> bool:
        """An instance is what one cell proposes."""
        return True

    @property
    def reading(self) -> str:  # type: ignore[override]  # a property, for it follows the options
        """``-proposals`` where B1 is not read."""
        return "" if self.reads_maps else "-proposals"

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...) of the animals that the branches agree on."""
        return self.decode(self.raw(image))

    def decode(self, branches: Branches) -> Moments:
        """Branches -> Moments (B, I, K, ...); what fills up has peak 0."""
        scores = branches.boxes.sigmoid()
        options = {"threshold": self.threshold, "similar": self.similar}
        with full_precision(scores):
            found = decode_animals(scores, branches.points, self.instances, **options)
            if self.reads_maps:
                found = placed_by_maps(found, branches.keypoints)
        return Moments(*found)

    def forward(self, image: Tensor) -> Keypoints:
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        refuse_other_parts(self)

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """Eq. 7's ``keypoints``, ``boxes`` and ``vectors``."""
        batch = self._augmented(batch)
        return self.supervised(self.raw(batch.image), in_view(batch.points, batch.confidence))

    def supervised(self, branches: Branches, labelled: Keypoints) -> dict[str, Tensor]:
        """The terms of eq. 7."""
        target = self.targets(labelled, branches)
        terms = {}
        for name, logits, wanted in (
            ("keypoints", branches.keypoints, target.keypoints),
            ("boxes", branches.boxes, target.boxes),
        ):
            if self.is_active(name):
                terms[name] = self._focal(logits, wanted, target.counted)
        if self.is_active("vectors"):
            difference = (branches.vectors - target.vectors).square().mean(dim=2) / self.reach**2
            terms["vectors"] = (difference * target.known).sum() / target.known.sum().clamp_min(1)
        return terms

    def targets(self, labelled: Keypoints, branches: Branches) -> PoseTargets:
        """G, U and P on the branches' grid."""
        size = (branches.boxes.shape[-2], branches.boxes.shape[-1])
        options = {"window": self.window, "margin": self.margin, "reach": self.reach}
        return pose_targets(labelled, size, owner=self.owner, **options)  # type: ignore[arg-type]  # window is whole

    def _focal(self, logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        """Eq. 4 or 9 over the counted cells, divided by what is positive."""
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
        """Log the terms, and add the animals that are found to the average precision."""
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


def _check(
    names: list[str],
    instances: int,
    reach: float,
    threshold: float,
    window: int,
    *,
    at_least_one: tuple[int, int, int],
) -> None:
    """Raise ConfigurationError for settings that no network of the kind can have."""
    Skeleton(tuple(names))  # names differ
    if not names or instances < 1:
        raise ConfigurationError(
            f"The network got {len(names)} keypoints and {instances} animals.",
            remedy="--model.names=[head,tail] --model.instances=10",
        )
    if min(at_least_one) < 1 or reach <= 0 or window < 0 or not 0 < threshold < 1:
        width, convolutions, each = at_least_one
        raise ConfigurationError(
            f"width is {width}, convolutions {convolutions}, each {each}, reach {reach}, window {window}, "
            f"threshold {threshold}.",
            remedy="Give at least 1 of the first three, a reach above 0, a window of 0 or more, and a threshold "
            "between 0 and 1.",
        )


def _levels_below(stride: int, strides: tuple[int, ...], encoder: str) -> int:
    """How many of the pyramid's maps are finer than ``stride``."""
    if stride not in strides:
        raise ConfigurationError(
            f"The encoder '{encoder}' has strides {', '.join(map(str, strides))}, not {stride}.",
            remedy=f"--model.stride={strides[0]}",
        )
    return strides.index(stride)
