"""Diagnoses the discovered keypoints during validation and logs the result."""

import math
from typing import Any, cast

import lightning as L
import torch.distributed

from lightning_kp.batches import FramePairs
from lightning_kp.diagnosis.backgrounds import Background, sampled_backgrounds
from lightning_kp.diagnosis.evidence import Collector, Evidence
from lightning_kp.diagnosis.judgement import diagnose
from lightning_kp.diagnosis.verdict import Diagnosis, Problem, Verdict
from lightning_kp.errors import ConfigurationError
from lightning_kp.method import KeypointMethod
from lightning_kp.runs.loggers import log_rows


class LiveDiagnostics(L.Callback):
    """Diagnoses keypoints on some validation batches and logs how many are found and what is wrong with the others.

    Logs ``val/found``, ``val/duplicates``, ``val/centre``, ``val/background`` (including stuck keypoints),
    ``val/coverage``, ``val/equivariance_px`` and ``val/jitter_px``. Metrics that cannot be computed are left out.
    Loggers that accept tables or text receive the verdicts with their reasons as ``val/verdicts``. The attribute
    ``diagnosis`` holds the latest diagnosis. With several processes the evidence is gathered first, so that every
    process logs the metrics of the whole validation set.

    Args:
        batches: Batches to look at, spread evenly over the validation set. Each costs two passes of the network.
        every_n_epochs: Validations are skipped in between.
        max_frames: Maximum number of frames whose evidence is kept.

    Raises:
        ConfigurationError: A number is below 1, or (in setup) the method does not read FramePairs.
    """

    def __init__(self, batches: int = 12, every_n_epochs: int = 1, max_frames: int = 256) -> None:
        if min(batches, every_n_epochs, max_frames) < 1:
            raise ConfigurationError(
                f"LiveDiagnostics needs numbers of at least 1, but got batches={batches}, "
                f"every_n_epochs={every_n_epochs}, max_frames={max_frames}.",
                remedy="To switch it off, remove it from trainer.callbacks.",
            )
        self.batches = batches
        self.every_n_epochs = every_n_epochs
        self.max_frames = max_frames
        self.diagnosis: Diagnosis | None = None
        self._collector: Collector | None = None
        self._backgrounds: dict[int, Background] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, KeypointMethod) or pl_module.batch_type is not FramePairs:
            raise ConfigurationError(
                f"LiveDiagnostics needs a method that reads FramePairs, not {type(pl_module).__name__}.",
                remedy="Remove it from trainer.callbacks.",
            )

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        due = not trainer.sanity_checking and trainer.current_epoch % self.every_n_epochs == 0
        self._collector = Collector(max_frames=self.max_frames) if due else None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._collector is None:
            return
        stride = max(1, math.ceil(_batch_count(trainer, dataloader_idx) / self.batches))
        if batch_idx % stride == 0:
            self._collector.add(cast(KeypointMethod, pl_module), batch)  # checked in setup

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._collector is None:
            return
        if self._backgrounds is None:
            self._backgrounds = _backgrounds(trainer)
        parts = _of_all_processes(self._collector.evidence(self._backgrounds))
        self._collector = None
        if not parts:
            return
        self.diagnosis = diagnose(Evidence.joined(parts), steps=trainer.global_step)
        metrics = logged_metrics(self.diagnosis)
        # Every process logs equal values, so their mean is right and Lightning does not warn.
        pl_module.log_dict(metrics, on_epoch=True, sync_dist=True, batch_size=1)
        if trainer.is_global_zero:
            log_rows(trainer.loggers, "val/verdicts", *verdict_rows(self.diagnosis), trainer.global_step)

    @property
    def verdict(self) -> Verdict | None:
        """Latest verdict on the run, or None before the first validation."""
        return self.diagnosis.verdict if self.diagnosis else None


def verdict_rows(diagnosis: Diagnosis) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of the verdicts: first the run, then one row per keypoint."""
    run = ["run", str(diagnosis.verdict), diagnosis.reason, str(diagnosis.remedy)]
    keypoints = [
        [f"kp{k + 1:02d}", str(each.verdict), each.reason, str(each.remedy)]
        for k, each in enumerate(diagnosis.keypoints)
    ]
    return ["keypoint", "verdict", "why", "remedy"], [run, *keypoints]


def logged_metrics(diagnosis: Diagnosis) -> dict[str, float]:
    """Metrics of a diagnosis by logged name. Counts are numbers of keypoints; NaN is left out."""
    metrics = {
        "val/found": float(len(diagnosis.found)),
        "val/duplicates": float(diagnosis.count(Problem.DUPLICATE)),
        "val/centre": float(diagnosis.count(Problem.CENTRE)),
        "val/background": float(diagnosis.count(Problem.BACKGROUND, Problem.STUCK)),
        "val/coverage": diagnosis.coverage,
        "val/equivariance_px": diagnosis.mean("rotation_px"),
        "val/jitter_px": diagnosis.mean("jitter_px"),
    }
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _batch_count(trainer: L.Trainer, dataloader_idx: int) -> float:
    """Number of validation batches; 1 for a stream of unknown length, which means that its start is used."""
    counts = trainer.num_val_batches
    count = counts[dataloader_idx] if isinstance(counts, list) else counts
    return float(count) if math.isfinite(count) else 1.0


def _backgrounds(trainer: L.Trainer) -> dict[int, Background]:
    """Backgrounds from all of the datamodule's map-style data; empty without such data."""
    held = getattr(getattr(trainer, "datamodule", None), "datasets", {})
    pairs = [held[stage] for stage in ("train", "val") if stage in held and len(held[stage])]
    usable = [dataset for dataset in pairs if isinstance(dataset[0], FramePairs)]
    return sampled_backgrounds(*usable) if usable else {}


def _of_all_processes(evidence: Evidence | None) -> list[Evidence]:
    """Evidence of every process, in the same order on each. Every process has to call this."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [evidence] if evidence is not None else []
    gathered: list[Evidence | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, evidence)
    return [part for part in gathered if part is not None]
