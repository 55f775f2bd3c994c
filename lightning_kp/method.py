"""Base classes of every method: a subclass says its networks and its loss terms, the rest is here."""

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple

import lightning as L
import torch
from torch import Tensor

from lightning_kp import __version__
from lightning_kp.batches import Frames, floats_in_unit_range
from lightning_kp.contract import refuse_unfit_pair
from lightning_kp.errors import ConfigurationError, DivergenceError
from lightning_kp.heatmaps import Moments, expectation, moments, to_keypoints
from lightning_kp.keypoints import Keypoints
from lightning_kp.runs.allocator import keep_freed_memory
from lightning_kp.runs.divergence import advice, refuse_broken_weights
from lightning_kp.schedules import WarmupCosine

OptimizerCallable = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
LRSchedulerCallable = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class Prediction(NamedTuple):
    """What a keypoint method says of a batch of frames; travels from ``predict_step`` to the writers.

    ``keypoints`` as everywhere, ``covariance`` (B, I, K, 3) = (var x, var y, cov xy) in normalised
    units, ``video`` (B,) and ``index`` (B,) as in :class:`lightning_kp.batches.Frames`.
    """

    keypoints: Keypoints
    covariance: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a prediction


class Method(L.LightningModule):
    """A training objective: ``terms(batch)`` returns unweighted losses by name, the base does the rest.

    Class attributes: ``batch_type`` (what ``terms`` reads), ``weights_type`` (a frozen dataclass
    whose fields are exactly the names that ``terms`` may return), ``paper`` (source, for
    ``kp methods``).  ``loss_weights`` holds the weights in force; the curriculum changes those.
    """

    batch_type: ClassVar[type]
    weights_type: ClassVar[type]
    paper: ClassVar[str] = ""
    # Options that say where first weights come from; false when a checkpoint brings the weights.
    weight_sources: ClassVar[tuple[str, ...]] = ("pretrained", "perceptual_weights")
    # Whether a test yields figures that the loss does not tell; `kp trial` runs one then.
    has_test_figures: ClassVar[bool] = False
    reading: str = ""
    """How a test reads, where that is not the usual way: part of its figures' names in ``metrics.json``."""
    read_with: ClassVar[tuple[str, ...]] = ()
    """Options that change what a test finds but not what was learnt: noted beside its figures."""

    def __init__(
        self,
        weights: Any = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.base_weights: Mapping[str, float] = dataclasses.asdict(weights or self.weights_type())
        self.loss_weights: dict[str, float] = dict(self.base_weights)
        self._optimizer = optimizer
        self._scheduler = scheduler

    @abstractmethod
    def terms(self, batch: Any) -> dict[str, Tensor]:
        """Unweighted scalar losses by name; a term of weight 0 may be left out, and its work with it."""

    def is_active(self, term: str) -> bool:
        """Whether the term counts at present (its weight is not 0)."""
        return self.loss_weights[term] != 0

    def batch_generator(self, purpose: int = 0) -> torch.Generator:
        """For random draws of a training batch: a function of how many there were before, and of the process.

        A resumed run draws what the undisturbed one would; batches that are accumulated into one step, and those
        of several processes, draw apart.  ``purpose`` (0 or 1) tells two uses in one batch apart.
        """
        trainer = self._trainer
        batches = self.global_step if trainer is None else max(0, trainer.fit_loop.total_batch_idx)
        return torch.Generator().manual_seed(2 * batches + purpose + (self.global_rank << 40))

    def default_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of the method's paper, used when the configuration names none."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.parameters()) if self._optimizer else self.default_optimizer()
        if self._scheduler is None:
            return optimizer
        scheduler = self._scheduler(optimizer)
        if not isinstance(scheduler, WarmupCosine):
            return {"optimizer": optimizer, "lr_scheduler": scheduler}
        scheduler.last_for(int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """uint8 images become floats in [0, 1] on the device."""
        if isinstance(batch, tuple) and hasattr(batch, "_fields"):
            return type(batch)(*(floats_in_unit_range(field) for field in batch))
        return batch

    def setup(self, stage: str) -> None:
        """Refuse a datamodule whose batches this method cannot read."""
        datamodule = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        if stage in ("fit", "validate", "test") and datamodule is not None:
            refuse_unfit_pair(type(self), type(datamodule))

    def on_fit_start(self) -> None:
        """On a CPU the memory of one step is kept for the next."""
        if self.device.type == "cpu":
            keep_freed_memory()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note whose checkpoint it is and how its images were made, for use without the configuration."""
        refuse_broken_weights(self, self._trainer)
        datamodule = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        checkpoint["lightning_kp"] = {
            "class_path": class_path(type(self)),
            "version": __version__,
            "data_class_path": class_path(type(datamodule)) if datamodule is not None else "",
            "data": plain_settings(datamodule) if datamodule is not None else {},
        }

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, terms = self._weighted_sum(batch, "train")
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"The loss became {loss.item():.0f} in epoch {self.current_epoch}, batch {batch_idx}: "
                f"{_culprits(terms)}{_origin(batch)}.",
                remedy=advice(self._trainer),
            )
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._weighted_sum(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._weighted_sum(batch, "test")

    def _weighted_sum(self, batch: Any, stage: str) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.terms(batch)
        unknown = terms.keys() - self.loss_weights.keys()
        if unknown:
            raise ConfigurationError(
                f"{type(self).__name__}.terms returned {sorted(unknown)}, but its weights are "
                f"{sorted(self.loss_weights)}.",
                remedy=f"Add the name to {self.weights_type.__name__}.",
            )
        if not terms:
            raise ConfigurationError(
                f"{type(self).__name__} has nothing to learn from: every weight is 0.",
                remedy="Give a term a weight above 0, as in --model.weights."
                f"{next(iter(self.loss_weights), 'NAME')}=1.",
            )
        loss = torch.stack([self.loss_weights[name] * term for name, term in terms.items()]).sum()
        # Lightning takes the mean of the processes' whole numbers of images for a whole number: counted so, it is one.
        size = len(batch[0]) * (1 if self._trainer is None else self.trainer.world_size)
        on_step = stage == "train"
        self.log_dict(
            {f"{stage}/{name}": term.detach() for name, term in terms.items()},
            batch_size=size, on_step=on_step, on_epoch=True, sync_dist=stage != "train",
        )  # fmt: skip
        self.log(
            f"{stage}/loss", loss.detach(), prog_bar=True,
            batch_size=size, on_step=on_step, on_epoch=True, sync_dist=stage != "train",
        )  # fmt: skip
        return loss, terms


class KeypointMethod(Method):
    """A method that finds keypoints: ``heatmaps(image)`` is all it adds to its loss terms.

    ``keypoint_names`` are those of the heatmaps, in their order; none where keypoints are discovered.
    """

    keypoint_names: tuple[str, ...] = ()

    @property
    def finds_whole_animals(self) -> bool:
        """Whether an instance's keypoints belong together by themselves; else `kp track` groups them over time."""
        return False

    @abstractmethod
    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, K, h, w) that sum to one over h, w."""

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2); the same in training and evaluation."""
        return to_keypoints(self.heatmaps(image))

    def predict_step(self, batch: Frames, batch_idx: int = 0) -> Prediction:
        """Keypoints with confidence (heatmap peak) and covariance for a batch of frames."""
        points, covariance, peak = self.locate(batch.image)
        return Prediction(Keypoints(points, peak), covariance, batch.video, batch.index)

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments of every animal's heatmaps, (B, I, K, ...)."""
        return Moments(*(value.unsqueeze(1) for value in moments(self.heatmaps(image))))

    def exported(self, image: Tensor) -> dict[str, Tensor]:
        """What an exported graph gives for images (B, 3, H, W) in [0, 1], by name (`kp export`).

        By default ``points`` (B, I, K, 2), ``confidence`` (B, I, K) and ``covariance`` (B, I, K, 3).  A method whose
        decoding no graph can hold returns what its network computes.
        """
        found = self.locate(image)
        return {"points": found.points, "confidence": found.peak, "covariance": found.covariance}

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, K, 2) of the only instance."""
        return expectation(self.heatmaps(image))


def class_path(kind: type) -> str:
    """Where a class is imported from, as the command line names it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def plain_settings(owner: Any) -> dict[str, Any]:
    """Arguments of the owner's ``__init__`` (and of its bases) as values that any checkpoint reader accepts.

    Taken from ``hparams`` where the owner saved them, else from attributes of the same name; an argument
    that is no number, text, path, or list or mapping of such is left out.
    """
    saved = dict(getattr(owner, "hparams", {}))
    names = [
        name
        for kind in type(owner).__mro__
        if kind.__module__.split(".")[0] != "lightning" and "__init__" in vars(kind) and kind is not object
        for name in list(inspect.signature(kind).parameters)
    ]
    found = {name: getattr(owner, name) for name in names if hasattr(owner, name)} | saved
    return {name: plain for name, value in found.items() if (plain := _plain(value)) is not _NOT_PLAIN}


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        items = {str(name): _plain(item) for name, item in value.items()}
        return {name: item for name, item in items.items() if item is not _NOT_PLAIN}
    if isinstance(value, (list, tuple)):
        items_of_list = [_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items_of_list) else items_of_list
    return _NOT_PLAIN


def _culprits(terms: Mapping[str, Tensor]) -> str:
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    return f"term {', '.join(bad)}" if bad else "their weighted sum"


def _origin(batch: Any) -> str:
    if not (hasattr(batch, "video") and hasattr(batch, "index")):
        return ""
    pairs = list(zip(batch.video.tolist(), batch.index.tolist(), strict=True))
    shown = ", ".join(f"{video}:{index}" for video, index in pairs[:8])
    return f" (video:frame {shown}{', ...' if len(pairs) > 8 else ''})"
