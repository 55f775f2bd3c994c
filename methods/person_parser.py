"""Person parser: the people of a crowd one after another, with convolutional LSTMs.

Ryou, PhD thesis, Caltech 2022 (000), chapter 3 (Ryou and Perona, "Parsing Pose of People with Interaction",
BMVC 2018).  Terms: ``part`` eq. 3.1, ``person`` eq. 3.2 with the Hungarian order and two all-zero steps, summed
as eq. 3.3 (weights 0.5 and 1).  The number of people asked for while learning comes from the Curriculum callback.

What the paper leaves open, and what is done here: see nn/person_parser.py for the networks; a point is the
centre of the sigmoid's mass in a window around the heatmap's maximum, its confidence that maximum; the two
sequences of flip testing need not come in one order, so they are matched before they are averaged; an image
with more people than are asked for trains the steps asked for and no stop.  Deviations: heatmaps are at the
encoder's finest stride, 4 for a ResNet.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lightning_kp.batches import CrowdImages
from lightning_kp.contract import datamodule_of, refuse_other_parts
from lightning_kp.errors import ConfigurationError
from lightning_kp.files import write_whole
from lightning_kp.heatmaps import Moments
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.person_parsing import (
    discs,
    matched_targets,
    part_loss,
    person_loss,
    steps_asked,
)
from lightning_kp.method import KeypointMethod, LRSchedulerCallable, OptimizerCallable
from lightning_kp.metrics.crowds import CrowdScores
from lightning_kp.nn.encoders import ImageNetNormalise, build_encoder
from lightning_kp.nn.person_parser import PartLocalizer, PersonDecoder
from lightning_kp.nn.weights import Pretrained
from lightning_kp.readout.people import grouped_peaks, highest_peak, in_order_of
from lightning_kp.skeleton import Skeleton, check_mirror

Decode = Literal["sequence", "peaks"]
VALIDATED = ("AP", "AP50", "AR", "count_right")  # figures that every validation logs


@dataclass(frozen=True)
class PersonParserWeights:
    """Eq. 3.3: lambda_0 = 0.5 for the part heatmaps."""

    part: float = 0.5
    person: float = 1.0


class PersonParser(KeypointMethod):
    """People (or animals) of a crowd, told apart by a recurrent decoder (000, ch. 3).

    Args:
        names: Keypoints, in the order of the labels.
        mirror: Which keypoint each one becomes in a mirrored picture (numbers from 0); by default as the data say.
        instances: Most people that are looked for in an image (ours; the paper names no bound).
        encoder: A torchvision network of strides 4 to 32 (ResNet, ConvNeXt, Swin ...), ``timm/NAME`` of such a
            convolutional one, or ours from scratch: ``small``, ``tiny``, ``fine``.
        pretrained: ImageNet weights of the encoder: true, false, or the path of a state dict.
        width: Channels of the part features (3.5: 64).
        hidden: Channels of every ConvLSTM (ours).
        radius: R of the target discs, in heatmap pixels (3.5: 3).
        stop: The sequence ends where no pixel of any heatmap reaches this (3.6: 0.05).
        flip: Average with the mirrored picture when predicting (3.6).
        decode: How people are read: the ``sequence``, or ``peaks``, the highest ones of the part heatmaps grouped
            into people of least scatter, a bottom-up baseline that needs no decoder (``weights.person`` may be 0).
        peak: With ``peaks``: least height of a peak, as a share of 1.
        apart: With ``peaks``: least distance of two peaks of one keypoint, in heatmap pixels.
        sigma: Spread of labels for the OKS of the scores, one for all or one per keypoint.
        weights: Weights of the terms.
        optimizer: Default Adam, learning rate 1e-3 (3.6).
        scheduler: Default none; the paper divides the rate by ten twice.
    """

    batch_type = CrowdImages
    weights_type = PersonParserWeights
    has_test_figures = True
    read_with = ("decode", "stop", "flip", "peak", "apart", "sigma", "instances")
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
        _check(names, mirror, instances, radius, stop, spread)
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
        """Images (B, 3, H, W) in [0, 1] -> part features per scale, and part logits (B, K, h, w)."""
        features, logits = self.parts(self.encoder(self.normalise(image)))
        return features, logits

    def terms(self, batch: CrowdImages) -> dict[str, Tensor]:
        """``part`` and ``person``."""
        features, parts = self.encode(batch.image)
        size = (parts.shape[-2], parts.shape[-1])
        target = discs(batch.points, batch.confidence, size, self.radius)
        counts = _pixels_that_count(batch.counts, target)
        terms = {}
        if self.is_active("part"):
            terms["part"] = part_loss(parts, target.amax(dim=1), counts)
        if self.is_active("person"):
            there = (batch.confidence > 0).any(dim=-1)
            asked, steps = steps_asked(there.sum(dim=1), self.instance_limit if self.training else None)
            logits = self.decoder.start(features).steps(int(steps.max().clamp_min(1)))
            ordered = matched_targets(logits, target, there, asked, counts)
            terms["person"] = person_loss(logits, ordered, steps, counts)
        return terms

    def heatmaps(self, image: Tensor) -> Tensor:
        """Part heatmaps (B, K, h, w) without identity, as shares of their sum."""
        found = self.encode(image)[1].float().sigmoid()
        return found / found.sum(dim=(-2, -1), keepdim=True)

    def person_heatmaps(self, image: Tensor) -> Tensor:
        """Heatmaps (B, I, K, h, w) in [0, 1] of one instance after another, all-zero from the stop on."""
        found = self._sequence(image)
        if self.flip:
            mirrored = self._sequence(image.flip(-1)).flip(-1)[:, :, self.mirror]
            found = (found + in_order_of(found, mirrored)) / 2
        return found

    def _sequence(self, image: Tensor) -> Tensor:
        decoding = self.decoder.start(self.encode(image)[0])
        going = torch.ones(len(image), 1, 1, 1, dtype=torch.bool, device=image.device)
        steps: list[Tensor] = []
        for _ in range(self.instances):
            heatmaps = decoding.step().float().sigmoid()
            going = going & (heatmaps.amax(dim=(-3, -2, -1), keepdim=True) >= self.stop)
            steps.append(heatmaps * going)
            if not going.any():
                break
        steps += [torch.zeros_like(steps[0])] * (self.instances - len(steps))
        return torch.stack(steps, dim=1)

    @property
    def finds_whole_animals(self) -> bool:
        """In a sequence every step is one person; peaks are grouped."""
        return self.decode == "sequence"

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...); a person that is not there has peak 0."""
        if self.decode == "peaks":
            return self._bottom_up(image)
        heatmaps = self.person_heatmaps(image)
        found = highest_peak(heatmaps.flatten(0, 1), self._reach)
        found = Moments(*(each.view(*heatmaps.shape[:2], *each.shape[1:]) for each in found))
        there = found.peak.amax(dim=-1, keepdim=True) >= self.stop
        return found._replace(peak=found.peak * there)

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
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def exported(self, image: Tensor) -> dict[str, Tensor]:
        """``parts`` (B, K, h, w) and, of as many steps as instances, ``people`` (B, I, K, h, w), all in [0, 1].

        Where a sequence stops depends on what it says, which no graph can hold: whoever reads ``people`` takes
        the steps before the first that nowhere reaches ``stop``.  It is a plain pass: the mirrored picture that
        ``flip`` averages in, as ``kp track`` has it, is left to the reader, since its sequence has to be matched.
        """
        features, parts = self.encode(image)
        if self.decode == "peaks":
            return {"parts": parts.sigmoid()}
        people = self.decoder.start(features).steps(self.instances)
        return {"parts": parts.sigmoid(), "people": people.sigmoid()}

    @property
    def export_note(self) -> str:
        """What whoever reads the exported graph has to know."""
        return (
            "The graph looks at the picture alone; kp track averages with the mirrored one."
            if self.flip
            else ""
        )

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, I K, 2), one person after another."""
        return self.locate(image).points.flatten(1, 2)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        refuse_other_parts(self)
        self._take_mirror(list(getattr(datamodule_of(self), "mirror", ())))
        names = self.keypoint_names
        # Names such as ear1 and ear2 tell no sides, and mirrored pictures would teach one ear as the other.
        if (
            stage == "fit"
            and self.flip
            and len(names) > 1
            and self.mirror.tolist() == list(range(len(names)))
        ):
            warnings.warn(
                f"None of {', '.join(names)} is known as left or right of another, and pictures are mirrored. If "
                "some are, --data.mirror=[0,2,1] says so; --model.flip=false and --data.augmentation.flip=false "
                "leave mirrored pictures out.",
                stacklevel=2,
            )

    def _take_mirror(self, offered: list[int]) -> None:
        """Mirrored pictures are read as the data mirror them."""
        known = self.mirror.tolist()
        if not offered or offered == known:
            return
        if self._mirror_is_given:
            raise ConfigurationError(
                f"The data exchange keypoints {offered} in a mirrored picture; the model has {known}.",
                remedy="Leave --model.mirror out, since it is taken from the data; --data.mirror changes theirs.",
            )
        self.mirror.copy_(torch.tensor(offered))
        self.hparams["mirror"] = offered  # a checkpoint knows it without the data

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
        """Log the figures of 3.6, and leave them with their tables in the run folder: crowd.md.

        Read as peaks, or of moved regions, the file has a name of its own and leaves the usual one alone.
        """
        figures, table = self.test_scores.summary(self.keypoint_names, self._told())
        self.log_dict({f"test/{name}": value for name, value in figures.items()})
        self.test_scores.reset()
        if self.trainer.is_global_zero:
            write_whole(Path(self.trainer.default_root_dir) / f"crowd{self.reading}.md", table)

    @property
    def reading(self) -> str:  # type: ignore[override]  # it changes with the data
        """``-peaks``, ``-jitter10`` or both, where people are not read as a sequence or regions are moved."""
        return "-peaks" * (self.decode == "peaks") + (f"-jitter{self._jitter:g}" if self._jitter else "")

    @property
    def _jitter(self) -> float:
        return float(getattr(datamodule_of(self), "jitter_px", 0.0))

    def _told(self) -> str:
        """How the people were read, for whoever compares two tests."""
        read = (
            f"a sequence of at most {self.instances} that stops below {self.stop:g}"
            if self.decode == "sequence"
            else f"peaks of at least {self.peak:g}, {self.apart:g} heatmap pixels apart"
        )
        mirrored = "averaged with" if self.flip else "without"
        moved = f"edges moved by up to {self._jitter:g} px" if self._jitter else "as they are"
        spread = sorted({float(each) for each in self.test_scores.sigma})
        sigma = f"{spread[0]:g}" if len(spread) == 1 else f"{spread[0]:g} to {spread[-1]:g}"
        data = datamodule_of(self)
        source = f" of {type(data).__name__}" if data is not None else ""
        seen = f"{mirrored} the mirrored picture; regions {moved}"
        return f"Crowds{source}; people are {read}, {seen}; OKS with sigma {sigma}."

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def _pixels_that_count(counts: Tensor, target: Tensor) -> Tensor:
    """Counting pixels (B, H, W) bool -> those of the discs (B, I, K, h, w), (B, h, w): none of their pixels left out.

    A disc counts whole: an unannotated person, who without an outline is left out as a box, may hide a labelled one.
    """
    size = (target.shape[-2], target.shape[-1])
    left_out = torch.nn.functional.adaptive_max_pool2d((~counts).float().unsqueeze(1), size)[:, 0]
    return (1 - left_out).maximum(target.amax(dim=(1, 2)))


def _check(
    names: list[str], mirror: list[int], instances: int, radius: float, stop: float, spread: list[float]
) -> None:
    def refuse(problem: str, remedy: str) -> None:
        raise ConfigurationError(problem, remedy=remedy)

    if not names or instances < 1 or radius <= 0:
        refuse(
            f"PersonParser was given {len(names)} names, {instances} instances and a radius of {radius}.",
            "Name the keypoints as the labels do; give at least 1 instance and a radius above 0.",
        )
    if not 0 <= stop < 1:
        refuse(f"stop is {stop}.", "It is a height of heatmaps: give 0 to below 1, such as 0.05.")
    if len(spread) != len(names):
        refuse(
            f"sigma has {len(spread)} numbers for {len(names)} keypoints.",
            "Give one for all, or one for each of --model.names.",
        )
    Skeleton(tuple(names))  # names differ
    check_mirror(names, mirror)
