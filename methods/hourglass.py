"""Stacked hourglass for the keypoints of one person or animal, with any heatmap loss.

Ryou, PhD thesis, Caltech 2022 (000), chapter 2 (Ryou, Jeong and Perona, Anchor Loss, ICCV 2019): section 2.4, Pose
Estimation, and 2.5, Human Pose Estimation; the network of Newell, Yang and Deng (2016).

Deviations and choices: the paper states neither the optimiser (RMSprop, as Newell et al.) nor the six scales of its
test (0.7 to 1.2, ours) nor how sigmoids start (at 0.01, as Lin et al.). Scales resize the whole crop; heatmaps return
to one grid before averaging. The next stack reads logits, unbounded as in Newell et al. Re-lit images are ours.
Gaussians of one pixel of 64 x 64 are fitted to read maxima. Losses: means over pixels and joints, summed over stacks.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.contract import datamodule_of, require_animal_order
from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.heatmaps import Moments, render_gaussians
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.anchor import FLOOR, AnchorDesign
from lightning_kp.losses.heatmap_losses import (
    LINEAR_LOSSES,
    HeatmapLossName,
    HeatmapLossOptions,
    heatmap_loss,
    narrow_targets,
)
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.pose_scores import PoseScores
from lightning_kp.metrics.protocols import PoseProtocol
from lightning_kp.nn.hourglass import StackedHourglassNet, averaged_heatmaps, check_side, scaled_side
from lightning_kp.readout.peaks import Peaks, window_moments
from lightning_kp.readout.subpixel import Refinement, highest_pixel, refined_points
from lightning_kp.skeleton import Skeleton, mirror_from_names

MIN_CONFIDENCE = 1e-6  # one person is always present, and confidence 0 would mean absent
WINDOW_SIGMAS = 3  # half the side of the window for covariances, in sigmas of the labels' Gaussians (ours)


@dataclass(frozen=True)
class HourglassWeights:
    """Weight of the only term: the chosen loss, summed over the stacks."""

    heatmaps: float = 1.0


class StackedHourglass(KeypointMethod):
    """A stacked hourglass for labelled keypoints of one person or animal.

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, K, 2), normalised (x, y). With several labelled animals, K counts
    the points of all of them, as the datamodule names them (name_1, name_2, ...).

    Logs ``val/pck`` of a plain pass; in a test, PCK of every joint, PCP of every limb and double counting, with the
    scales and flips of the test. The data define the reference lengths; without these, PCK uses a threshold of a tenth
    of the image side.

    Args:
        names: Points to find; by default the joints of the datamodule.
        mirror_pairs: Points that mirror each other, as pairs of names; by default those of the datamodule.
        stacks: Number of hourglasses (Newell et al.: 8; Table 2.7: 2).
        width: Channels (Newell et al.: 256).
        depth: How often an hourglass halves its side (Newell et al.: 4).
        loss: ``anchor``, ``focal``, ``bce`` (sigmoids), ``mse`` or ``ohkm`` (linear outputs).
        gamma: Exponent of the anchor and the focal loss, at least 0 (Table 2.7: 2).
        kappa: Balance of the branches of the focal loss, in [0, 1].
        delta: Margin of the anchor, in [0, 1] (eq. 2.5 has none).
        design: Pixels that the anchor loss modulates: ``background`` (the paper's), ``target`` or ``both``.
        anchor: A fixed anchor probability in place of the predicted one.
        detach: Keep the gradient out of the anchor.
        floor: Targets up to this value are true negatives (eq. 2.3).
        hardest: Share of the joints that ``ohkm`` keeps, in (0, 1].
        sigma: Standard deviation of the labels' Gaussians in normalised units (2 / 64).
        refinement: How a maximum is located below its pixel (readout/subpixel.py); ``quarter`` is that of Newell et al.
        scales: Scales of the image whose heatmaps are averaged (the paper: six).
        flip_test: Average with the mirror image, too (as the paper does).
        augment: Turn, scale, shift and re-light training images, for datamodules that do not.
        turn_deg: With ``augment``, the largest angle by which images are turned, in degrees.
        weights: Weight of the only term.
        optimizer: Default: RMSprop, learning rate 1e-3 (section 2.5).
        scheduler: Default, with the default optimiser: from epoch 100 on, the learning rate falls every 20 epochs,
            by turns to a half and to a fifth (section 2.5).
    """

    batch_type = LabelledImages
    weights_type = HourglassWeights
    paper = "000 ch. 2 (Ryou 2022; Ryou, Jeong and Perona 2019; Newell et al. 2016)"
    has_test_metrics = True

    def __init__(
        self,
        names: Sequence[str] = (),
        mirror_pairs: Sequence[tuple[str, str]] = (),
        stacks: int = 2,
        width: int = 256,
        depth: int = 4,
        loss: HeatmapLossName = "anchor",
        gamma: float = 2.0,
        kappa: float | None = None,
        delta: float = 0.0,
        design: AnchorDesign = "background",
        anchor: float | None = None,
        detach: bool = True,
        floor: float = FLOOR,
        hardest: float = 0.5,
        sigma: float = 2 / 64,
        refinement: Refinement = "gaussian",
        scales: Sequence[float] = (1.0,),
        flip_test: bool = False,
        augment: bool = False,
        turn_deg: float = 30.0,
        weights: HourglassWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        if not scales or min(scales) <= 0 or sigma <= 0:
            raise ConfigurationError(
                f"scales must hold at least one number, and scales and sigma must be above 0; got scales "
                f"{list(scales)} and sigma {sigma}.",
                remedy="Use for example --model.scales=[1.0] --model.sigma=0.03.",
            )
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.keypoint_names = tuple(names)
        self.mirror_pairs = [(a, b) for a, b in mirror_pairs]
        self.shape = (stacks, width, depth)
        options = HeatmapLossOptions(gamma, kappa, delta, design, anchor, detach, floor, hardest)
        self.loss, self.is_linear = heatmap_loss(loss, options), loss in LINEAR_LOSSES
        self.sigma, self.refinement = sigma, refinement
        self.scales, self.flip_test = tuple(scales), flip_test
        self.augment, self.turn_deg = augment, turn_deg
        self.network: StackedHourglassNet | None = None
        self.columns: list[int] = []
        self._has_warned = False
        if names:
            self._build(None)

    def setup(self, stage: str) -> None:
        """Use the joints and the scoring protocol of the datamodule; raise ConfigurationError if it lacks a joint."""
        super().setup(stage)
        data = datamodule_of(self)
        require_animal_order(self)
        side = getattr(data, "size", None)
        if isinstance(side, int):  # checked before training, which has scale 1, and before the test
            for scale in (1.0, *self.scales):
                check_side(scaled_side(side, scale), self.shape[2], scale=scale)
        protocol: PoseProtocol | None = getattr(data, "protocol", None)
        offered: Sequence[str] = tuple(getattr(data, "point_names", ())) or self.keypoint_names
        if self.network is None:
            self.keypoint_names = protocol.skeleton.names if protocol else tuple(offered)
        missing = [name for name in self.keypoint_names if name not in offered]
        if missing or not offered:
            lacking = f"no point called {', '.join(missing)}" if missing else "no named points"
            raise ConfigurationError(
                f"The labels of {type(data).__name__} have {lacking}.",
                remedy=did_you_mean(missing[0], offered) if missing else "Give --model.names=[nose,tail].",
            )
        if protocol and not self.mirror_pairs:
            names = protocol.skeleton.names
            pairs = [(names[a], names[b]) for a, b in protocol.skeleton.mirror_pairs]
            self.mirror_pairs = [pair for pair in pairs if set(pair) <= set(self.keypoint_names)]
        if not self.mirror_pairs:
            own = self.keypoint_names
            self.mirror_pairs = [(own[a], own[b]) for a, b in enumerate(mirror_from_names(own)) if a < b]
        if self.flip_test and not self.mirror_pairs:
            warnings.warn(
                f"flip_test averages with mirror images, but none of {', '.join(self.keypoint_names)} is known as the "
                "mirror image of another. If some are, set --model.mirror_pairs=[[ear1,ear2]].",
                stacklevel=2,
            )
        self.columns = [list(offered).index(name) for name in self.keypoint_names]
        self._build(protocol, offered)

    def _build(self, protocol: PoseProtocol | None, offered: Sequence[str] = ()) -> None:
        names = self.keypoint_names
        unknown = [name for pair in self.mirror_pairs for name in pair if name not in names]
        if unknown:
            raise ConfigurationError(
                f"mirror_pairs names {', '.join(unknown)}, which the model does not have.",
                remedy=did_you_mean(unknown[0], names),
            )
        pairs = tuple((names.index(a), names.index(b)) for a, b in self.mirror_pairs)
        self.mirror = Skeleton(names, mirror_pairs=pairs).mirror
        if self.network is None:
            network = StackedHourglassNet(len(names), *self.shape, from_prior=not self.is_linear)
            self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.columns = self.columns or list(range(len(names)))
        self.plain = PoseScores(names, self.mirror, protocol, offered or names).to(self.device)
        self.tested = PoseScores(names, self.mirror, protocol, offered or names).to(self.device)
        # Names and pairs are saved, so that the network can be rebuilt from a checkpoint alone.
        self.hparams.update(names=list(names), mirror_pairs=[list(pair) for pair in self.mirror_pairs])

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> positive part of :meth:`scores` (B, K, h, w), scaled to sum to one."""
        positive = self.scores(image).clamp_min(0) + torch.finfo(torch.float32).eps
        return positive / positive.sum(dim=(-2, -1), keepdim=True)

    def scores(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps of the last stack (B, K, h, w), close to 1 at a joint.

        They are averaged over the scales and, with ``flip_test``, over the mirror image.
        """
        mirror = self.mirror if self.flip_test else None
        return averaged_heatmaps(
            lambda view: self._activated(self._outputs(view)[-1]), image, self.scales, mirror
        )

    def _outputs(self, image: Tensor) -> Sequence[Tensor]:
        assert self.network is not None  # setup has built it
        outputs: Sequence[Tensor] = self.network(image.contiguous(memory_format=torch.channels_last) - 0.5)
        return outputs

    def _activated(self, outputs: Tensor) -> Tensor:
        return outputs.float() if self.is_linear else outputs.float().sigmoid()

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, 1, K, ...): refined maximum, covariance around it, height."""
        return self.decode(self.scores(image))

    def decode(self, scores: Tensor) -> Moments:
        """Heatmaps (B, K, h, w) of :meth:`scores` -> Moments (B, 1, K, ...)."""
        highest = highest_pixel(scores)
        peaks = Peaks(*(each.unsqueeze(-1) for each in highest))
        radius = max(1, round(WINDOW_SIGMAS * self.sigma * min(scores.shape[-2:]) / 2))
        around = window_moments(scores.clamp_min(0), peaks, radius)
        points = refined_points(scores, highest, self.refinement).unsqueeze(1)
        return Moments(points, around.covariance, highest.value.clamp(MIN_CONFIDENCE, 1.0).unsqueeze(1))

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, 1, K, 2), normalised (x, y)."""
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def exported(self, image: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` (B, K, h, w) of :meth:`scores`, not points: rounding decides between equal maxima."""
        return {"heatmaps": self.scores(image)}

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, K, 2), normalised (x, y)."""
        return self.locate(image).points[:, 0]

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """``heatmaps``: the chosen loss (000, eq. 2.5) summed over the stacks, from points (B, I, K, 2)."""
        image, points = batch.image, batch.points.flatten(1, 2)
        if self.augment and self.training:
            generator = self.batch_generator()
            image, points = augment_labelled(image, points, generator, self.turn_deg)
        joints = points[:, self.columns]
        confidence = batch.confidence.flatten(1, 2)[:, self.columns]
        outputs = self._outputs(image)
        weight = confidence * (joints.abs() <= 1).all(dim=-1)
        size = (outputs[0].shape[-2], outputs[0].shape[-1])
        if not self._has_warned and (problem := narrow_targets(self.sigma, min(size))):
            self._has_warned = True
            warnings.warn(problem, stacklevel=2)
        target = render_gaussians(joints, size, self.sigma)
        if not self.training and not (self._trainer is not None and self.trainer.testing):
            self._score(self.plain, self._activated(outputs[-1].detach()), batch)
        losses = [self.loss(output, target, weight) for output in outputs]
        return {"heatmaps": torch.stack(losses).sum()}

    def test_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """Log the loss, and score the averaged heatmaps."""
        super().test_step(batch, batch_idx)
        self._score(self.tested, self.scores(batch.image), batch)

    def _score(self, scores: PoseScores, heatmaps: Tensor, batch: LabelledImages) -> None:
        found = self.decode(heatmaps)
        labelled = Keypoints(batch.points.flatten(1, 2)[:, None], batch.confidence.flatten(1, 2)[:, None])
        scores.update(heatmaps, Keypoints(found.points, found.peak), labelled, self.columns)

    def on_validation_epoch_end(self) -> None:
        self.log("val/pck", self.plain.compute()["pck"], prog_bar=True)
        self.plain.reset()

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value for name, value in self.tested.compute().items()})
        self.tested.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(self.parameters(), lr=1e-3)

    def configure_optimizers(self) -> Any:
        """Use the paper's schedule with the paper's optimiser only; another optimiser needs its own."""
        if self._optimizer is not None or self._scheduler is not None:
            return super().configure_optimizers()
        optimizer = self.default_optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def learning_rate_factor(epoch: int) -> float:
    """Factor of the learning rate (section 2.5): 1, from epoch 100 on 1/2, from 120 on 1/10, from 140 on 1/20, ..."""
    drops = max(0, (epoch - 100) // 20 + 1)
    return float(0.1 ** (drops // 2) * 0.5 ** (drops % 2))
