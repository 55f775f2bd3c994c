"""Keypoints from photographs that are sorted into classes, or from photographs alone.

Ryou, PhD thesis, Caltech 2022 (000), chapter 4 with the tables of 4.8.

Terms: ``reconstruction`` eq. 4.2, ``classification`` eq. 4.4, ``viewpoint`` eq. 4.5 with Algorithm 1, summed as in
eq. 4.6; the Curriculum callback is its indicator. Without classes, or with the weight of ``classification`` 0, the
reconstruction alone trains (the restricted setting of 4.5): the other terms rest on the parts that classes point out.

Readings: the text says that heatmaps of all resolutions are summed, 4.8 that the last alone counts, which is the
default here. The widths of 4.8 are variances, as in chapter 5. Equation 4.5 is a mean squared error over coordinates
(``mse``, the text) or the mean Euclidean distance of whole poses (``norm``, the formula). The paper does not state the
warps; their defaults are the values that the authors released. Photographs are normalised before VGG.

Deviations: images for the viewpoint term are chosen, and their labels made, by the network as it predicts (normalised
by its running statistics) and not as it trains, so that source, warped and mirrored images pass the encoder together.
Nothing is chosen from less than four images. ``structural`` losses, ``either`` side, ``masked_border`` are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.batches import ClassifiedImages
from lightning_kp.contract import agreed_classes
from lightning_kp.errors import ConfigurationError, require_choice, require_positive
from lightning_kp.geometry import full_precision
from lightning_kp.heatmaps import expectation, spatial_softmax
from lightning_kp.losses.reconstruction import feature_errors, perceptual_loss, structural_loss
from lightning_kp.losses.viewpoint import Distance, Mirrored, facing_one_side, viewpoint_loss
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.classes import TopError
from lightning_kp.nn.classifiers import PartClassifier
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.perceptual import PerceptualFeatures
from lightning_kp.nn.pose_decoder import Fuse, GlobalNet
from lightning_kp.nn.reconstruction import PAPER_VARIANCES, PAPER_WIDTHS, ReconstructionDecoder
from lightning_kp.nn.weights import Pretrained
from lightning_kp.warps import MixedSplines, Splines, border_mask, warp_image

Reconstruction = Literal["perceptual", "structural"]
Side = Literal["right", "left", "either"]
DROP_EVERY = 50  # epochs; the authors' released value
FEWEST = 4  # images of a batch from which some are chosen (ours)
WARPS, SIDES = 0, 1  # purposes of random draws in a batch


@dataclass(frozen=True)
class WeakDiscoveryWeights:
    """Weights of eq. 4.6 (Table 4.6: all 1; CelebA has the reconstruction alone)."""

    reconstruction: float = 1.0
    classification: float = 1.0
    viewpoint: float = 1.0


class WeakDiscovery(KeypointMethod):
    """Keypoints of objects in photographs of several views, with class labels as the only labels (000, ch. 4).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, K, 2), normalised (x, y). Where there are classes, validation and
    test log the top-1 error in per cent as ``val/error`` and ``test/error``.

    Args:
        keypoints: Number of keypoints K (Table 4.6: 10 for faces and aligned birds, 15 CUB, 20 AnimalPose, 24 dogs).
        class_keypoints: The first K_w keypoints classify (4.5: 5).
        classes: Class names, in the order of the labels; by default those of the datamodule.
        encoder: As in BKinD (4.5: ResNet-50): a torchvision network, ``timm/NAME``, or ``small``, ``tiny``, ``fine``.
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        reconstruction: ``perceptual`` (eq. 4.2, VGG-19) or ``structural``, pixels plus SSIM (ours).
        perceptual_weights: Weights of VGG-19: true, or the path of a state dict.
        warp_controls: Control points along each side of the thin-plate splines that warp the image to be reconstructed.
        warp_deviation: Standard deviation of all their kernel weights.
        warp_more: Standard deviation of what is added to a random half of these.
        warp_shift: Standard deviation of the shift of the whole image, in normalised units.
        masked_border: Leave the border of the warped image, which the warp fills, out of the reconstruction.
        pose_width: Channels of the pose decoder (Table 4.3: 256).
        sharpness: Initial scale of its last normalisation; 5 when trained from scratch.
        fuse: ``finest`` head alone (4.8) or the ``sum`` of all heads (4.4).
        class_width: Channels to which the classifier reduces each feature map (Table 4.5: 256).
        decoder_widths: Channels of the reconstruction decoder, one per doubling of the resolution (Table 4.4).
        variances: Variance of the Gaussian maps at each resolution (4.8).
        unit_amplitude: Use Gaussian maps with peak 1 in place of the normaliser of eq. 4.1.
        wide: Share of a batch whose keypoints lie widest apart in x, N_s of Algorithm 1 (ours: 0.3).
        mirrored: Share of a batch that is mirrored, N_v of Algorithm 1 (ours: 0.15).
        side: The side to which the chosen images look; ``either`` draws one in each step.
        distance: Reading of eq. 4.5: ``mse`` or ``norm``.
        weights: Weights of the terms.
        optimizer: Default: SGD, learning rate 1e-3 (Table 4.6), momentum 0.9, weight decay 1e-4.
        scheduler: Default, with the default optimiser: a tenth of the learning rate every 50 epochs.
    """

    batch_type = ClassifiedImages
    weights_type = WeakDiscoveryWeights
    paper = "000 ch. 4 (Ryou 2022)"
    has_test_metrics = True

    def __init__(
        self,
        keypoints: int = 15,
        class_keypoints: int = 5,
        classes: Sequence[str] = (),
        encoder: str = "resnet50",
        pretrained: Pretrained = True,
        reconstruction: Reconstruction = "perceptual",
        perceptual_weights: Pretrained = True,
        warp_controls: int = 10,
        warp_deviation: float = 0.001,
        warp_more: float = 0.005,
        warp_shift: float = 0.1,
        masked_border: bool = False,
        pose_width: int = 256,
        sharpness: float = 1.0,
        fuse: Fuse = "finest",
        class_width: int = 256,
        decoder_widths: tuple[int, ...] = PAPER_WIDTHS,
        variances: tuple[float, ...] = PAPER_VARIANCES,
        unit_amplitude: bool = False,
        wide: float = 0.3,
        mirrored: float = 0.15,
        side: Side = "right",
        distance: Distance = "mse",
        weights: WeakDiscoveryWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        require_positive(
            pose_width=(pose_width,), sharpness=(sharpness,), class_width=(class_width,), wide=(wide,),
            mirrored=(mirrored,), decoder_widths=decoder_widths, variances=variances,
        )  # fmt: skip
        require_choice("reconstruction", reconstruction, get_args(Reconstruction))
        require_choice("side", side, get_args(Side))
        require_choice("distance", distance, get_args(Distance))
        self.warp = MixedSplines(warp_controls, warp_deviation, warp_more, warp_shift)
        _check(keypoints, class_keypoints, (wide, mirrored))
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.masked_border = masked_border
        self.class_keypoints, self.class_width = class_keypoints, class_width
        self.classes = tuple(classes)
        self.wide, self.mirrored, self.side, self.distance = wide, mirrored, side, distance
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        channels = self.encoder.channels
        self.pose_decoder = GlobalNet(
            channels, keypoints, pose_width, sharpness, fuse, turning=self.encoder.turning,
            doubled=self.encoder.strides[0] > 2,
        )  # fmt: skip
        self.decoder = ReconstructionDecoder(
            channels[-1], keypoints, decoder_widths, variances, unit_amplitude=unit_amplitude, point_sets=1
        )
        self.perceptual: nn.Module | None = None
        if reconstruction == "perceptual":
            self.perceptual = PerceptualFeatures(perceptual_weights)
        self.classifier: PartClassifier | None = None
        self.error = TopError()
        self._build_classifier()
        self.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        """Use the classes of the datamodule, and raise ConfigurationError if it has others than the method."""
        super().setup(stage)
        if self.base_weights["classification"] == 0:
            self.classes, self.classifier = (), None
            self._build_classifier()
        elif self.classifier is not None or stage == "fit":
            self.classes = agreed_classes(self, self.classes, fewest=0)
            if self.classifier is None:
                self._build_classifier()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the classifier that the checkpoint has; its classes have to be those of the data."""
        super().on_load_checkpoint(checkpoint)
        if self.classifier is None and (saved := checkpoint.get("hyper_parameters", {}).get("classes")):
            self.classes = agreed_classes(self, saved)
            self._build_classifier()

    def _build_classifier(self) -> None:
        """Build the classifier of the parts, unless there are too few classes, and save the classes for checkpoints."""
        self.classes = self.classes if len(self.classes) > 1 else ()
        if self.classes:
            made = PartClassifier(
                self.encoder.channels, self.class_keypoints, len(self.classes), self.class_width
            )
            self.classifier = made.to(self.device).to(memory_format=torch.channels_last)
        self.hparams.update(classes=list(self.classes))

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, K, h, w) of half their side that sum to one over h, w."""
        return spatial_softmax(self.pose_decoder(self.encoder(self.normalise(image))))

    def terms(self, batch: ClassifiedImages) -> dict[str, Tensor]:
        """Active terms of eq. 4.6 from images (B, 3, H, W) in [0, 1] with labels (B,).

        All images that some term reads pass the encoder together: source, warped, and mirrored ones.
        """
        image, number = batch.image, len(batch.image)
        rebuilds = self.is_active("reconstruction")
        classifies = self.classifier is not None and self.is_active("classification")
        if not rebuilds and not classifies:
            return {}
        splines = self.warp.draw(number, self._generator(WARPS))
        target = warp_image(image, splines) if rebuilds else image[:0]
        chosen = self._chosen(image)
        mirrors = image[:0] if chosen is None else image[chosen.rows].flip(-1)
        pyramid = self.encoder(self.normalise(torch.cat((image, target, mirrors))))
        first = 0 if classifies else number  # keypoints of the source serve the classifier alone
        heatmaps = spatial_softmax(self.pose_decoder([level[first:] for level in pyramid]))
        of_source, of_target, of_mirrors = heatmaps.split((number - first, len(target), len(mirrors)))
        terms = {}
        if rebuilds:
            rebuilt = self.decoder(pyramid[-1][:number], expectation(of_target))
            terms["reconstruction"] = self._reconstruction(rebuilt, target, splines)
        if self.classifier is not None and classifies:
            parts = of_source[:, : self.class_keypoints]
            logits = self.classifier([level[:number] for level in pyramid], parts)
            terms["classification"] = F.cross_entropy(logits, batch.label)
            if not self.training:
                self.error.update(logits.detach(), batch.label)
        if chosen is not None:
            terms["viewpoint"] = viewpoint_loss(expectation(of_mirrors), chosen.labels, self.distance)
        return terms

    def _generator(self, purpose: int) -> torch.Generator:
        """Random draws of this training batch; validation draws the same ones each time."""
        return self.batch_generator(purpose) if self.training else torch.Generator().manual_seed(purpose)

    def _chosen(self, image: Tensor) -> Mirrored | None:
        """The images of a batch to be mirrored, with their labels; None where the viewpoint term is not active."""
        if self.classifier is None or not self.is_active("viewpoint") or len(image) < FEWEST:
            return None
        points = self._predicted_points(image)
        side: Side = self.side
        if side == "either":
            side = "left" if torch.rand((), generator=self._generator(SIDES)) < 0.5 else "right"
        wide, mirrored = (max(1, round(share * len(image))) for share in (self.wide, self.mirrored))
        return facing_one_side(points, self.class_keypoints, wide, mirrored, side)

    @torch.no_grad()
    def _predicted_points(self, image: Tensor) -> Tensor:
        """Keypoints (B, K, 2) as in evaluation mode; the statistics of the normalisations stay as they are."""
        training = self.training
        for part in (self.encoder, self.pose_decoder):
            part.eval()
        points = expectation(self.heatmaps(image))
        for part in (self.encoder, self.pose_decoder):
            part.train(training)
        return points

    def _reconstruction(self, rebuilt: Tensor, target: Tensor, splines: Splines) -> Tensor:
        size = (rebuilt.shape[-2], rebuilt.shape[-1])
        with torch.no_grad():
            target = target if target.shape[-2:] == size else F.adaptive_avg_pool2d(target, size)
            if self.masked_border:
                mask = warp_image(border_mask(size, like=target).expand(len(target), -1, -1, -1), splines)
                target = target * mask
        if self.masked_border:
            rebuilt = rebuilt * mask
        if self.perceptual is None:
            with full_precision(rebuilt):  # local variances suffer from catastrophic cancellation in 16 bits
                return structural_loss(rebuilt.float(), target.float())
        with torch.no_grad():
            target_features = self.perceptual(self.normalise(target))
        return perceptual_loss(feature_errors(self.perceptual(self.normalise(rebuilt)), target_features))

    def on_validation_epoch_end(self) -> None:
        self._log_error("val")

    def on_test_epoch_end(self) -> None:
        self._log_error("test")

    def _log_error(self, stage: str) -> None:
        if self.classifier is not None and self.is_active("classification"):
            self.log(f"{stage}/error", self.error.compute(), prog_bar=True)
        self.error.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        return torch.optim.SGD(trained, lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def configure_optimizers(self) -> Any:
        """Use the released schedule with the paper's optimiser only; another optimiser needs its own."""
        if self._optimizer is not None or self._scheduler is not None:
            return super().configure_optimizers()
        drops = torch.optim.lr_scheduler.StepLR(self.default_optimizer(), DROP_EVERY, gamma=0.1)
        return {"optimizer": drops.optimizer, "lr_scheduler": drops}


def _check(keypoints: int, class_keypoints: int, shares: Sequence[float]) -> None:
    if keypoints < 2 or not 1 <= class_keypoints <= keypoints:
        raise ConfigurationError(
            f"keypoints is {keypoints} and class_keypoints {class_keypoints}.",
            remedy="Give at least 2 keypoints, and between 1 and that many --model.class_keypoints.",
        )
    if (largest := max(shares)) > 1:
        problem = f"wide and mirrored are shares of a batch, got {largest}."
        raise ConfigurationError(problem, remedy="Use --model.wide=0.3 --model.mirrored=0.15.")
