"""Keypoints from the filters of a classifier that was trained with leaky max pooling, by class labels alone.

Guo and Farrell, LMPNet for Weakly-supervised Keypoint Discovery (004). Terms: ``classification``, the cross entropy
of a network whose global pooling is leaky max pooling (3.1); ``replica``, that of a second network with weights of
its own, which sees the images without the region of the first keypoint (3.3). For keypoints the strongest filters of
each image are selected (3.2), their maxima are proposals, and learnable clustering groups those of both networks
(3.4).

Readings and deviations: the paper gives no number of selected filters (here 64), and does not state how large the
removed region is (here the threshold of the clustering) nor what fills it (here the mean colour of the image). Both
networks train in one run; start the replica later with the Curriculum callback. A keypoint is the centroid of its
votes; the centre of its cell is an option. Negative features, which only networks without a last ReLU have, count as 0.

Keypoints have no meaning by their order: the first is the one with most votes, not a part of the object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_kp.batches import ClassifiedImages
from lightning_kp.contract import agreed_classes
from lightning_kp.errors import ConfigurationError
from lightning_kp.geometry import normalise, pixel_centres
from lightning_kp.heatmaps import Moments
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.classes import MapEntropy, TopError
from lightning_kp.nn.encoders import Encoder, ImageNetNormalise, SmallResNet, StagedEncoder, build_encoder
from lightning_kp.nn.pooling import EPS, GlobalPooling, Pooling
from lightning_kp.nn.weights import Pretrained
from lightning_kp.readout.clustering import Clusters, Proposals, cluster, propose

Readout = Literal["centroid", "cell"]


@dataclass(frozen=True)
class LMPNetWeights:
    """Weights of the two networks; with ``replica`` 0 there is one network only."""

    classification: float = 1.0
    replica: float = 1.0


class FilterClassifier(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> feature maps (B, C, h, w) >= 0 and logits (B, classes).

    Args:
        encoder: Name of the encoder.
        pretrained: Its weights.
        stride: Stride of the feature maps that are pooled; 0 for the coarsest.
        pooling: Global pooling.
        eps: That of leaky max pooling.
    """

    def __init__(
        self, encoder: str, pretrained: Pretrained, stride: int, pooling: Pooling, eps: float
    ) -> None:
        super().__init__()
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        strides = self.encoder.strides
        if stride and stride not in strides:
            raise ConfigurationError(
                f"The encoder '{encoder}' has maps at strides {', '.join(map(str, strides))}, not at {stride}.",
                remedy=f"Use --model.stride={strides[-1]}.",
            )
        self.level = strides.index(stride) if stride else len(strides) - 1
        _drop_stages(self.encoder, self.level)
        self.pool = GlobalPooling(pooling, eps, flat=True)
        self.head: nn.Linear | None = None

    def build(self, classes: int) -> None:
        """Add the last layer for a number of classes."""
        self.head = nn.Linear(self.encoder.channels[self.level], classes)

    def maps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> feature maps (B, C, h, w) >= 0."""
        return self.encoder(self.normalise(image))[self.level].relu()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> maps (B, C, h, w) and logits (B, classes)."""
        assert self.head is not None  # the method has built it
        maps = self.maps(image)
        return maps, self.head(self.pool(maps))


class LMPNet(KeypointMethod):
    """Weakly supervised keypoints from class labels (004): images (B, 3, H, W) -> Keypoints (B, 1, K, 2).

    The confidence of a keypoint is its share of all votes; a keypoint for which no vote is left has confidence 0. Logs
    the classification error in per cent (``val/error``), and of the feature maps the mean entropy in nats
    (``val/entropy``, Figure 6) and the share that is zero everywhere (``val/dead_maps``).

    Args:
        keypoints: Number of keypoints K (4.2: 5).
        encoder: See :class:`lightning_kp.methods.bkind.BKinD` (section 4: ResNet-50).
        pretrained: ImageNet weights: true, false, or the path of a state dict.
        stride: Stride of the feature maps that are pooled and clustered; 0 for the coarsest (4.2: maps of 7 x 7 or
            14 x 14, so the coarsest of images of 224 or 448 px).
        pooling: ``leaky``, ``max`` or ``average``, for comparison.
        eps: That of leaky max pooling (4.1: 0.1).
        classes: Class names, in the order of the labels; by default those of the datamodule.
        filters: Strongest filters of an image that propose a keypoint (ours: 64).
        threshold: Cells within which proposals belong to one keypoint (4.2: 3).
        iterations: Updates of the weights of the clustering (ours: 3); they shape its maps, not its cells.
        readout: The ``centroid`` of the votes, or the centre of the ``cell`` with most of them.
        weights: Weights of the terms.
        optimizer: Default: SGD, learning rate 0.01, momentum 0.9, weight decay 1e-4 (ours; the paper states none).
        scheduler: Default: none.
    """

    batch_type = ClassifiedImages
    weights_type = LMPNetWeights
    paper = "004 (Guo and Farrell 2021)"
    has_test_metrics = True

    def __init__(
        self,
        keypoints: int = 5,
        encoder: str = "resnet50",
        pretrained: Pretrained = True,
        stride: int = 0,
        pooling: Pooling = "leaky",
        eps: float = EPS,
        classes: Sequence[str] = (),
        filters: int = 64,
        threshold: float = 3.0,
        iterations: int = 3,
        readout: Readout = "centroid",
        weights: LMPNetWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        _check(filters, readout)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self.keypoints, self.filters, self.classes = keypoints, filters, tuple(classes)
        self.threshold, self.iterations = threshold, iterations
        self.readout: Readout = readout
        number = 2 if self.base_weights["replica"] else 1
        self.networks = nn.ModuleList(
            FilterClassifier(encoder, pretrained, stride, pooling, eps) for _ in range(number)
        )
        self.error, self.entropy = TopError(), MapEntropy()
        if classes:
            self.classes = agreed_classes(self, classes)
            self._build()
        self.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        """Use the classes of the datamodule, and raise ConfigurationError if it has others than the method."""
        super().setup(stage)
        built = bool(self.classes)
        self.classes = agreed_classes(self, self.classes)
        if not built:
            self._build()

    def _build(self) -> None:
        for network in self._each():
            network.build(len(self.classes))
        self.networks.to(self.device)
        # The classes are saved, so that the network can be rebuilt from a checkpoint alone.
        self.hparams.update(classes=list(self.classes))

    def _each(self) -> list[FilterClassifier]:
        return [network for network in self.networks if isinstance(network, FilterClassifier)]

    def terms(self, batch: ClassifiedImages) -> dict[str, Tensor]:
        """``classification`` and, if it is active, ``replica``, from images (B, 3, H, W) in [0, 1]."""
        first, *others = self._each()
        maps, logits = first(batch.image)
        if not self.training:
            self.error.update(logits.detach(), batch.label)
            self.entropy.update(maps)
        terms = {"classification": F.cross_entropy(logits, batch.label)}
        if others and self.is_active("replica"):
            masked = self._without_first_keypoint(batch.image, maps.detach())
            terms["replica"] = F.cross_entropy(others[0](masked)[1], batch.label)
        return terms

    def clusters(self, image: Tensor) -> Clusters:
        """Images (B, 3, H, W) in [0, 1] -> the clusters of the proposals of all networks (3.4)."""
        first, *others = self._each()
        maps = first.maps(image)
        proposals = propose(maps, self.filters)
        if others:
            seen = propose(others[0].maps(self._without_first_keypoint(image, maps)), self.filters)
            proposals = Proposals(*(torch.cat(pair, dim=1) for pair in zip(proposals, seen, strict=True)))
        return self._cluster(proposals, maps, self.keypoints)

    def _cluster(self, proposals: Proposals, maps: Tensor, keypoints: int) -> Clusters:
        size = (maps.shape[-2], maps.shape[-1])
        return cluster(proposals, size, keypoints, threshold=self.threshold, iterations=self.iterations)

    @torch.no_grad()
    def _without_first_keypoint(self, image: Tensor, maps: Tensor) -> Tensor:
        """Images (B, 3, H, W) with the region of the first keypoint of maps (B, C, h, w) in their mean colour (3.3)."""
        found = self._cluster(propose(maps, self.filters), maps, 1)
        size = (maps.shape[-2], maps.shape[-1])
        point = self._points(found, size)[:, 0]
        x = (pixel_centres(image.shape[-1], like=image) - point[:, :1]) * size[1] / 2
        y = (pixel_centres(image.shape[-2], like=image) - point[:, 1:]) * size[0] / 2
        inside = (x.square().unsqueeze(1) + y.square().unsqueeze(2) < self.threshold**2).unsqueeze(1)
        inside = inside & (found.votes > 0)[..., None, None]
        return torch.where(inside, image.mean(dim=(2, 3), keepdim=True), image)

    def _points(self, found: Clusters, size: tuple[int, int]) -> Tensor:
        """Clusters on maps of ``size`` (h, w) -> points (B, k, 2), normalised; 0 for those that are absent."""
        places = found.centroid_row_col if self.readout == "centroid" else found.cells_row_col
        points = normalise(places.to(found.maps).flip(-1), size)
        return points * (found.votes > 0).unsqueeze(-1)

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> the clusters' maps (B, K, h, w), which sum to one; flat where absent."""
        maps = self.clusters(image).maps
        total = maps.sum(dim=(-2, -1), keepdim=True)
        flat = torch.full_like(maps, 1 / (maps.shape[-2] * maps.shape[-1]))
        return torch.where(total > 0, maps / total.clamp_min(torch.finfo(maps.dtype).tiny), flat)

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, 1, K, ...): read-out, size of a cell, share of the votes."""
        found = self.clusters(image)
        size = (found.maps.shape[-2], found.maps.shape[-1])
        votes = found.erased.sum(dim=2)
        share = votes / votes.sum(dim=1, keepdim=True).clamp_min(1)
        # A cell as wide as 2 / w has the variance of a uniform distribution.
        cell = share.new_tensor([(2 / size[1]) ** 2 / 12, (2 / size[0]) ** 2 / 12, 0.0])
        moments = Moments(self._points(found, size), cell.expand(*share.shape, 3), share)
        return Moments(*(value.unsqueeze(1) for value in moments))

    def on_validation_epoch_end(self) -> None:
        self._log_figures("val")

    def on_test_epoch_end(self) -> None:
        self._log_figures("test")

    def _log_figures(self, stage: str) -> None:
        entropy, dead = self.entropy.compute()
        self.log(f"{stage}/error", self.error.compute(), prog_bar=True)
        self.log_dict({f"{stage}/entropy": entropy, f"{stage}/dead_maps": dead})
        self.error.reset()
        self.entropy.reset()

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


def _drop_stages(encoder: Encoder, level: int) -> None:
    """Drop the stages after the map that is pooled, which nothing reads; timm's networks keep theirs."""
    if isinstance(encoder, SmallResNet):
        encoder.stages = encoder.stages[: level + 1]
    elif isinstance(encoder, StagedEncoder):
        encoder.stages = encoder.stages[: sorted(encoder.taps)[level] + 1]


def _check(filters: int, readout: str) -> None:
    if filters < 1 or readout not in get_args(Readout):
        raise ConfigurationError(
            f"LMPNet needs at least 1 filter and a readout of {' or '.join(get_args(Readout))}; got {filters} and "
            f"{readout!r}.",
            remedy="Use --model.filters=64 --model.readout=centroid.",
        )
