"""Base classes of every method: a subclass adds its networks and its loss terms."""

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple

import lightning as L
import torch
from torch import Tensor

from lightning_kp import __version__
from lightning_kp.batches import Frames, floats_in_unit_range
from lightning_kp.contract import require_batch_type
from lightning_kp.errors import ConfigurationError, DivergenceError
from lightning_kp.heatmaps import Moments, expectation
from lightning_kp.keypoints import Keypoints
from lightning_kp.losses.balance import Balance
from lightning_kp.readout.subgrid import subgrid_moments
from lightning_kp.runs.allocator import keep_freed_memory
from lightning_kp.runs.divergence import advice, frames_of, non_finite, refuse_broken_weights
from lightning_kp.schedules import WarmupCosine

OptimizerCallable = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
LRSchedulerCallable = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class Prediction(NamedTuple):
    """The prediction of a keypoint method for a batch of frames, which ``predict_step`` hands to the writers.

    ``keypoints`` (B, I, K, 2), normalised, with confidence; ``covariance`` (B, I, K, 3) = (var x, var y, cov xy) in
    squared normalised units; ``video`` (B,) and ``index`` (B,) as in :class:`lightning_kp.batches.Frames`.
    """

    keypoints: Keypoints
    covariance: Tensor
    video: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which no prediction needs


class Method(L.LightningModule):
    """A training objective: ``terms(batch)`` returns unweighted losses by name, and the base class does the rest.

    Class attributes: ``batch_type`` (what ``terms`` reads), ``weights_type`` (a frozen dataclass
    whose fields are exactly the names that ``terms`` may return), ``paper`` (source, for
    ``kp methods``).  ``loss_weights`` holds the weights in force; the curriculum changes those.
    """

    batch_type: ClassVar[type]
    weights_type: ClassVar[type]
    earlier_terms: ClassVar[Mapping[str, str]] = {}
    """Names that terms had in earlier versions, which a curriculum may still give, and what they are called now."""
    paper: ClassVar[str] = ""
    shared_by_terms: ClassVar[str] = ""
    """The tensor through which all terms reach the network (see :meth:`share`); empty where there is none."""
    weight_sources: ClassVar[tuple[str, ...]] = ("pretrained", "perceptual_weights")
    """Options that choose the initial weights; set to False when a checkpoint provides the weights."""
    has_test_metrics: ClassVar[bool] = False
    """Whether a test measures more than the losses, so that `kp trial` runs one."""
    trained_on_before: Sequence[str] | None = None
    """Marks of the labelled frames (see labels.animals) that trained the checkpoint that training continues."""
    decoding: str = ""
    """Marks a test whose decoding is not the default: part of the names of its metrics in ``metrics.json``."""
    decoding_options: ClassVar[tuple[str, ...]] = ()
    """Options that change predictions but not training; their values are saved with the metrics of a test."""

    def __init__(
        self,
        weights: Any = None,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.base_weights: Mapping[str, float] = dataclasses.asdict(weights or self.weights_type())
        self.loss_weights: dict[str, float] = dict(self.base_weights)
        self.balance: Balance | None = None  # how the LossBalance callback sums the terms in training
        self._optimizer = optimizer
        self._scheduler = scheduler

    @abstractmethod
    def terms(self, batch: Any) -> dict[str, Tensor]:
        """Return unweighted scalar losses () by name; terms of weight 0 may be omitted, to save their computation."""

    def is_active(self, term: str) -> bool:
        """Whether the current weight of the term differs from 0."""
        return self.loss_weights[term] != 0

    def share(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``, of any shape, after naming it as the one through which all terms reach the network."""
        if self.balance is not None:
            self.balance.shared = tensor
        return tensor

    def batch_generator(self, purpose: int = 0) -> torch.Generator:
        """Return a generator for the random draws of a training batch, seeded by its number and by the process.

        A resumed run draws the same values as an uninterrupted one.  Batches that are accumulated into one step, and
        batches of different processes, get different draws.  ``purpose`` (0 or 1) separates two uses in one batch.
        """
        trainer = self._trainer
        batches = self.global_step if trainer is None else max(0, trainer.fit_loop.total_batch_idx)
        return torch.Generator().manual_seed(2 * batches + purpose + (self.global_rank << 40))

    def default_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the method's paper, used when the configuration has none."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.parameters()) if self._optimizer else self.default_optimizer()
        if self._scheduler is None:
            return optimizer
        scheduler = self._scheduler(optimizer)
        if not isinstance(scheduler, WarmupCosine):
            return {"optimizer": optimizer, "lr_scheduler": scheduler}
        scheduler.set_total_steps(int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Convert uint8 images to floats in [0, 1] on the device."""
        if isinstance(batch, tuple) and hasattr(batch, "_fields"):
            return type(batch)(*(floats_in_unit_range(field) for field in batch))
        return batch

    def setup(self, stage: str) -> None:
        """Refuse a datamodule whose batches this method cannot read."""
        datamodule = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        if stage in ("fit", "validate", "test") and datamodule is not None:
            require_batch_type(type(self), type(datamodule))

    def on_fit_start(self) -> None:
        """On a CPU, keep the memory of one step for the next."""
        if self.device.type == "cpu":
            keep_freed_memory()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the class of the method and the settings of its images, so that loading needs no configuration."""
        refuse_broken_weights(self, self._trainer)
        datamodule = getattr(self.trainer, "datamodule", None) if self._trainer is not None else None
        now = getattr(datamodule, "trained_on", None)
        before = self.trained_on_before
        checkpoint["lightning_kp"] = {
            "class_path": class_path(type(self)),
            "version": __version__,
            "data_class_path": class_path(type(datamodule)) if datamodule is not None else "",
            "data": plain_settings(datamodule) if datamodule is not None else {},
            "trained_on": None if now is None and before is None else sorted({*(now or ()), *(before or ())}),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the labelled frames that trained a network before its training goes on.

        Weights of a loss balance are loaded only where the callback has set one.
        """
        self.trained_on_before = (checkpoint.get("lightning_kp") or {}).get("trained_on")
        own = {} if self.balance is None else self.balance.state_dict(prefix="balance.")
        state = checkpoint["state_dict"]
        kept = {
            name: value for name, value in state.items() if not name.startswith("balance.") or name in own
        }
        checkpoint["state_dict"] = own | kept

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, terms = self._weighted_sum(batch, "train")
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"The loss became {loss.item():.0f} in epoch {self.current_epoch}, batch {batch_idx}: "
                f"{non_finite(terms)}{frames_of(batch)}.",
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
                f"{type(self).__name__} has no loss to train with: every weight is 0.",
                remedy="Set a weight above 0, such as --model.weights."
                f"{next(iter(self.loss_weights), 'NAME')}=1.",
            )
        if self.balance is None or stage != "train":
            loss = torch.stack([self.loss_weights[name] * term for name, term in terms.items()]).sum()
        else:
            loss, shares = self.balance(terms, self.loss_weights)
            self.log_dict({f"balance/{name}": share for name, share in shares.items()})
        # Lightning averages the batch size over processes and needs an integer; a multiple of their number is one.
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
    """A method that finds keypoints: a subclass adds ``heatmaps(image)`` to its loss terms.

    ``keypoint_names`` (K) are the names of the heatmaps, in their order; empty where keypoints are discovered.
    """

    keypoint_names: tuple[str, ...] = ()

    @property
    def finds_whole_animals(self) -> bool:
        """Whether each predicted instance is one whole animal; otherwise `kp track` groups keypoints over time."""
        return False

    @abstractmethod
    def heatmaps(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> heatmaps (B, K, h, w) that sum to one over h, w."""

    def forward(self, image: Tensor) -> Keypoints:
        """Images (B, 3, H, W) in [0, 1] -> Keypoints (B, I, K, 2), normalised; the same in training and evaluation."""
        found = self.locate(image)
        return Keypoints(found.points, found.peak)

    def predict_step(self, batch: Frames, batch_idx: int = 0) -> Prediction:
        """Frames (B, 3, H, W) -> keypoints (B, I, K, 2) whose confidence is the heatmap peak, and their covariance."""
        points, covariance, peak = self.locate(batch.image)
        return Prediction(Keypoints(points, peak), covariance, batch.video, batch.index)

    def locate(self, image: Tensor) -> Moments:
        """Images (B, 3, H, W) in [0, 1] -> Moments (B, I, K, ...) of the heatmaps of every animal, below their grid."""
        return Moments(*(value.unsqueeze(1) for value in subgrid_moments(self.heatmaps(image))))

    def exported(self, image: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> the outputs of the exported graph by name (`kp export`).

        By default ``points`` (B, I, K, 2), ``confidence`` (B, I, K) and ``covariance`` (B, I, K, 3).  A method whose
        decoding cannot be part of a graph returns the outputs of its network.
        """
        found = self.locate(image)
        return {"points": found.points, "confidence": found.peak, "covariance": found.covariance}

    def points(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> points (B, K, 2), normalised, of the only instance, for use in a loss.

        They are the means of the heatmaps.  :meth:`locate` moves those of narrow heatmaps off the grid.
        """
        return expectation(self.heatmaps(image))


def class_path(kind: type) -> str:
    """Return the import path of a class, as users write it on the command line."""
    return f"{kind.__module__}.{kind.__qualname__}"


def plain_settings(owner: Any) -> dict[str, Any]:
    """Return the arguments of the owner's ``__init__`` (and of its bases) as plain values for a checkpoint.

    Values come from ``hparams`` if the owner saved them there, else from attributes of the same name.  Only numbers,
    texts, paths, and lists and mappings of these are returned.
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
