"""Few labels: B-KinD with a supervised term beside the discovery objective, and its supervised counterpart.

Ryou, PhD thesis, Caltech 2022 (000), sections 5.5 (MARS pose regression, Figure 5.5) and 5.8 (MARS-Pose):
the sum of eq. 5.4 on unlabelled pairs and the mean squared error of heatmaps on labelled frames.

Deviations: the paper does not state which heatmaps the labels supervise. Here they supervise the first ones of the
discovered set, so that a named point also has to reconstruct motion and to turn with the image. The paper's supervised
baseline is a stacked hourglass; here it is the same network (encoder and pose decoder), so that the two differ in the
objective only. Labelled frames pass through the encoder together with the pairs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_kp.batches import FramePairs, LabelledImages, PairsAndLabels
from lightning_kp.contract import require_point_names
from lightning_kp.errors import ConfigurationError
from lightning_kp.heatmaps import spatial_softmax
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.losses.supervision import Supervision, check_supervision, supervision_loss
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.methods.bkind import BKinD, BKinDWeights
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.pose_decoder import Fuse, GlobalNet
from lightning_kp.nn.weights import Pretrained


@dataclass(frozen=True)
class SemiSupervisedWeights(BKinDWeights):
    """Weights of eq. 5.4 and of the labelled frames (the paper: a sum; for its scale see losses/supervision.py)."""

    supervision: float = 1.0


@dataclass(frozen=True)
class SupervisedWeights:
    """Weight of the only term."""

    supervision: float = 1.0


class SemiSupervisedBKinD(BKinD):
    """Discovery on unlabelled pairs and supervision on labelled frames, in one training (000, 5.5 and 5.8).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, L, 2) of L named points, normalised (x, y).

    Args:
        names: Labelled points, which are the points that the method predicts; with several animals, name_1, name_2,
            ... for each.
        keypoints: Number of keypoints of the discovery objective; the first of them are the named ones.
        sigma: Standard deviation of the labels' Gaussians in normalised units (ours).
        supervision: Loss of labelled frames: ``mse`` (the paper), or ``cross_entropy`` (ours), whose gradient does
            not vanish for keypoints that are confident of a wrong position.
        turn_deg: With ``augment``, the largest angle by which labelled frames are turned, in degrees.
        augment: Train on randomly changed images (ours; the paper does not).
        weights: Weights of the terms.
        optimizer: As for BKinD.
        scheduler: Default: none.
        options: All other arguments of BKinD.
    """

    batch_type = PairsAndLabels  # type: ignore[assignment]  # differs from its base on purpose
    weights_type = SemiSupervisedWeights
    paper = "000 5.5 and 5.8, MARS-Pose (Ryou 2022; Sun, Ryou et al. 2022)"

    def __init__(
        self,
        names: list[str],
        keypoints: int = 10,
        sigma: float = 0.06,
        supervision: Supervision = "mse",
        turn_deg: float = 30.0,
        augment: bool = False,
        weights: SemiSupervisedWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            keypoints=keypoints, augment=augment, weights=weights, optimizer=optimizer, scheduler=scheduler,
            **options,
        )  # fmt: skip
        if not 0 < len(names) <= keypoints:
            raise ConfigurationError(
                f"names must hold at least 1 and at most {keypoints} points (the keypoints), got {len(names)}.",
                remedy=f"Name at least one labelled point, and set for example "
                f"--model.keypoints={max(1, len(names)) + 4}: the named keypoints and some free ones.",
            )
        check_supervision(supervision)
        self.keypoint_names = tuple(names)
        self.sigma = sigma
        self.supervision: Supervision = supervision
        self.turn_deg = turn_deg

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, L, h, w) of the named points that sum to one."""
        return super().heatmaps(image)[:, : len(self.keypoint_names)]

    def setup(self, stage: str) -> None:
        """Raise ConfigurationError unless the labelled points are the named ones, in their order."""
        super().setup(stage)
        require_point_names(self)

    def terms(self, batch: PairsAndLabels) -> dict[str, Tensor]:  # type: ignore[override]
        """Active discovery terms (000, eq. 5.4) and ``supervision``, from one pass of all images."""
        pairs = self._augmented(FramePairs(batch.frame, batch.future, batch.video, batch.index))
        labelled = LabelledImages(batch.image, batch.points, batch.confidence)
        if self.augment and self.training and len(labelled.image):
            labelled = _augmented(labelled, self.batch_generator(), self.turn_deg)
        turns = self._turns(len(pairs.frame))
        views = self._views(pairs, turns)
        pyramid = self.encoder(self.normalise(torch.cat((views, labelled.image))))
        heatmaps = spatial_softmax(self.pose_decoder(pyramid))
        terms = self.discovery_terms(pairs, turns, pyramid[-1][: len(views)], heatmaps[: len(views)])
        if self.is_active("supervision"):
            named = heatmaps[len(views) :, : len(self.keypoint_names)]
            terms["supervision"] = _supervision(self, named, labelled)
        return terms


class SupervisedKeypoints(KeypointMethod):
    """Supervision alone, with the encoder, pose decoder, loss and augmentation of SemiSupervisedBKinD.

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, L, 2) of L named points, normalised (x, y).

    Args:
        names: Labelled points; with several animals, name_1, name_2, ... for each.
        encoder: A torchvision network with strides 4 to 32 (ResNet, ConvNeXt, Swin ...), ``timm/NAME`` of such a
            convolutional network, or one of ours for training from scratch: ``small``, ``fine``, ``tiny``.
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        pose_width: Channels of the pose decoder (Table 4.3: 256).
        sharpness: Initial scale of its last normalisation; 5 when trained from scratch.
        fuse: ``finest`` head alone (4.8) or the ``sum`` of all heads (4.4).
        sigma: Standard deviation of the labels' Gaussians in normalised units (ours).
        supervision: Loss of labelled frames: ``mse`` (the paper), or ``cross_entropy`` (ours), whose gradient does
            not vanish for keypoints that are confident of a wrong position.
        turn_deg: With ``augment``, the largest angle by which frames are turned, in degrees.
        augment: Train on randomly changed images (ours; the paper does not).
        weights: Weight of the only term.
        optimizer: Default: AdamW, learning rate 1e-3.
        scheduler: Default: none.
    """

    batch_type = LabelledImages
    weights_type = SupervisedWeights
    paper = "000 5.5, MARS-Pose, the supervised side (with B-KinD's network)"

    def __init__(
        self,
        names: list[str],
        encoder: str = "resnet50",
        pretrained: Pretrained = True,
        pose_width: int = 256,
        sharpness: float = 1.0,
        fuse: Fuse = "finest",
        sigma: float = 0.06,
        supervision: Supervision = "mse",
        turn_deg: float = 30.0,
        augment: bool = False,
        weights: SupervisedWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        if not names:
            raise ConfigurationError(
                "names must hold at least one labelled point, got none.",
                remedy="Use for example --model.names=[nose,tail].",
            )
        check_supervision(supervision)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.keypoint_names = tuple(names)
        self.sigma = sigma
        self.supervision: Supervision = supervision
        self.turn_deg = turn_deg
        self.augment = augment
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        self.pose_decoder = GlobalNet(
            self.encoder.channels, len(names), pose_width, sharpness, fuse, turning=self.encoder.turning
        )
        self.to(memory_format=torch.channels_last)

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, L, h, w) that sum to one over h, w."""
        return spatial_softmax(self.pose_decoder(self.encoder(self.normalise(image))))

    def setup(self, stage: str) -> None:
        """Raise ConfigurationError unless the labelled points are the named ones, in their order."""
        super().setup(stage)
        require_point_names(self)

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """``supervision``, from images (B, 3, H, W) and points (B, I, K, 2), I K = L."""
        if self.augment and self.training:
            generator = self.batch_generator()
            batch = _augmented(batch, generator, self.turn_deg)
        return {"supervision": _supervision(self, self.heatmaps(batch.image), batch)}


def _augmented(batch: LabelledImages, generator: torch.Generator, turn_deg: float) -> LabelledImages:
    image, points = augment_labelled(batch.image, batch.points, generator, turn_deg)
    return LabelledImages(image, points, batch.confidence)


def _supervision(
    method: SemiSupervisedBKinD | SupervisedKeypoints, heatmaps: Tensor, batch: LabelledImages
) -> Tensor:
    """Supervised loss of heatmaps (B, I K, h, w) and labels (B, I, K, 2), animal by animal."""
    points, confidence = batch.points.flatten(1, 2), batch.confidence.flatten(1, 2)
    return supervision_loss(method.supervision, heatmaps, points, confidence, method.sigma)
