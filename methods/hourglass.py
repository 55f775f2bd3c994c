"""Stacked hourglass for joints that name their own person or animal, with any loss of heatmaps.

Ryou, PhD thesis, Caltech 2022 (000), chapter 2 (Ryou, Jeong and Perona, Anchor Loss, ICCV 2019): section 2.4, Pose
Estimation, and 2.5, Human Pose Estimation; the network of Newell, Yang and Deng (2016).

Deviations and choices: the paper names neither the optimiser (RMSprop, as Newell et al.) nor the six scales of its
test (0.7 to 1.2, ours), nor how it initialises the sigmoids (at 0.01, as Lin et al.).  Scales resize the whole
crop and the heatmaps back to one grid before they are averaged.  Gaussians have a standard deviation of one pixel
of a 64 x 64 heatmap, as Newell et al.  Losses are means over pixels and labelled joints, summed over the stacks.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_kp.batches import LabelledImages
from lightning_kp.contract import datamodule_of, refuse_animals_without_order
from lightning_kp.errors import ConfigurationError, did_you_mean
from lightning_kp.heatmaps import Moments, render_gaussians
from lightning_kp.images.augmentation import augment_labelled
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.anchor import FLOOR, AnchorDesign
from lightning_kp.losses.heatmap_losses import LINEAR, HeatmapLossName, HeatmapLossOptions, heatmap_loss
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.pose_scores import PoseScores
from lightning_kp.metrics.protocols import PoseProtocol
from lightning_kp.nn.hourglass import STRIDE, StackedHourglassNet, check_side
from lightning_kp.readout.peaks import Peaks, window_moments
from lightning_kp.readout.subpixel import Refinement, highest_pixel, refined_points
from lightning_kp.skeleton import Skeleton, mirror_of

FAINTEST = 1e-6  # one person is always there: no confidence is 0, which would say absent
NARROWEST = (
    0.6  # standard deviation in heatmap pixels from which a Gaussian exceeds 0.5 wherever its centre lies
)
SPREAD = (
    3  # standard deviations of the labels' Gaussians in half the window that a covariance is read from (ours)
)


@dataclass(frozen=True)
class HourglassWeights:
    """One term: the chosen loss, summed over the stacks."""

    heatmaps: float = 1.0


class StackedHourglass(KeypointMethod):
    """A stacked hourglass trained on labelled points of one person or animal.

    Labels of several animals are points one after another, as the datamodule names them (name_1, name_2, ...).
    Logs ``val/pck`` of a plain pass, and in a test PCK of every joint, PCP of every limb and double counting,
    with the test's scales and flips.  What these are measured by comes with the data; without it PCK is at a
    tenth of the image's side.

    Args:
        names: Points to find, by default the joints of the datamodule.
        mirror_pairs: Which of them mirror each other, as pairs of names; by default the datamodule's.
        stacks: Hourglasses one after the other (Newell et al.: 8; Table 2.7: 2).
        width: Channels (Newell et al.: 256).
        depth: How often an hourglass halves its side (Newell et al.: 4).
        loss: ``anchor``, ``focal``, ``bce`` (sigmoids), ``mse`` or ``ohkm`` (linear outputs).
        gamma: Exponent of anchor and focal loss (Table 2.7: 2).
        kappa: Balance of the focal loss's branches.
        delta: Margin of the anchor (eq. 2.5 has none).
        design: Which pixels the anchor loss modulates: ``background`` (the paper's), ``target`` or ``both``.
        anchor: A fixed anchor probability in place of the prediction's.
        detach: Keep the gradient out of the anchor.
        floor: Targets up to it are true negatives (eq. 2.3).
        hardest: Share of the joints that ``ohkm`` keeps.
        sigma: Standard deviation of the labels' Gaussians in normalised units (2 / 64).
        refinement: ``quarter`` or ``quadratic``: how a maximum is read finer than a pixel.
        scales: Sizes at which an image is looked at; their heatmaps are averaged (the paper: six).
        flip_test: Look at the mirrored image too (the paper does).
        augment: Turn, scale, shift and re-light training images, for datamodules that do not.
        turn_deg: With ``augment``, by up to so many degrees.
        weights: Weight of the only term.
        optimizer: Default: RMSprop, learning rate 1e-3 (section 2.5).
        scheduler: Default, with the default optimiser: from epoch 100 the rate falls to a half and to a fifth
            by turns every 20 epochs (section 2.5).
    """

    batch_type = LabelledImages
    weights_type = HourglassWeights
    paper = "000 ch. 2 (Ryou 2022; Ryou, Jeong and Perona 2019; Newell et al. 2016)"
    has_test_figures = True

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
        refinement: Refinement = "quarter",
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
                f"scales is {list(scales)}, sigma {sigma}.", remedy="Give at least one scale, all above 0."
            )
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.keypoint_names = tuple(names)
        self.mirror_pairs = [(a, b) for a, b in mirror_pairs]
        self.shape = (stacks, width, depth)
        options = HeatmapLossOptions(gamma, kappa, delta, design, anchor, detach, floor, hardest)
        self.loss, self.is_linear = heatmap_loss(loss, options), loss in LINEAR
        self.sigma, self.refinement = sigma, refinement
        self.scales, self.flip_test = tuple(scales), flip_test
        self.augment, self.turn_deg = augment, turn_deg
        self.network: StackedHourglassNet | None = None
        self.columns: list[int] = []
        self._has_warned = False
        if names:
            self._build(None)

    def setup(self, stage: str) -> None:
        """Take the joints and how they are scored from the datamodule; refuse one that lacks a joint."""
        super().setup(stage)
        data = datamodule_of(self)
        refuse_animals_without_order(self)
        side = getattr(data, "size", None)
        if isinstance(side, int):  # training is at scale 1, the test at the others: told before either
            for scale in (1.0, *self.scales):
                check_side(_scaled(side, scale), self.shape[2], scale=scale)
        protocol: PoseProtocol | None = getattr(data, "protocol", None)
        offered: Sequence[str] = tuple(getattr(data, "point_names", ())) or self.keypoint_names
        if self.network is None:
            self.keypoint_names = protocol.skeleton.names if protocol else tuple(offered)
        missing = [name for name in self.keypoint_names if name not in offered]
        if missing or not offered:
            raise ConfigurationError(
                f"{type(data).__name__} labels no point called {', '.join(missing) or 'anything'}.",
                remedy=did_you_mean(missing[0], offered) if missing else "Give --model.names=[nose,tail].",
            )
        if protocol and not self.mirror_pairs:
            names = protocol.skeleton.names
            pairs = [(names[a], names[b]) for a, b in protocol.skeleton.mirror_pairs]
            self.mirror_pairs = [pair for pair in pairs if set(pair) <= set(self.keypoint_names)]
        if not self.mirror_pairs:
            sides = mirror_of(self.keypoint_names)
            self.mirror_pairs = [
                (self.keypoint_names[a], self.keypoint_names[b]) for a, b in enumerate(sides) if a < b
            ]
        if self.flip_test and not self.mirror_pairs:
            warnings.warn(
                f"flip_test averages mirrored pictures, and none of {', '.join(self.keypoint_names)} is known as "
                "left or right of another: --model.mirror_pairs=[[ear1,ear2]] says so.",
                stacklevel=2,
            )
        self.columns = [list(offered).index(name) for name in self.keypoint_names]
        self._build(protocol, offered)

    def _build(self, protocol: PoseProtocol | None, offered: Sequence[str] = ()) -> None:
        names = self.keypoint_names
        unknown = [name for pair in self.mirror_pairs for name in pair if name not in names]
        if unknown:
            raise ConfigurationError(
                f"mirror_pairs names {', '.join(unknown)}.", remedy=did_you_mean(unknown[0], names)
            )
        pairs = tuple((names.index(a), names.index(b)) for a, b in self.mirror_pairs)
        self.mirror = Skeleton(names, mirror_pairs=pairs).mirror
        if self.network is None:
            network = StackedHourglassNet(len(names), *self.shape, rare=not self.is_linear)
            self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.columns = self.columns or list(range(len(names)))
        self.plain = PoseScores(names, self.mirror, protocol, offered or names).to(self.device)
        self.tested = PoseScores(names, self.mirror, protocol, offered or names).to(self.device)
        # What was found is kept, so that a checkpoint is enough to build the network again.
        self.hparams.update(names=list(names), mirror_pairs=[list(pair) for pair in self.mirror_pairs])

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> what is above 0 of the outputs, scaled to sum to one over h, w."""
        positive = self.scores(image).clamp_min(0) + torch.finfo(torch.float32).eps
        return positive / positive.sum(dim=(-2, -1), keepdim=True)

    def scores(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the last stack's heatmaps (B, K, h, w), near 1 at a joint.

        Averaged over scales and flips.
        """
        size = tuple(-(-side // STRIDE) for side in image.shape[-2:])
        total: list[Tensor] = []
        for scale in self.scales:
            scaled = image
            if scale != 1:
                wanted = [_scaled(side, scale) for side in image.shape[-2:]]
                scaled = F.interpolate(image, wanted, mode="bilinear")
            found = self._look(scaled)
            if self.flip_test:
                found = (found + self._look(scaled.flip(-1)).flip(-1)[:, list(self.mirror)]) / 2
            total.append(found if scale == 1 else F.interpolate(found, size, mode="bilinear"))
        return torch.stack(total).mean(dim=0) if len(total) > 1 else total[0]

    def _look(self, image: Tensor) -> Tensor:
        return self._read(self._outputs(image)[-1])

    def _outputs(self, image: Tensor) -> Sequence[Tensor]:
        assert self.network is not None  # setup has built it
        outputs: Sequence[Tensor] = self.network(image.contiguous(memory_format=torch.channels_last) - 0.5)
        return outputs

    def _read(self, outputs: Tensor) -> Tensor:
        return outputs.float() if self.is_linear else outputs.float().sigmoid()

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, 1, K, ...): highest pixel, spread around it, its height."""
        return self.decode(self.scores(image))

    def decode(self, scores: Tensor) -> Moments:
        """Heatmaps (B, K, h, w) as of :meth:`scores` -> Moments (B, 1, K, ...)."""
        highest = highest_pixel(scores)
        peaks = Peaks(*(each.unsqueeze(-1) for each in highest))
        radius = max(1, round(SPREAD * self.sigma * min(scores.shape[-2:]) / 2))
        around = window_moments(scores.clamp_min(0), peaks, radius)
        points = refined_points(scores, highest, self.refinement).unsqueeze(1)
        return Moments(points, around.covariance, highest.value.clamp(FAINTEST, 1.0).unsqueeze(1))

    def forward(self, image: Tensor) -> Keypoints:
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def exported(self, image: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` (B, K, h, w) of :meth:`scores`: where two pixels are as high, rounding moves the maximum."""
        return {"heatmaps": self.scores(image)}

    def points(self, image: Tensor) -> Tensor:
        return self.locate(image).points[:, 0]

    def terms(self, batch: LabelledImages) -> dict[str, Tensor]:
        """``heatmaps``: the chosen loss of every stack (000, eq. 2.5), summed."""
        image, points = batch.image, batch.points.flatten(1, 2)
        if self.augment and self.training:
            generator = self.batch_generator()
            image, points = augment_labelled(image, points, generator, self.turn_deg)
        joints = points[:, self.columns]
        confidence = batch.confidence.flatten(1, 2)[:, self.columns]
        outputs = self._outputs(image)
        weight = confidence * (joints.abs() <= 1).all(dim=-1)
        size = (outputs[0].shape[-2], outputs[0].shape[-1])
        self._warn_of_narrow_targets(min(size))
        target = render_gaussians(joints, size, self.sigma)
        if not self.training and not (self._trainer is not None and self.trainer.testing):
            self._score(self.plain, self._read(outputs[-1].detach()), batch)
        losses = [self.loss(output, target, weight) for output in outputs]
        return {"heatmaps": torch.stack(losses).sum()}

    def _warn_of_narrow_targets(self, side: int) -> None:
        """Once: between pixels a narrow Gaussian nowhere exceeds 0.5, and eq. 2.17 finds no anchor there."""
        if self._has_warned or self.sigma * side / 2 >= NARROWEST:
            return
        self._has_warned = True
        warnings.warn(
            f"Targets are {self.sigma * side / 2:.2f} pixels wide on heatmaps of {side}; below {NARROWEST} some joints "
            f"have no pixel near 1. Set --model.sigma={2 * NARROWEST / side:.3f} or more, or a larger --data.size.",
            stacklevel=2,
        )

    def test_step(self, batch: LabelledImages, batch_idx: int) -> None:
        """The loss, and the scores of the averaged heatmaps."""
        super().test_step(batch, batch_idx)
        self._score(self.tested, self.scores(batch.image), batch)

    def _score(self, scores: PoseScores, heatmaps: Tensor, batch: LabelledImages) -> None:
        found = self.decode(heatmaps)
        labelled = Keypoints(batch.points.flatten(1, 2)[:, None], batch.confidence.flatten(1, 2)[:, None])
        scores.update(heatmaps, Keypoints(found.points, found.peak), labelled, self.columns)

    def on_validation_epoch_end(self) -> None:
        self.log("val/pck", self.plain.figures()["pck"], prog_bar=True)
        self.plain.reset()

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value for name, value in self.tested.figures().items()})
        self.tested.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(self.parameters(), lr=1e-3)

    def configure_optimizers(self) -> Any:
        """The paper's schedule goes with the paper's optimiser; another optimiser names its own."""
        if self._optimizer is not None or self._scheduler is not None:
            return super().configure_optimizers()
        optimizer = self.default_optimizer()
        return {
            "optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of),
        }  # fmt: skip


def _scaled(side: int, scale: float) -> int:
    """A side at another scale, in whole strides: else the last cell covers more than the image, and points move in."""
    return side if scale == 1 else STRIDE * max(1, round(scale * side / STRIDE))


def rate_of(epoch: int) -> float:
    """The paper's share of the learning rate: 1, from epoch 100 a half, 120 a tenth, 140 a twentieth, ..."""
    drops = max(0, (epoch - 100) // 20 + 1)
    return float(0.1 ** (drops // 2) * 0.5 ** (drops % 2))
