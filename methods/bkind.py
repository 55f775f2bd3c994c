"""B-KinD: keypoints from behaviour videos by reconstructing moving regions.

Ryou, PhD thesis, Caltech 2022 (000), chapter 5 with 5.8, and the architecture tables of 4.8. Reference code:
neuroethology/BKinD, Apache-2.0 (values are compared in tests, no code is copied).

Terms: ``reconstruction`` eq. 5.1, ``rotation`` eq. 5.2, ``mean_separation`` eq. 5.3, summed as in eq. 5.4. The
Curriculum callback is the indicator of eq. 5.4. ``focus`` and ``coverage`` are ours and off by default.

Deviations from the paper: both frames and the rotated copies pass through the encoder in one batch, so that batch
normalisation sees them together. The separation loss is the mean, not the sum, over the pairs of keypoints (as in the
reference code) and over the frames that it is applied to (the later frame and its three rotated copies).

Deviations from the reference code, of which ``reference: true`` takes back those in which the paper decides or is
silent: pixel grid of the upsampling, luminance in SSIM and no blur, order of upsampling and concatenation, convolutions
per block, divisor of the perceptual terms, initialisation (torch's own, not N(0, 0.01)). Never reproduced: pixel
centres at -1 and 1, repeated encoder calls, unused heads, inference in training mode.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import ClassVar, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.batches import FramePairs
from lightning_kp.errors import ConfigurationError, require_choice, require_positive
from lightning_kp.heatmaps import expectation, spatial_softmax
from lightning_kp.images.augmentation import augment_pair, transplant
from lightning_kp.images.differences import Target, difference_target
from lightning_kp.losses.motion import coverage_loss, focus_loss, moving_mask
from lightning_kp.losses.reconstruction import feature_errors, perceptual_loss, structural_loss
from lightning_kp.losses.rotation import REFERENCE_VARIANCE, Rotations, drawn_turns, rotation_loss
from lightning_kp.losses.separation import REFERENCE_SIGMA, separation_over_turns
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.perceptual import PerceptualFeatures
from lightning_kp.nn.pose_decoder import Fuse, GlobalNet
from lightning_kp.nn.reconstruction import PAPER_VARIANCES, PAPER_WIDTHS, ReconstructionDecoder
from lightning_kp.nn.weights import Pretrained, draw_convolutions
from lightning_kp.warps import Turn, turn_image

Reconstruction = Literal["perceptual", "structural"]


@dataclass(frozen=True)
class BKinDWeights:
    """Weights of eq. 5.4. The paper does not state w_r and w_s; these are the values of the reference code.

    ``mean_separation`` weighs the mean over the K x K pairs of keypoints, so that its value holds for any K. The
    reference code adds 0.05 times that mean for each of four sets of points, which is 0.2 times the mean of the four.

    Files of version 0.1 give ``separation`` instead, the weight of the sum over the pairs. It still has the
    effect that it had: it replaces ``mean_separation`` by K^2 times its value.
    """

    reconstruction: float = 1.0
    rotation: float = 1.0
    mean_separation: float = 0.2
    focus: float = 0.0
    coverage: float = 0.0
    separation: InitVar[float | None] = None

    def __post_init__(self, separation: float | None) -> None:
        object.__setattr__(self, "separation", separation)

    def of(self, keypoints: int) -> Self:
        """Return the same weights without the earlier ``separation``, for a number of keypoints K."""
        earlier = vars(self)["separation"]
        if earlier is None:
            return self
        return dataclasses.replace(self, mean_separation=earlier * keypoints**2, separation=None)


class BKinD(KeypointMethod):
    """Self-supervised keypoints of moving animals on a static background (000, ch. 5).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, K, 2), normalised (x, y).

    Args:
        keypoints: Number of keypoints K (Table 5.11: 10).
        encoder: A torchvision network that has feature maps at strides 4, 8, 16 and 32 (ResNet, RegNet,
            ConvNeXt, EfficientNet, MobileNet, DenseNet, VGG, Swin), ``timm/NAME`` of a convolutional network
            with such maps, or one of ours for training from scratch: ``small``, ``tiny``, ``fine`` (heatmaps of
            half the image side), ``turning`` (like ``fine``, and eq. 5.2 holds for quarter turns by construction).
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        target: Image to reconstruct (5.4): ``ssim``, ``absolute`` or ``raw`` difference, or ``image``, the later
            frame.
        reconstruction: ``perceptual`` (eq. 5.1, VGG-19) or ``structural``, pixels plus SSIM (ours).
        perceptual_weights: Weights of VGG-19: true, or the path of a state dict.
        rotations: ``all`` three quarter turns in every step; ``one`` at random, with the same expectation at
            three fifths of the cost; or one by ``any`` angle (ours), for networks that are equivariant to quarter
            turns by construction.
        pose_width: Channels of the pose decoder (Table 4.3: 256).
        sharpness: Initial scale of its last normalisation; 5 when trained from scratch.
        fuse: ``finest`` head alone (4.8) or the ``sum`` of all heads (4.4).
        decoder_widths: Channels of the reconstruction decoder, one per doubling of the resolution (Table 5.10).
        decoder_convolutions: Convolutions per block (Table 5.10: 1; reference code: 2).
        variances: Variance of the Gaussian maps at each resolution (4.8).
        unit_amplitude: Use Gaussian maps with peak 1 in place of the normaliser of eq. 4.1.
        rotation_variance: Variance of the maps that eq. 5.2 compares.
        separation_sigma: sigma_s of eq. 5.3 in normalised units.
        reference: Follow the reference code instead of the paper where the two differ: upsampling that stretches the
            pixel grid, SSIM without luminance and blurred, maps concatenated before upsampling, two convolutions per
            block, perceptual terms that saturate, convolutions that start at N(0, 0.01).
        augment: Train on randomly turned, swapped and re-lit pairs (ours; the paper does not).
        any_angle: Turn them by any angle rather than by quarter turns only.
        transplant: With ``augment``, share of the pairs in which the moving region is moved to another place on
            the background and turned by an angle of its own (see :mod:`lightning_kp.images.augmentation`).
        weights: Weights of the terms.
        optimizer: Default: SGD, learning rate 1e-3 (Table 5.11), momentum 0.9, weight decay 1e-4.
        scheduler: Default: none.
    """

    batch_type = FramePairs
    weights_type = BKinDWeights
    earlier_terms: ClassVar[Mapping[str, str]] = {"separation": "mean_separation"}
    paper = "000 ch. 5 (Ryou 2022; Sun, Ryou et al. 2022)"

    def __init__(
        self,
        keypoints: int = 10,
        encoder: str = "resnet50",
        pretrained: Pretrained = True,
        target: Target = "ssim",
        reconstruction: Reconstruction = "perceptual",
        perceptual_weights: Pretrained = True,
        rotations: Rotations = "all",
        pose_width: int = 256,
        sharpness: float = 1.0,
        fuse: Fuse = "finest",
        decoder_widths: tuple[int, ...] = PAPER_WIDTHS,
        decoder_convolutions: int = 1,
        variances: tuple[float, ...] = PAPER_VARIANCES,
        unit_amplitude: bool = False,
        rotation_variance: float = REFERENCE_VARIANCE,
        separation_sigma: float = REFERENCE_SIGMA,
        reference: bool = False,
        augment: bool = False,
        any_angle: bool = False,
        transplant: float = 0.0,
        weights: BKinDWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights.of(keypoints) if weights else None, optimizer, scheduler)
        if len(decoder_widths) != len(variances):
            raise ConfigurationError(
                f"decoder_widths has {len(decoder_widths)} entries and variances {len(variances)}.",
                remedy="Give one width and one variance per doubling of the resolution.",
            )
        require_positive(
            decoder_widths=decoder_widths, variances=variances, keypoints=(keypoints,), pose_width=(pose_width,),
            sharpness=(sharpness,), decoder_convolutions=(decoder_convolutions,),
            rotation_variance=(rotation_variance,), separation_sigma=(separation_sigma,),
        )  # fmt: skip
        require_choice("reconstruction", reconstruction, get_args(Reconstruction))
        require_choice("rotations", rotations, get_args(Rotations))
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.target: Target = target
        self.rotations: Rotations = rotations
        self.rotation_variance = rotation_variance
        self.unit_amplitude = unit_amplitude
        self.separation_sigma = separation_sigma
        self.reference = reference
        self.augment = augment
        self.any_angle = any_angle
        self.transplant = transplant
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        channels = self.encoder.channels
        self.pose_decoder = GlobalNet(
            channels, keypoints, pose_width, sharpness, fuse,
            align_corners=reference, turning=self.encoder.turning,
        )  # fmt: skip
        self.decoder = ReconstructionDecoder(
            channels[-1], keypoints, decoder_widths, variances,
            convolutions=2 if reference else decoder_convolutions, unit_amplitude=unit_amplitude,
            concatenate_first=reference,
        )  # fmt: skip
        if reference:
            draw_convolutions(self.decoder, self.pose_decoder.heads)
        self.perceptual: nn.Module | None = None
        if reconstruction == "perceptual":
            self.perceptual = PerceptualFeatures(perceptual_weights)
        # CPUs and tensor cores convolve fastest in this layout; ImageNetNormalise puts images into it, too.
        self.to(memory_format=torch.channels_last)

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, K, h, w) that sum to one over h, w."""
        return spatial_softmax(self.pose_decoder(self.encoder(self.normalise(image))))

    def terms(self, batch: FramePairs) -> dict[str, Tensor]:
        """Active terms of eq. 5.4 from pairs of frames (B, 3, H, W) in [0, 1]."""
        batch = self._augmented(batch)
        turns = self._turns(len(batch.frame))
        pyramid = self.encoder(self.normalise(self._views(batch, turns)))
        heatmaps = spatial_softmax(self.pose_decoder(pyramid))
        return self.discovery_terms(batch, turns, pyramid[-1], heatmaps)

    def _augmented(self, batch: FramePairs) -> FramePairs:
        if not (self.augment and self.training):
            return batch
        generator, (frame, future) = self.batch_generator(), batch[:2]
        if self.transplant > 0:
            frame, future = transplant(frame, future, batch.video, generator, self.transplant)
        frame, future = augment_pair(frame, future, generator, any_angle=self.any_angle)
        return batch._replace(frame=frame, future=future)

    def _views(self, batch: FramePairs, turns: Sequence[Turn]) -> Tensor:
        """Later frames, earlier frames, turned copies of the later ones: (V B, 3, S, S).

        They pass through the network together, since large batches use the hardware better.
        """
        copies = [turn_image(batch.future, turn) for turn in turns]
        return torch.cat((batch.future, batch.frame, *copies))

    def discovery_terms(
        self, batch: FramePairs, turns: Sequence[Turn], coarsest: Tensor, heatmaps: Tensor
    ) -> dict[str, Tensor]:
        """Active terms of eq. 5.4 from features and heatmaps of the V views.

        Args:
            batch: Pairs of frames (B, 3, H, W).
            turns: Turns of the rotated copies.
            coarsest: Coarsest features (V B, C, h', w') of the later frames, the earlier frames and the copies.
            heatmaps: Heatmaps (V B, K, h, w) in the same order.
        """
        future, now, *rotated = self._points_of(heatmaps).split(len(batch.frame))
        appearance = coarsest[len(batch.frame) : 2 * len(batch.frame)]
        terms = {}
        if self.is_active("reconstruction"):
            prediction = self._rebuild(appearance, now, future)
            terms["reconstruction"] = self._reconstruction(prediction, batch)
        if self.is_active("rotation"):
            size = (heatmaps.shape[-2] * 2, heatmaps.shape[-1] * 2)
            copies = zip(rotated, turns, strict=True)
            per_turn = [self._rotation(future, points, turn, size) for points, turn in copies]
            terms["rotation"] = torch.stack(per_turn).mean()
        if self.is_active("mean_separation"):
            terms["mean_separation"] = self._separation(future, rotated)
        if self.is_active("focus") or self.is_active("coverage"):
            mask = moving_mask(batch.frame, batch.future, (heatmaps.shape[-2], heatmaps.shape[-1]))
            masks = torch.cat((mask, mask, *(turn_image(mask, turn) for turn in turns)))
        if self.is_active("focus"):
            terms["focus"] = focus_loss(heatmaps, masks)
        if self.is_active("coverage"):
            terms["coverage"] = self._coverage(torch.cat((future, now, *rotated)), masks)
        return terms

    def _points_of(self, heatmaps: Tensor) -> Tensor:
        """Heatmaps (B, K, h, w) -> points (B, K, 2), on which all terms except ``focus`` depend."""
        return expectation(heatmaps)

    def _rebuild(self, appearance: Tensor, now: Tensor, future: Tensor) -> Tensor:
        """Appearance (B, C, h', w') and points (B, K, 2) of both frames -> image (B, 3, H', W')."""
        reconstruction: Tensor = self.decoder(appearance, now, future)
        return reconstruction

    def _coverage(self, points: Tensor, masks: Tensor) -> Tensor:
        return coverage_loss(points, masks)

    def _turns(self, pairs: int) -> tuple[Turn, ...]:
        """Turns of this step; validation uses the same ones each time."""
        if not self.is_active("rotation"):
            return ()
        return drawn_turns(self.rotations, pairs, self.batch_generator(1) if self.training else None)

    def _rotation(self, points: Tensor, rotated: Tensor, turn: Turn, size: tuple[int, int]) -> Tensor:
        amplitude = 1.0 if self.unit_amplitude else None
        return rotation_loss(
            points, rotated, turn, size, variance=self.rotation_variance, amplitude=amplitude
        )

    def _separation(self, upright: Tensor, rotated: Sequence[Tensor]) -> Tensor:
        return separation_over_turns(upright, rotated, self.separation_sigma)

    def _reconstruction(self, prediction: Tensor, batch: FramePairs) -> Tensor:
        # Local variances suffer from catastrophic cancellation in 16 bits.
        with torch.autocast(prediction.device.type, enabled=False):
            with torch.no_grad():
                target = difference_target(self.target, batch.frame, batch.future, reference=self.reference)
                size = (prediction.shape[-2], prediction.shape[-1])
                if target.shape[-2:] != size:
                    target = F.adaptive_avg_pool2d(target, size)
            if self.perceptual is None:
                return structural_loss(prediction.float(), target)
        with torch.no_grad():
            target_features = self.perceptual(target)
        errors = feature_errors(self.perceptual(prediction), target_features)
        return perceptual_loss(errors, saturate=self.reference)

    def default_optimizer(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(trained, lr=1e-3, momentum=0.9, weight_decay=1e-4)
