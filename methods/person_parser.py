"""Person parser: the people of a crowd one after another, with convolutional LSTMs.

Ryou, PhD thesis, Caltech 2022 (000), chapter 3 (Ryou and Perona, "Parsing Pose of People with Interaction",
BMVC 2018). Terms: ``part`` eq. 3.1, and ``person`` eq. 3.2 with the Hungarian order and two all-zero steps, summed as
in eq. 3.3 (weights 0.5 and 1). The Curriculum callback sets the number of people requested during training.

The paper leaves some points open; here:

- Networks: see lightning_kp/nn/person_parser.py.
- A point is the centre of mass of the sigmoid in a window around the maximum of the heatmap; its confidence is that
  maximum.
- The two sequences of flip testing may be in different orders, so that they are matched before averaging.
- An image with more people than requested trains the requested steps and no stop.

Deviations: heatmaps are at the finest stride of the encoder, 4 for a ResNet.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_kp.batches import CrowdImages
from lightning_kp.contract import datamodule_of, require_part_names
from lightning_kp.errors import ConfigurationError
from lightning_kp.files import write_whole
from lightning_kp.heatmaps import Moments
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.person_parsing import (
    counted_pixels,
    discs,
    matched_targets,
    part_loss,
    person_loss,
    requested_steps,
)
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.crowds import CrowdScores
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.person_parser import PartLocalizer, PersonDecoder
from lightning_kp.nn.weights import Pretrained
from lightning_kp.readout.people import grouped_peaks, highest_peak, match_order
from lightning_kp.skeleton import Skeleton, check_mirror

Decode = Literal["sequence", "peaks"]
VALIDATED = ("AP", "AP50", "AR", "count_right")  # metrics that every validation logs


@dataclass(frozen=True)
class PersonParserWeights:
    """Weights of eq. 3.3, with lambda_0 = 0.5 for the part heatmaps."""

    part: float = 0.5
    person: float = 1.0


class PersonParser(KeypointMethod):
    """People (or animals) of a crowd, separated by a recurrent decoder (000, ch. 3).

    Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y).

    Args:
        names: Keypoints, in the order of the labels.
        mirror: Index (from 0) of the keypoint that each one becomes in a mirror image; by default that of the
            datamodule.
        instances: Maximum number of people found in an image (ours; the paper states no limit).
        encoder: A torchvision network with strides 4 to 32 (ResNet, ConvNeXt, Swin ...), ``timm/NAME`` of such a
            convolutional network, or one of ours for training from scratch: ``small``, ``tiny``, ``fine``.
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        width: Channels of the part features (3.5: 64).
        hidden: Channels of every ConvLSTM (ours).
        radius: R of the target discs, in heatmap pixels (3.5: 3).
        stop: The sequence ends when no pixel of any heatmap reaches this value, in [0, 1) (3.6: 0.05).
        flip: Average with the mirror image when predicting (3.6).
        decode: How people are found: by the ``sequence``, or by ``peaks``, which groups the highest peaks of the
            part heatmaps into people of least scatter, a bottom-up baseline that needs no decoder
            (``weights.person`` may be 0).
        peak: With ``peaks``: minimum height of a peak, in [0, 1].
        apart: With ``peaks``: minimum distance between two peaks of one keypoint, in heatmap pixels.
        sigma: Spread of the labels for the OKS of the metrics, one number for all keypoints or one per keypoint.
        weights: Weights of the terms.
        optimizer: Default: Adam, learning rate 1e-3 (3.6).
        scheduler: Default: none; the paper divides the learning rate by ten twice.
    """

    batch_type = CrowdImages
    weights_type = PersonParserWeights
    has_test_metrics = True
    decoding_options = ("decode", "stop", "flip", "peak", "apart", "sigma", "instances")
    paper = "000 ch. 3 (Ryou 2022; Ryou and Perona 2018)"

    def __init__(
        self,
        names: list[str],
        mirror: list[int] | None = None,
        instances: int = 10,
        encoder: str = "resnet50",
        pretrained: Pretrained = True,
        width: int = 64,
        hidden: int = 64,
        radius: float = 3.0,
        stop: float = 0.05,
        flip: bool = True,
        decode: Decode = "sequence",
        peak: float = 0.2,
        apart: float = 2.0,
        sigma: float | list[float] = 0.05,
        weights: PersonParserWeights | None = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weights, optimizer, scheduler)
        self.save_hyperparameters(ignore=["weights", "optimizer", "scheduler"])
        self._mirror_is_given = mirror is not None
        mirror = list(range(len(names))) if mirror is None else mirror
        spread = [float(sigma)] * len(names) if isinstance(sigma, (int, float)) else sigma
        _check(names, mirror, instances, radius, stop, spread, decode)
        self.keypoint_names = tuple(names)
        self.instances = instances
        self.radius = radius
        self.stop = stop
        self.flip = flip
        self.peak = peak
        self.apart = apart
        self.instance_limit: int | None = None  # while training; the curriculum changes it
        self.mirror: Tensor
        self.register_buffer("mirror", torch.tensor(mirror), persistent=False)
        self.normalise = ImageNetNormalise()
        self.encoder = build_encoder(encoder, pretrained)
        self.parts = PartLocalizer(self.encoder.channels, len(names), width)
        self.decode: Decode = decode
        self.decoder = PersonDecoder(len(self.encoder.channels), width, hidden, len(names))
        self.val_scores, self.test_scores = CrowdScores(spread), CrowdScores(spread)
        self.to(memory_format=torch.channels_last)

    def encode(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> part features (B, width, h_i, w_i) per scale, part logits (B, K, h, w)."""
        features, logits = self.parts(self.encoder(self.normalise(image)))
        return features, logits

    def terms(self, batch: CrowdImages) -> dict[str, Tensor]:
        """``part`` and ``person`` of eq. 3.3 from images (B, 3, H, W) and points (B, I, K, 2)."""
        features, parts = self.encode(batch.image)
        size = (parts.shape[-2], parts.shape[-1])
        target = discs(batch.points, batch.confidence, size, self.radius)
        counts = counted_pixels(batch.counts, target)
        terms = {}
        if self.is_active("part"):
            terms["part"] = part_loss(parts, target.amax(dim=1), counts)
        if self.is_active("person"):
            present = (batch.confidence > 0).any(dim=-1)
            limit = self.instance_limit if self.training else None
            requested, steps = requested_steps(present.sum(dim=1), limit)
            logits = self.decoder.start(features).steps(int(steps.max().clamp_min(1)))
            ordered = matched_targets(logits, target, present, requested, counts)
            terms["person"] = person_loss(logits, ordered, steps, counts)
        return terms

    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> part heatmaps (B, K, h, w) of all people, scaled to sum to one."""
        found = self.encode(image)[1].float().sigmoid()
        return found / found.sum(dim=(-2, -1), keepdim=True)

    def person_heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, I, K, h, w) in [0, 1], all-zero from the stop on."""
        found = self._sequence(image)
        if self.flip:
            mirrored = self._sequence(image.flip(-1)).flip(-1)[:, :, self.mirror]
            found = (found + match_order(found, mirrored)) / 2
        return found

    def _sequence(self, image: Tensor) -> Tensor:
        return self.decoder.start(self.encode(image)[0]).heatmaps(self.instances, self.stop)

    @property
    def finds_whole_animals(self) -> bool:
        """Whether each instance is found as a whole: in a sequence every step is one person, peaks are grouped."""
        return self.decode == "sequence"

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...); padding instances have peak 0."""
        if self.decode == "peaks":
            return self._bottom_up(image)
        heatmaps = self.person_heatmaps(image)
        found = highest_peak(heatmaps.flatten(0, 1), self._reach)
        found = Moments(*(each.view(*heatmaps.shape[:2], *each.shape[1:]) for each in found))
        is_present = found.peak.amax(dim=-1, keepdim=True) >= self.stop
        return found._replace(peak=found.peak * is_present)

    def _bottom_up(self, image: Tensor) -> Moments:
        heatmaps = self.encode(image)[1].float().sigmoid()
        if self.flip:
            mirrored = self.encode(image.flip(-1))[1].float().sigmoid().flip(-1)
            heatmaps = (heatmaps + mirrored[:, self.mirror]) / 2
        return grouped_peaks(heatmaps, self.instances, self.apart, self._reach, self.peak)

    @property
    def _reach(self) -> int:
        """Half the side of the window around a maximum, in heatmap pixels."""
        return max(1, round(2 * self.radius))

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised (x, y)."""
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def exported(self, image: Tensor) -> dict[str, Tensor]:
        """``parts`` (B, K, h, w) and, for a sequence, ``people`` (B, I, K, h, w), all in [0, 1].

        A graph cannot stop depending on its values, so that ``people`` holds all steps. Use those before the first
        step that nowhere reaches ``stop``. The mirror image, which ``kp track`` averages in with ``flip``, is not
        part of the graph, since its sequence has to be matched.
        """
        features, parts = self.encode(image)
        if self.decode == "peaks":
            return {"parts": parts.sigmoid()}
        people = self.decoder.start(features).steps(self.instances)
        return {"parts": parts.sigmoid(), "people": people.sigmoid()}

    @property
    def export_note(self) -> str:
        """Note for users of the exported graph."""
        return "The graph leaves out the mirror image; kp track averages with it." if self.flip else ""

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, I K, 2), normalised (x, y), person by person."""
        return self.locate(image).points.flatten(1, 2)

    def setup(self, stage: str) -> None:
        """Use the mirror of the datamodule; raise ConfigurationError if its labels have other keypoints."""
        super().setup(stage)
        require_part_names(self)
        self._adopt_mirror(list(getattr(datamodule_of(self), "mirror", ())))
        names = self.keypoint_names
        # Names such as ear1 and ear2 do not name sides, and mirror images would then confuse the two ears.
        is_identity = self.mirror.tolist() == list(range(len(names)))
        if stage == "fit" and self.flip and len(names) > 1 and is_identity:
            warnings.warn(
                f"Images are mirrored, but none of {', '.join(names)} is known as the mirror image of another. If some "
                "are, set --data.mirror=[0,2,1]; otherwise --model.flip=false and --data.augmentation.flip=false "
                "leave mirror images out.",
                stacklevel=2,
            )

    def _adopt_mirror(self, offered: list[int]) -> None:
        """Use the mirror of the data, so that mirror images are interpreted as the data produce them."""
        known = self.mirror.tolist()
        if not offered or offered == known:
            return
        if self._mirror_is_given:
            raise ConfigurationError(
                f"In a mirror image the data exchange the keypoints as {offered}, the model as {known}.",
                remedy="Leave --model.mirror out to use that of the data, or set --data.mirror.",
            )
        self.mirror.copy_(torch.tensor(offered))
        self.hparams["mirror"] = offered  # so that a checkpoint works without the data

    def validation_step(self, batch: CrowdImages, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.val_scores.add(self(batch.image), batch)

    def on_validation_epoch_end(self) -> None:
        scores = self.val_scores.compute()
        self.log_dict({f"val/{name}": scores[name] for name in VALIDATED})
        self.val_scores.reset()

    def test_step(self, batch: CrowdImages, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.test_scores.add(self(batch.image), batch)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of 3.6, and write them with their tables into the run folder: crowd.md.

        With ``decode=peaks`` or moved regions the file has another name, so that it does not replace the usual one.
        """
        figures, table = self.test_scores.summary(self.keypoint_names, self._description())
        self.log_dict({f"test/{name}": value for name, value in figures.items()})
        self.test_scores.reset()
        if self.trainer.is_global_zero:
            write_whole(Path(self.trainer.default_root_dir) / f"crowd{self.decoding}.md", table)

    @property
    def decoding(self) -> str:  # type: ignore[override]  # it changes with the data
        """``-peaks``, ``-jitter10`` or both, if people are not decoded as a sequence or regions are moved."""
        return "-peaks" * (self.decode == "peaks") + (f"-jitter{self._jitter:g}" if self._jitter else "")

    @property
    def _jitter(self) -> float:
        return float(getattr(datamodule_of(self), "jitter_px", 0.0))

    def _description(self) -> str:
        """Sentence on the settings of a test, so that two tests can be compared."""
        decoded = (
            f"a sequence of at most {self.instances} that stops below {self.stop:g}"
            if self.decode == "sequence"
            else f"peaks of at least {self.peak:g}, {self.apart:g} heatmap pixels apart"
        )
        mirrored = "averaged with" if self.flip else "without"
        moved = f"with edges moved by up to {self._jitter:g} px" if self._jitter else "unchanged"
        spread = sorted({float(each) for each in self.test_scores.sigma})
        sigma = f"{spread[0]:g}" if len(spread) == 1 else f"{spread[0]:g} to {spread[-1]:g}"
        data = datamodule_of(self)
        source = f" of {type(data).__name__}" if data is not None else ""
        views = f"{mirrored} the mirror image; regions {moved}"
        return f"Crowds{source}; people decoded as {decoded}, {views}; OKS with sigma {sigma}."

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def _check(
    names: list[str],
    mirror: list[int],
    instances: int,
    radius: float,
    stop: float,
    spread: list[float],
    decode: str,
) -> None:
    """Raise ConfigurationError for the first option that is out of range or does not fit the names."""
    for name, value, is_valid, allowed in (
        ("names", names, bool(names), "a list of at least 1 keypoint"),
        ("instances", instances, instances >= 1, "at least 1"),
        ("radius", radius, radius > 0, "above 0"),
        ("stop", stop, 0 <= stop < 1, "at least 0 and below 1"),
        ("decode", decode, decode in get_args(Decode), " or ".join(get_args(Decode))),
    ):
        if not is_valid:
            raise ConfigurationError(
                f"{name} must be {allowed}, got {value}.", remedy=f"Change --model.{name}."
            )
    if len(spread) != len(names):
        raise ConfigurationError(
            f"sigma has {len(spread)} numbers for {len(names)} keypoints.",
            remedy="Give one number for all, or one for each of --model.names.",
        )
    Skeleton(tuple(names))  # raises if a name is given twice
    check_mirror(names, mirror)
